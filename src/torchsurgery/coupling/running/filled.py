"""Floating-point tensors that hold one value only, such as the mask of ones that a model makes where none is given.

They are on meta like all others, but what the code asks of them (`mask.to(torch.bool).all()`) can be answered: without
that, such a model would have to be run for real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..constraints.atoms import words
from ..rules.views import LOOKING

# These make a tensor of one value; these answer one if they are given one; these tell the value, as true and false or
# as a whole number.
_MAKING = words("ones zeros full ones_like zeros_like full_like new_ones new_zeros new_full")
_COMPUTING = words("to _to_copy mul add sub rsub div upsample_nearest1d upsample_nearest2d upsample_nearest3d")
_ASKING = words("to _to_copy bool int long eq ne lt le gt ge")


@dataclass(slots=True)
class Filled:
    """What a tensor and all views of it hold, until one of them is written.

    Attributes:
        value: None once that isn't known any more.
    """

    value: float | None


def fills(name: str, op: Any) -> bool:
    """Whether an operation has to do with what tensors are filled with; most don't."""
    return name in _MAKING | LOOKING | _COMPUTING or op._schema.is_mutable


def asks(name: str) -> bool:
    """Whether an operation tells what a tensor is filled with."""
    return name in _ASKING


def filled_after(name: str, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Any:
    """What the answer of an operation is filled with, or None; what it writes isn't known any more."""
    if name in _MAKING:
        return _made(name, args, kwargs)
    cells = [cell for tensor in tensors if (cell := _of(tensor)) is not None]
    if op._schema.is_mutable:
        for cell in cells:
            cell.value = None
        return None
    if name in LOOKING or not cells:
        return cells[0] if cells else None
    if name.startswith("upsample"):
        return Filled(cells[0].value)
    out = _computed(op, args, kwargs)
    return Filled(float(out.flatten()[0])) if out is not None and out.is_floating_point() and out.numel() else None


def told(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The answer of an operation that asks, if it is given one value and answers no floating-point numbers."""
    out = _computed(op, args, kwargs)
    return out if out is not None and not (out.is_floating_point() or out.is_complex()) else None


def _of(value: Any) -> Filled | None:
    return getattr(getattr(value, "_coupling", None), "filled", None)


def _made(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Filled | None:
    kind = name.removeprefix("new_").removesuffix("_like")
    at = {"full": 1, "new_full": 2, "full_like": 1}.get(name, len(args))
    value = {"ones": 1.0, "zeros": 0.0}.get(kind, args[at] if at < len(args) else kwargs.get("fill_value"))
    return Filled(float(value)) if isinstance(value, (int, float)) else None


def _computed(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What an operation answers for a tensor of one value, and numbers."""
    filled = _of(args[0])
    if filled is None or filled.value is None or any(isinstance(other, Tensor) for other in args[1:]):
        return None
    real = torch.full((), filled.value, dtype=args[0].dtype).expand(args[0].shape)
    out = op(real, *map(on_cpu, args[1:]), **{key: on_cpu(value) for key, value in kwargs.items()})
    return out if isinstance(out, Tensor) else None


def on_cpu(value: Any) -> Any:
    """An argument of an operation that computes: where it names a device, it is to be the CPU."""
    return torch.device("cpu") if isinstance(value, torch.device) else value
