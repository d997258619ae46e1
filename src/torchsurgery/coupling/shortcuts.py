"""Results of the most frequent operations on the meta device, without PyTorch's own shape functions.

These are written in Python and take ten times as long as all else in a trace. A shortcut answers only in the plain case
(one dtype of floating point, shapes that fit); for anything else it answers None, and PyTorch's function runs. Strides
are those that PyTorch gives, as far as code can tell: what follows may ask for a view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .atoms import words
from .hollow import channels_last, hollow, hollow_like, in_rows

Answer: TypeAlias = "Tensor | tuple[Tensor, ...] | None"
Shortcut: TypeAlias = Callable[[Any, Any], Answer]


def _of(shape: Sequence[int], x: Tensor) -> Tensor:
    return in_rows(shape, x.dtype)


def _channels_like(shape: Sequence[int], x: Tensor) -> Tensor:
    """Pictures in the memory format of others."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return (channels_last if last else in_rows)(shape, x.dtype)


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


# --- entry by entry


def _unary(args: Any, kwargs: Any) -> Tensor | None:
    return hollow_like(args[0]) if _is_float(args[0]) else None


def _power(args: Any, kwargs: Any) -> Tensor | None:
    return hollow_like(args[0]) if _is_float(args[0]) and isinstance(args[1], (int, float)) else None


def _binary(args: Any, kwargs: Any) -> Tensor | None:
    """Two tensors of one dtype; or a tensor and a number."""
    x, y = args[0], args[1]
    if not isinstance(y, Tensor):
        return hollow_like(x) if _is_float(x) and isinstance(y, (int, float)) else None
    if not isinstance(x, Tensor):
        return hollow_like(y) if _is_float(y) and isinstance(x, (int, float)) else None
    if x.dtype != y.dtype or not x.is_floating_point():
        return None
    return _met(x, y)


def _met(x: Tensor, y: Tensor) -> Tensor | None:
    if x.shape == y.shape or not y.dim():
        return hollow_like(x)
    shape = broadcast_shape(x.shape, y.shape)
    if shape is None:
        return None
    return hollow_like(x) if shape == list(x.shape) else hollow_like(y) if shape == list(y.shape) else _of(shape, x)


def broadcast_shape(one: Sequence[int], other: Sequence[int]) -> list[int] | None:
    """The shape that two tensors come to; None where they don't fit."""
    rank = max(len(one), len(other))
    one, other = [1] * (rank - len(one)) + list(one), [1] * (rank - len(other)) + list(other)
    fits = all(a == b or 1 in (a, b) for a, b in zip(one, other, strict=True))
    return [b if a == 1 else a for a, b in zip(one, other, strict=True)] if fits else None


def _compared(args: Any, kwargs: Any) -> Tensor | None:
    x, y = args[0], args[1]
    if not _is_float(x) or (isinstance(y, Tensor) and y.shape != x.shape):
        return None
    return hollow_like(x, torch.bool)


def _masked_fill(args: Any, kwargs: Any) -> Tensor | None:
    x, mask = args[0], args[1]
    return hollow_like(x) if _is_float(x) and broadcast_shape(x.shape, mask.shape) == list(x.shape) else None


def _dropout(args: Any, kwargs: Any) -> Tensor | None:
    return hollow_like(args[0]) if _is_float(args[0]) else None


def _softmax(args: Any, kwargs: Any) -> Tensor | None:
    return _of(args[0].shape, args[0]) if _is_float(args[0]) and len(args) < 3 and not kwargs else None


def _in_place(args: Any, kwargs: Any) -> Tensor | None:
    x = args[0]
    return (
        x if all(not isinstance(y, Tensor) or (y.shape == x.shape and y.dtype == x.dtype) for y in args[1:]) else None
    )


# --- products


def _linear(args: Any, kwargs: Any) -> Tensor | None:
    x, weight, *bias = args
    if weight.dim() != 2 or x.dim() < 2 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return None
    if bias and bias[0] is not None and (bias[0].shape != weight.shape[:1] or bias[0].dtype != x.dtype):
        return None
    return _of((*x.shape[:-1], weight.shape[0]), x)


def _matmul(args: Any, kwargs: Any) -> Tensor | None:
    x, y = args
    if min(x.dim(), y.dim()) < 2 or x.shape[-1] != y.shape[-2] or x.dtype != y.dtype or x.shape[:-2] != y.shape[:-2]:
        return None
    return _of((*x.shape[:-1], y.shape[-1]), x)


def _matrix_product(args: Any, kwargs: Any) -> Tensor | None:
    """Of two matrices, or of as many on both sides."""
    x, y = args
    return _matmul(args, kwargs) if x.dim() == y.dim() and _is_float(x) else None


