"""Parameters, multiplications and bytes, counted and written out; the only place with units.

One rule for all that is written short: k, M, G are powers of 1000, with four digits; in kB, MB, GB with three.
"""

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
    own: list[Tensor | None] = []
    others: list[Tensor | None] = []
    for module in modules:
        own.extend(entries(module._parameters).values())
        if module._buffers:
            others.extend(entries(module._buffers).values())
    counted = dict(zip(map(id, own), own, strict=True))
    buffers = {id(buffer): buffer for buffer in others if id(buffer) not in counted}
    params, size = _counted(counted.values())
    return Size(params, size + _counted(buffers.values())[1])


def own_size(module: nn.Module, counted: set[int]) -> tuple[Size, int]:
    """The size of a module's own tensors that are not counted yet, and how many of its entries are trainable.

    Args:
        module: The module; what lies in its children is not its own.
        counted: The ids of tensors that count elsewhere; these are added.
    """
    parameters = [p for p in module._parameters.values() if p is not None and id(p) not in counted]
    counted.update(map(id, parameters))
    buffers = [b for b in module._buffers.values() if b is not None and id(b) not in counted]
    counted.update(map(id, buffers))
    params, size = _counted({id(p): p for p in parameters}.values())
    trainable = _counted({id(p): p for p in parameters if p.requires_grad}.values())[0]
    return Size(params, size + _counted({id(b): b for b in buffers}.values())[1]), trainable


def _counted(tensors: Iterable[Tensor | None]) -> tuple[int, int]:
    """Entries and bytes."""
    entries = size = 0
    for tensor in tensors:
        if tensor is not None and not is_lazy(tensor):
            number = tensor.numel()
            entries += number
            size += number * tensor.element_size()  # nbytes is not defined for sparse tensors
    return entries, size


@dataclass(frozen=True, slots=True)
class Cost:
    """What a module has and does.

    Attributes:
        params: Entries of its Parameters.
        trainable: Those of them that are trained.
        bytes: Bytes of its Parameters and buffers.
        macs: Multiply-adds of its matrix products and convolutions, in one forward.
    """

    params: int = 0
    trainable: int = 0
    bytes: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.params + other.params,
            self.trainable + other.trainable,
            self.bytes + other.bytes,
            self.macs + other.macs,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One module of a model.

    Attributes:
        names: Its fully-qualified names, the first one first: a shared module has one row.
        type: Its class.
        configuration: Its arguments in short: "3, 64, k7, s2", or "×2 BasicBlock" of what it holds.
        output: The shapes of the tensors that it answered at its first call; empty where it wasn't called.
        calls: How often it was called.
        own: What is in it and no other module; a tensor that several hold belongs to the first.
        total: The same with all that lies inside.
    """

    names: tuple[str, ...]
    type: str
    configuration: str
    output: tuple[tuple[int, ...], ...]
    calls: int
    own: Cost
    total: Cost

    @property
    def name(self) -> str:
        """The module's first name; empty for the model itself."""
        return self.names[0]

    @property
    def depth(self) -> int:
        """How many modules it lies in."""
        return self.name.count(".") + 1 if self.name else 0

    def holds(self, other: Row) -> bool:
        """Whether another row's module lies inside this one."""
        return other.depth > self.depth and f"{other.name}.".startswith(f"{self.name}." if self.name else "")


def count(number: int) -> str:
    """A whole number with thousands marked: 11,689,512."""
    return f"{number:,}"


def signed(number: int) -> str:
    """A difference: +1,024, −9,216, or 0."""
    return f"+{number:,}" if number > 0 else f"−{-number:,}" if number < 0 else "0"


def short(number: int) -> str:
    """A number in powers of 1000, four digits: 9.408 k, 11.69 M, 1.814 G; as it is below 1000."""
    if number < 1000:
        return str(number)
    value, units = float(number), iter("kMGTPE")
    unit = ""
    while value >= 999.95 and (following := next(units, None)):
        value, unit = value / 1000, following
    digits = 3 if value < 9.9995 else 2 if value < 99.995 else 1
    return f"{value:.{digits}f} {unit}"


def in_bytes(number: int) -> str:
    """Bytes in powers of 1000, three digits: 46.8 MB."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            digits = 0 if value >= 99.95 or unit == "B" else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
        value /= 1000
    raise AssertionError  # the loop always answers


def in_seconds(number: float) -> str:
    """A time, three digits: 61.5 ms."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if number >= 0.9995 * factor or unit == "µs":
            value = number / factor
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    raise AssertionError  # the loop always answers


def share(before: int, after: int) -> str:
    """A change in per cent: −27.8 %; "same" for none."""
    if before == after:
        return "same"
    if before == 0:
        return "new"
    percent = 100 * (after - before) / before
    return f"{'+' if percent > 0 else '−'}{abs(percent):.1f} %"
