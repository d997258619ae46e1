"""Results of the most frequent operations on the meta device, without PyTorch's own shape functions.

These are written in Python and take ten times as long as all else in a trace. A shortcut answers only in the plain case
(one dtype, contiguous, shapes that fit); for anything else it answers None, and PyTorch's function runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .atoms import words

Shortcut: TypeAlias = Callable[[Any, Any], "Tensor | None"]


def _like(x: Tensor) -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _of(shape: Sequence[int], x: Tensor) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_contiguous()


def _unary(args: Any, kwargs: Any) -> Tensor | None:
    x = args[0]
    return _like(x) if x.is_floating_point() and (x.is_contiguous() or _is_dense(x)) else None


def _is_dense(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _binary(args: Any, kwargs: Any) -> Tensor | None:
    """Two tensors of one shape, dtype and layout; or a tensor and a number."""
    x, y = args[0], args[1]
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.is_contiguous():
        return None
    if isinstance(y, Tensor):
        return _like(x) if y.shape == x.shape and y.dtype == x.dtype and y.is_contiguous() else None
    return _like(x) if isinstance(y, (int, float)) else None


def _in_place(args: Any, kwargs: Any) -> Tensor | None:
    x = args[0]
    return (
        x if all(not isinstance(y, Tensor) or (y.shape == x.shape and y.dtype == x.dtype) for y in args[1:]) else None
    )


def _linear(args: Any, kwargs: Any) -> Tensor | None:
    x, weight, *bias = args
    if (
        not _is_plain(x)
        or weight.dim() != 2
        or x.dim() < 2
        or x.shape[-1] != weight.shape[1]
        or x.dtype != weight.dtype
    ):
        return None
    if bias and bias[0] is not None and (bias[0].shape != weight.shape[:1] or bias[0].dtype != x.dtype):
        return None
    return _of((*x.shape[:-1], weight.shape[0]), x)


def _conv2d(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    defaults: list[Any] = [None, (1, 1), (0, 0), (1, 1), 1]
    x, weight, bias, stride, padding, dilation, groups = (*args, *defaults[len(args) - 2 :])
    fits = _is_plain(x) and _is_plain(weight) and x.dim() == 4 and x.dtype == weight.dtype and not kwargs
    if not fits or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups or isinstance(padding, str):
        return None
    if bias is not None and (bias.shape[0] != weight.shape[0] or bias.dtype != x.dtype):
        return None
    sizes = [_window(x.shape[i + 2], weight.shape[i + 2], stride, padding, dilation, i) for i in (0, 1)]
    return _of((x.shape[0], weight.shape[0], *sizes), x) if min(sizes) > 0 else None


def _window(size: int, kernel: int, stride: Any, padding: Any, dilation: Any, i: int) -> int:
    step, pad, apart = (value[i % len(value)] for value in (stride, padding, dilation))
    return int((size + 2 * pad - apart * (kernel - 1) - 1) // step + 1)


def _batch_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, *params = args[:5]
    training = args[5] if len(args) > 5 else True
    fits = _is_plain(x) and x.dim() >= 2 and not training and not kwargs
    if not fits or any(p is not None and (p.shape != x.shape[1:2] or p.dtype != x.dtype) for p in params):
        return None
    return _like(x)


def _layer_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, shape, *params = args[:4]
    if not _is_plain(x) or kwargs or list(x.shape[x.dim() - len(shape) :]) != list(shape):
        return None
    if any(p is not None and (list(p.shape) != list(shape) or p.dtype != x.dtype) for p in params):
        return None
    return _like(x)


_UNARY = words("relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu leaky_relu mish softplus exp neg")
_WRITING = words("relu silu sigmoid hardswish hardsigmoid hardtanh elu leaky_relu mish add sub mul")

SHORT: dict[str, Shortcut] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(words("add sub mul div"), _binary),
    "linear": _linear,
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
}

IN_PLACE: dict[str, Shortcut] = dict.fromkeys(_WRITING, _in_place)
