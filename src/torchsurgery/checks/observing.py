"""Running a model and seeing what its layers do, without a hook on any of them.

A forward hook is not a quiet observer: `nn.TransformerEncoderLayer` takes another path as soon as one is attached. Here
a layer's `forward` is covered by an instance attribute while it is watched, which no layer of torch.nn looks for, and
which also sees a parent that calls `child.forward(x)` past `child(x)`.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """One call of a module's forward, noted when it came back.

    Attributes:
        module: The module.
        inputs: The tensors it was given, of positional and keyword arguments.
        outputs: The tensors it returned.
        versions: The version counter of each output at that moment: a later, higher one means that it was overwritten.
        grad_enabled: Whether gradients were being recorded when it was called.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    versions: tuple[int, ...]
    grad_enabled: bool


def note(module: nn.Module, given: Any, output: Any, grad_enabled: bool) -> Call:
    """A `Call` of what went in and what came out."""
    outputs = tuple(tensors_in(output))
    versions = tuple(0 if tensor.is_inference() else tensor._version for tensor in outputs)
    return Call(module, tuple(tensors_in(given)), outputs, versions, grad_enabled)


@contextmanager
def observed(
    modules: Iterable[nn.Module],
    see: Callable[[nn.Module, Any, Any, bool], None],
    enter: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """A block in which `see(module, (args, kwargs), output, grad_enabled)` is called after each forward of `modules`.

    The calls come in the order in which the forwards return: children before their parents. `enter()` is called as each
    begins.
    """
    with covered(dict.fromkeys(modules), lambda module: _seen(module, see, enter)):
        yield


@contextmanager
def covered(modules: Iterable[nn.Module], forward_of: Callable[[nn.Module], Callable[..., Any]]) -> Iterator[None]:
    """A block in which modules have other forwards, put into the instances: no hook is registered for it."""
    before: list[tuple[nn.Module, Any]] = []
    try:
        for module in modules:
            before.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = forward_of(module)
        yield
    finally:
        for module, own in reversed(before):
            if own is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


def _seen(
    module: nn.Module, see: Callable[[nn.Module, Any, Any, bool], None], enter: Callable[[], None]
) -> Callable[..., Any]:
    forward: Callable[..., Any] = module.forward

    @functools.wraps(forward)
    def seen(*args: Any, **kwargs: Any) -> Any:
        grad_enabled = torch.is_grad_enabled()
        enter()
        output = forward(*args, **kwargs)
        see(module, (args, kwargs), output, grad_enabled)
        return output

    return seen


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a model's input or output: a tensor, nested containers, dataclasses, objects with attributes."""
    return _tensors_in(value, set())


def _tensors_in(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif not isinstance(value, (str, bytes, int, float, type(None), nn.Module, type)) and id(value) not in seen:
        seen.add(id(value))
        for part in _parts(value):
            yield from _tensors_in(part, seen)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, (Sequence, AbstractSet)):
        return value
    if is_dataclass(value):
        return [getattr(value, field.name, None) for field in fields(value)]
    return list(getattr(value, "__dict__", {}).values())


def copied(value: Any, dtype: torch.dtype | None = None) -> Any:
    """A copy of a model's inputs that a forward may write into; a tensor given twice is one in the copy, too.

    Args:
        value: Tensors, in containers of any kind.
        dtype: What floating-point tensors become; by default they keep theirs.
    """
    memo: dict[int, Any] = {}
    for tensor in tensors_in(value):
        with torch.no_grad():
            becomes = dtype if tensor.is_floating_point() else None
            memo[id(tensor)] = tensor.detach().clone().to(becomes or tensor.dtype).requires_grad_(tensor.requires_grad)
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        # An argument that can't be copied (a stream, a process group) is handed over as it is.
        return value


def shapes(value: Any, most: int = 4) -> str:
    """The shapes of the tensors in `value`: "(2, 3, 64, 64), (2, 10)"."""
    found = [str(tuple(tensor.shape)) for tensor in tensors_in(value)]
    rest = [f"… {len(found) - most} more"] if len(found) > most else []
    return ", ".join(found[:most] + rest) or "no tensor"


def is_finite(value: Any) -> bool:
    """Whether all numbers in `value` are finite; what is on meta has none."""
    return all(bool(torch.isfinite(_numbers(tensor)).all()) for tensor in tensors_in(value) if not tensor.is_meta)


def tolerance(tensors: Iterable[Tensor]) -> float:
    """How far two runs may differ, relative to the largest number: the square root of the coarsest precision in use."""
    # A GPU may multiply float32 as TF32, which keeps as many bits as float16.
    kinds = {torch.float16 if t.is_cuda and t.dtype is torch.float32 else t.dtype for t in tensors}
    precisions = [torch.finfo(kind).eps for kind in kinds if kind.is_floating_point or kind.is_complex]
    return math.sqrt(max(precisions, default=torch.finfo(torch.float32).eps))


def difference(some: Any, others: Any) -> float:
    """The largest difference between the numbers of two outputs, relative to the largest number in the same tensor.

    Returns:
        0 when all are the same, infinity when the number of tensors, the shapes or the non-finite places differ.
    """
    pairs = list(zip(tensors_in(some), tensors_in(others), strict=False))
    if len(list(tensors_in(some))) != len(list(tensors_in(others))):
        return math.inf
    return max((_difference(a, b) for a, b in pairs if not a.is_meta), default=0.0)


def _difference(some: Tensor, other: Tensor) -> float:
    if some.shape != other.shape:
        return math.inf
    a, b = _numbers(some), _numbers(other)
    finite = torch.isfinite(a) & torch.isfinite(b)
    if not torch.equal(a[~finite].nan_to_num(nan=0.5), b[~finite].nan_to_num(nan=0.5)):
        return math.inf
    a, b = a[finite], b[finite]
    largest = float(a.abs().max()) if len(a) else 0.0
    return float((a - b).abs().max()) / (largest or 1.0) if len(a) else 0.0


def flat(tensor: Tensor) -> Tensor:
    """Its values as a flat tensor, whatever its layout; differentiable."""
    if tensor.is_nested:
        return torch.cat([part.reshape(-1) for part in tensor.unbind()])
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return (tensor.dequantize() if tensor.is_quantized else tensor).reshape(-1)


def _numbers(tensor: Tensor) -> Tensor:
    """Its values as a flat float64 tensor on the CPU."""
    tensor = flat(tensor.detach())
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj()).reshape(-1)
    return tensor.cpu().double()


