"""Shortcuts of what works entry by entry, or reduces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..hollow import hollow_like
from .registry import IN_PLACE, broadcast_shape, is_float, of, shortens


@shortens(
    """relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu leaky_relu mish softplus exp neg rsqrt sqrt
    abs square log sin cos clamp clamp_min roll erf selu celu"""
)
def _unary(args: Any, kwargs: Any) -> Tensor | None:
    return hollow_like(args[0]) if is_float(args[0]) else None


@shortens("pow")
def _power(args: Any, kwargs: Any) -> Tensor | None:
    return hollow_like(args[0]) if is_float(args[0]) and isinstance(args[1], (int, float)) else None


@shortens("add sub mul div maximum minimum")
def _binary(args: Any, kwargs: Any) -> Tensor | None:
    """Two tensors of one dtype; or a tensor and a number."""
    x, y = args[0], args[1]
    if not isinstance(y, Tensor):
        return hollow_like(x) if is_float(x) and isinstance(y, (int, float)) else None
    if not isinstance(x, Tensor):
        return hollow_like(y) if is_float(y) and isinstance(x, (int, float)) else None
    if x.dtype != y.dtype or not x.is_floating_point():
        return None
    return _met(x, y)


def _met(x: Tensor, y: Tensor) -> Tensor | None:
    if x.shape == y.shape or not y.dim():
        return hollow_like(x)
    shape = broadcast_shape(x.shape, y.shape)
    if shape is None:
        return None
    return hollow_like(x) if shape == list(x.shape) else hollow_like(y) if shape == list(y.shape) else of(shape, x)


@shortens("eq ne lt le gt ge")
def _compared(args: Any, kwargs: Any) -> Tensor | None:
    x, y = args[0], args[1]
    if not is_float(x) or (isinstance(y, Tensor) and y.shape != x.shape):
        return None
    return hollow_like(x, torch.bool)


@shortens("masked_fill")
def _masked_fill(args: Any, kwargs: Any) -> Tensor | None:
    x, mask = args[0], args[1]
    return hollow_like(x) if is_float(x) and broadcast_shape(x.shape, mask.shape) == list(x.shape) else None


@shortens("dropout feature_dropout")
def _dropout(args: Any, kwargs: Any) -> Tensor | None:
    return hollow_like(args[0]) if is_float(args[0]) else None


@shortens("softmax")
def _softmax(args: Any, kwargs: Any) -> Tensor | None:
    return of(args[0].shape, args[0]) if is_float(args[0]) and len(args) < 3 and not kwargs else None


@shortens("relu silu sigmoid hardswish hardsigmoid hardtanh elu leaky_relu mish add sub mul div clamp", table=IN_PLACE)
def _in_place(args: Any, kwargs: Any) -> Tensor | None:
    x = args[0]
    return (
        x if all(not isinstance(y, Tensor) or (y.shape == x.shape and y.dtype == x.dtype) for y in args[1:]) else None
    )


@shortens("mean sum amax amin")
def _mean(args: Any, kwargs: Any) -> Tensor | None:
    """Over some axes, given by their numbers."""
    x, dim, keep = (*args, None, False)[:3] if len(args) < 3 else args[:3]
    if not is_float(x) or dim is None or dim == [] or kwargs:
        return None
    rank = x.dim()
    gone = {d % rank for d in ([dim] if isinstance(dim, int) else dim)}
    return of([1 if i in gone else n for i, n in enumerate(x.shape) if keep or i not in gone], x)


@shortens("linalg_vector_norm")
def _norm(args: Any, kwargs: Any) -> Tensor | None:
    x, _, *rest = args if len(args) > 1 else (*args, 2)
    return _mean((x, *rest), kwargs)
