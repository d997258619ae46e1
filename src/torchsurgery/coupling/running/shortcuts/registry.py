"""Which operation has a shortcut, and what shortcuts have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..hollow import channels_last, in_rows

Answer: TypeAlias = "Tensor | tuple[Tensor, ...] | None"
Shortcut: TypeAlias = Callable[[Any, Any], Answer]
_S = TypeVar("_S", bound=Shortcut)

SHORT: dict[str, Shortcut] = {}
IN_PLACE: dict[str, Shortcut] = {}


def shortens(names: str, table: dict[str, Shortcut] = SHORT) -> Callable[[_S], _S]:
    """Registers a shortcut for operations, by their names without namespace, separated by blanks."""

    def register(function: _S) -> _S:
        table.update(dict.fromkeys(names.split(), function))
        return function

    return register


def shortcut_for(name: str, op: Any) -> Shortcut | None:
    """The shortcut of an operation, if it has one, by its name without namespace."""
    schema = op._schema
    if schema.name.endswith("_"):
        return IN_PLACE.get(name.removesuffix("_"))
    return None if schema.is_mutable else SHORT.get(name)


def of(shape: Sequence[int], x: Tensor) -> Tensor:
    """One row behind the other, of the dtype of another tensor."""
    return in_rows(shape, x.dtype)


def channels_like(shape: Sequence[int], x: Tensor) -> Tensor:
    """In the memory format of others, if they are pictures."""
    last = len(shape) == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return (channels_last if last else in_rows)(shape, x.dtype)


def is_float(x: Any) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return isinstance(x, Tensor) and x.is_floating_point()


def broadcast_shape(one: Sequence[int], other: Sequence[int]) -> list[int] | None:
    """The shape that two tensors come to; None where they don't fit."""
    rank = max(len(one), len(other))
    one, other = [1] * (rank - len(one)) + list(one), [1] * (rank - len(other)) + list(other)
    fits = all(a == b or 1 in (a, b) for a, b in zip(one, other, strict=True))
    return [b if a == 1 else a for a, b in zip(one, other, strict=True)] if fits else None
