"""Parameters and bytes, counted and written out; the only place with units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


@dataclass(frozen=True, slots=True)
class Size:
    """How large a set of tensors is; one that is shared counts once.

    Attributes:
        params: Entries of all Parameters.
        bytes: Bytes of all Parameters and buffers.
    """

    params: int
    bytes: int


def size_of(modules: Iterable[nn.Module], entries: Callable[[Any], Mapping[str, Any]] = lambda own: own) -> Size:
    """The size of all tensors of some modules, without those that lie in them; lazy tensors have none yet.

    Args:
        modules: The modules, each once.
        entries: What one of a module's dictionaries holds, where that is not what is in it now.
    """
    own: dict[int, Tensor | None] = {}
    others: dict[int, Tensor | None] = {}
    for module in modules:
        own.update({id(p): p for p in entries(module._parameters).values()})
        if module._buffers:
            others.update({id(b): b for b in entries(module._buffers).values()})
    params, size = _counted(own.values())
    return Size(params, size + _counted(b for key, b in others.items() if key not in own)[1])


def _counted(tensors: Iterable[Tensor | None]) -> tuple[int, int]:
    """Entries and bytes."""
    entries = size = 0
    for tensor in tensors:
        if tensor is not None and not is_lazy(tensor):
            number = tensor.numel()
            entries += number
            size += number * tensor.element_size()
    return entries, size


def count(number: int) -> str:
    """A whole number with thousands marked: 11,689,512."""
    return f"{number:,}"


def signed(number: int) -> str:
    """A difference: +1,024, −9,216, or 0."""
    return f"+{number:,}" if number > 0 else f"−{-number:,}" if number < 0 else "0"


def in_bytes(number: int) -> str:
    """Bytes in powers of 1000, three digits: 46.8 MB."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            return f"{number} B" if unit == "B" else f"{value:.0f} {unit}" if value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # the loop always answers


def share(before: int, after: int) -> str:
    """A change in per cent: −27.8 %; "same" for none."""
    if before == after:
        return "same"
    if before == 0:
        return "new"
    percent = 100 * (after - before) / before
    return f"{'+' if percent > 0 else '−'}{abs(percent):.1f} %"