def _added_product(args: Any, kwargs: Any) -> Tensor | None:
    """Something of one dtype that fits, and a product."""
    added, *factors = args
    out = None if kwargs else _matrix_product(factors, kwargs)
    fits = out is not None and added.dtype == out.dtype and broadcast_shape(added.shape, out.shape) == list(out.shape)
    return out if fits else None


def _conv2d(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    defaults: list[Any] = [None, (1, 1), (0, 0), (1, 1), 1]
    x, weight, bias, stride, padding, dilation, groups = (*args, *defaults[len(args) - 2 :])
    fits = weight.is_contiguous() and x.dim() == 4 and x.dtype == weight.dtype and not kwargs
    if not fits or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups or isinstance(padding, str):
        return None
    if bias is not None and (bias.shape[0] != weight.shape[0] or bias.dtype != x.dtype):
        return None
    sizes = [_window(x.shape[i + 2], weight.shape[i + 2], stride, padding, dilation, i) for i in (0, 1)]
    return _channels_like((x.shape[0], weight.shape[0], *sizes), x) if min(sizes) > 0 else None


def _window(size: int, kernel: int, stride: Any, padding: Any, dilation: Any, i: int) -> int:
    step, pad, apart = (value[i % len(value)] for value in (stride, padding, dilation))
    return int((size + 2 * pad - apart * (kernel - 1) - 1) // step + 1)


def _attention(args: Any, kwargs: Any) -> Tensor | None:
    """As the kernel for CPUs lays it out: heads next to each other."""
    query, key, value = args[:3]
    if kwargs.get("enable_gqa"):
        return _grouped_attention(query, key, value)
    plain = query.dim() == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2] and query.dtype == value.dtype
    if not plain or (len(args) > 4 and args[4]) or query.shape[-1] != key.shape[-1]:
        return None
    batch, heads, length, _ = query.shape
    return _of((batch, length, heads, value.shape[-1]), query).transpose(1, 2)


def _grouped_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """Of fewer keys than queries, laid out as the queries are."""
    fits = query.dim() == 4 and query.dtype == key.dtype == value.dtype and key.shape == value.shape
    if not fits or query.shape[::3] != key.shape[::3] or query.shape[1] % key.shape[1]:
        return None
    return hollow_like(query)


def _embedding(args: Any, kwargs: Any) -> Tensor | None:
    table, index = args[:2]
    return _of((*index.shape, table.shape[1]), table) if _is_float(table) else None


# --- normalisations


def _batch_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, *params = args[:5]
    training = args[5] if len(args) > 5 else True
    if x.dim() < 2 or training or kwargs:
        return None
    if any(p is not None and (p.shape != x.shape[1:2] or p.dtype != x.dtype) for p in params):
        return None
    return hollow_like(x)


def _layer_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, shape, *params = args[:4]
    if kwargs or list(x.shape[x.dim() - len(shape) :]) != list(shape):
        return None
    if any(p is not None and (list(p.shape) != list(shape) or p.dtype != x.dtype) for p in params):
        return None
    return _of(x.shape, x)


def _native_batch_norm(args: Any, kwargs: Any) -> Answer:
    """As a batch norm arrives outside of inference mode; it answers what training would need, too: nothing in eval."""
    out = _batch_norm(args[:6] if len(args) == 8 else (*args[:5], False), kwargs)
    return None if out is None else (out, _of((0,), out), _of((0,), out))


def _native_layer_norm(args: Any, kwargs: Any) -> Answer:
    x, shape = args[:2]
    out = _layer_norm(args[:4], kwargs)
    if out is None or x.dtype not in (torch.float32, torch.float64):
        return None
    statistics = (*x.shape[: x.dim() - len(shape)], *[1] * len(shape))
    return out, _of(statistics, x), _of(statistics, x)


def _group_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, _, *params = args[:4]
    if not _is_float(x) or not 2 < x.dim() < 5 or kwargs:
        return None
    if any(p is not None and (p.shape != x.shape[1:2] or p.dtype != x.dtype) for p in params):
        return None
    return _channels_like(x.shape, x) if x.dim() == 4 else _of(x.shape, x)


# --- windows


def _adaptive_pool(args: Any, kwargs: Any) -> Tensor | None:
    x, size = args
    return _channels_like((*x.shape[:2], *size), x) if _is_float(x) and x.dim() == 4 and len(size) == 2 else None


# stride, padding, dilation, ceil_mode
_UNSAID: tuple[Any, ...] = ([], [0], [1], False)
_UNSAID_OF_MEANS: tuple[Any, ...] = ([], [0], False)


def _max_pool(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    x, kernel = args[:2]
    stride, padding, dilation, ceil = (*args[2:], *_UNSAID[len(args) - 2 :])
    if not _is_float(x) or x.dim() != 4 or ceil or kwargs:
        return None
    return _pooled(x, kernel, stride, padding, dilation)


def _avg_pool(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    x, kernel = args[:2]
    stride, padding, ceil = (*args[2:5], *_UNSAID_OF_MEANS[len(args[2:5]) :])
    if not _is_float(x) or x.dim() != 4 or ceil or kwargs:
        return None
    return _pooled(x, kernel, stride, padding, [1])


def _pooled(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Tensor | None:
    fits = all(2 * padding[i % len(padding)] <= kernel[i % len(kernel)] for i in (0, 1))
    sides = enumerate(x.shape[2:])
    sizes = [_window(n, kernel[i % len(kernel)], stride or kernel, padding, dilation, i) for i, n in sides]
    return _channels_like((*x.shape[:2], *sizes), x) if fits and min(sizes) > 0 else None


# --- arrangements


def _permute(args: Any, kwargs: Any) -> Tensor | None:
    x, dims = args
    shape, strides = x.shape, x.stride()
    return hollow([shape[d] for d in dims], [strides[d] for d in dims], x.dtype)


def _cat(args: Any, kwargs: Any) -> Tensor | None:
    # An empty tensor of one axis is passed over, as a cache of keys that holds nothing yet.
    tensors, dim = [t for t in args[0] if t.shape != (0,)], args[1] if len(args) > 1 else 0
    if not tensors or any(t.dtype != args[0][0].dtype for t in tensors):
        return None
    first = tensors[0]
    rank = first.dim()
    if not _is_float(first) or not rank or any(t.dim() != rank or t.dtype != first.dtype for t in tensors):
        return None
    dim %= rank
    shapes = [list(t.shape) for t in tensors]
    if any(shape[:dim] + shape[dim + 1 :] != shapes[0][:dim] + shapes[0][dim + 1 :] for shape in shapes):
        return None
    shape = [*shapes[0][:dim], sum(shape[dim] for shape in shapes), *shapes[0][dim + 1 :]]
    if rank != 4 or any(t.is_contiguous() for t in args[0]):
        return _of(shape, first)
    return _channels_like(shape, first)


def _mean(args: Any, kwargs: Any) -> Tensor | None:
    """Over some axes, given by their numbers."""
    x, dim, keep = (*args, None, False)[:3] if len(args) < 3 else args[:3]
    if not _is_float(x) or dim is None or dim == [] or kwargs:
        return None
    rank = x.dim()
    gone = {d % rank for d in ([dim] if isinstance(dim, int) else dim)}
    return _of([1 if i in gone else n for i, n in enumerate(x.shape) if keep or i not in gone], x)


def _upsample(args: Any, kwargs: Any) -> Tensor | None:
    x, size = args[:2]
    if x.dim() != 4 or kwargs:
        return None
    if size is None:
        if not isinstance(args[-1], (list, tuple)):
            return None
        size = [int(n * scale) for n, scale in zip(x.shape[2:], args[-1], strict=True)]
    return _channels_like((*x.shape[:2], *size), x)


_UNARY = words(
    "relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu leaky_relu mish softplus exp neg rsqrt sqrt "
    "abs square log sin cos clamp clamp_min roll erf selu celu"
)
_WRITING = words("relu silu sigmoid hardswish hardsigmoid hardtanh elu leaky_relu mish add sub mul div clamp")

SHORT: dict[str, Shortcut] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(words("add sub mul div maximum minimum"), _binary),
    **dict.fromkeys(words("eq ne lt le gt ge"), _compared),
    **dict.fromkeys(words("mean sum amax amin"), _mean),
    **dict.fromkeys(words("upsample_bilinear2d upsample_nearest2d upsample_bicubic2d"), _upsample),
    **dict.fromkeys(words("dropout feature_dropout"), _dropout),
    "pow": _power,
    "masked_fill": _masked_fill,
    "softmax": _softmax,
    "embedding": _embedding,
    "linear": _linear,
    **dict.fromkeys(words("mm bmm"), _matrix_product),
    **dict.fromkeys(words("addmm baddbmm"), _added_product),
    "matmul": _matmul,
    "conv2d": _conv2d,
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm,
    "native_batch_norm": _native_batch_norm,
    "_native_batch_norm_legit_no_training": _native_batch_norm,
    "layer_norm": _layer_norm,
    "native_layer_norm": _native_layer_norm,
    "group_norm": _group_norm,
    "adaptive_avg_pool2d": _adaptive_pool,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "permute": _permute,
    "cat": _cat,
}

IN_PLACE: dict[str, Shortcut] = dict.fromkeys(_WRITING, _in_place)

# These are what the multiplications of a model are counted of; all others come to none.
MULTIPLYING = words("linear matmul mm bmm addmm baddbmm conv2d scaled_dot_product_attention")


def shortcut_for(name: str, op: Any) -> Shortcut | None:
    """The shortcut of an operation, if it has one, by its name without namespace."""
    schema = op._schema
    if schema.name.endswith("_"):
        return IN_PLACE.get(name.removesuffix("_"))
    return None if schema.is_mutable else SHORT.get(name)
