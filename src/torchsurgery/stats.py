"""Parameters and bytes, counted and written out; the only place with units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
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


def size_of(parameters: Iterable[Tensor], buffers: Iterable[Tensor]) -> Size:
    """The size of distinct tensors; those of lazy layers have none yet."""
    own = {id(p): p for p in parameters if not is_lazy(p)}
    others = {id(b): b for b in buffers if id(b) not in own and not is_lazy(b)}
    params = sum(p.numel() for p in own.values())
    return Size(params, sum(t.numel() * t.element_size() for t in (*own.values(), *others.values())))


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