class Print(NamedTuple):
    """A few numbers in place of tensors that would take too much memory to keep: their size, and one projection."""

    size: float
    projection: float

    @classmethod
    def of(cls, value: Any) -> Print:
        numbers = [_numbers(tensor).nan_to_num() for tensor in tensors_in(value) if not tensor.is_meta]
        all_of_them = torch.cat(numbers) if numbers else torch.zeros(0, dtype=torch.float64)
        # Incommensurable weights, so that two permutations of one tensor differ.
        weights = torch.cos(torch.arange(len(all_of_them), dtype=torch.float64) * math.sqrt(2.0))
        return cls(float(all_of_them.norm()), float(all_of_them @ weights))

    def is_near(self, other: Print, tolerance: float) -> bool:
        largest = max(self.size, other.size) or 1.0
        return max(abs(a - b) for a, b in zip(self, other, strict=True)) <= tolerance * largest


class Prints(dict[tuple[nn.Module, int], tuple[Print, Print]]):
    """The prints of input and output of every call, by module and number of its call, in the order of returning."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[nn.Module, int] = {}

    def see(self, module: nn.Module, given: Any, output: Any, grad_enabled: bool) -> None:
        number = self._calls[module] = self._calls.get(module, -1) + 1
        self[module, number] = Print.of(given), Print.of(output)

    def first_difference(self, others: Prints, tolerance: float) -> nn.Module | None:
        """The innermost module that first gave another output to the same input."""
        for key, (given, output) in self.items():
            if (other := others.get(key)) and given.is_near(other[0], tolerance):  # noqa: SIM102
                if not output.is_near(other[1], tolerance):
                    return key[0]
        return None


@dataclass(frozen=True, slots=True)
class Blame:
    """Where an exception came from.

    Attributes:
        module: The innermost module of the model in whose call it happened, or None.
        given: The arguments of that call, if it was called as a module.
        missing: The module of the model that lacked the attribute, when it is an AttributeError about one.
    """

    module: nn.Module | None
    given: Any = None
    missing: nn.Module | None = None


def blame(error: BaseException, known: AbstractSet[nn.Module]) -> Blame:
    """Read from an exception's traceback which of the `known` modules was running; no second run, no hooks."""
    module: nn.Module | None = None
    given: Any = None
    for name, first, local in _frames(error.__traceback__):
        if isinstance(first, nn.Module) and first in known:
            given = given if first is module else None
            module = first
            if name == "_call_impl":
                given = local.get("args"), local.get("kwargs")
    missing = getattr(error, "obj", None)
    return Blame(module, given, missing if isinstance(missing, nn.Module) and missing in known else None)


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """The functions of a traceback from the outside in: name, the value of `self`, and the local variables."""
    while traceback is not None:
        code, local = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
        yield code.co_name, local.get("self") if code.co_varnames[:1] == ("self",) else None, local
        traceback = traceback.tb_next
