"""Shortcuts of products: what a model's multiplications are counted of."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...constraints.atoms import words
from ..hollow import hollow_like
from .registry import Answer, broadcast_shape, channels_like, is_float, of, shortens
from .windows import window

# All others come to no multiplications.
MULTIPLYING = words(
    """linear matmul mm bmm addmm baddbmm conv1d conv2d scaled_dot_product_attention lstm gru rnn_tanh rnn_relu"""
)


@shortens("linear")
def _linear(args: Any, kwargs: Any) -> Tensor | None:
    x, weight, *bias = args
    if weight.dim() != 2 or x.dim() < 2 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return None
    if bias and bias[0] is not None and (bias[0].shape != weight.shape[:1] or bias[0].dtype != x.dtype):
        return None
    return of((*x.shape[:-1], weight.shape[0]), x)


@shortens("matmul")
def _matmul(args: Any, kwargs: Any) -> Tensor | None:
    x, y = args
    if min(x.dim(), y.dim()) < 2 or x.shape[-1] != y.shape[-2] or x.dtype != y.dtype or x.shape[:-2] != y.shape[:-2]:
        return None
    return of((*x.shape[:-1], y.shape[-1]), x)


@shortens("mm bmm")
def _matrix_product(args: Any, kwargs: Any) -> Tensor | None:
    """Of two matrices, or of as many on both sides."""
    x, y = args
    return _matmul(args, kwargs) if x.dim() == y.dim() and is_float(x) else None


@shortens("addmm baddbmm")
def _added_product(args: Any, kwargs: Any) -> Tensor | None:
    """Something of one dtype that fits, and a product."""
    added, *factors = args
    out = None if kwargs else _matrix_product(factors, kwargs)
    fits = out is not None and added.dtype == out.dtype and broadcast_shape(added.shape, out.shape) == list(out.shape)
    return out if fits else None


@shortens("conv1d conv2d")
def _convolution(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    defaults: list[Any] = [None, (1, 1), (0, 0), (1, 1), 1]
    x, weight, bias, stride, padding, dilation, groups = (*args, *defaults[len(args) - 2 :])
    fits = weight.is_contiguous() and x.dim() == weight.dim() and x.dtype == weight.dtype and not kwargs
    if not fits or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups or isinstance(padding, str):
        return None
    if bias is not None and (bias.shape[0] != weight.shape[0] or bias.dtype != x.dtype):
        return None
    sides = enumerate(zip(x.shape[2:], weight.shape[2:], strict=True))
    sizes = [window(size, kernel, stride, padding, dilation, i) for i, (size, kernel) in sides]
    return channels_like((x.shape[0], weight.shape[0], *sizes), x) if min(sizes) > 0 else None


@shortens("scaled_dot_product_attention")
def _attention(args: Any, kwargs: Any) -> Tensor | None:
    """As the kernel for CPUs lays it out: heads next to each other."""
    query, key, value = args[:3]
    if kwargs.get("enable_gqa") or (query.dim() == 4 and key.dim() == 4 and query.shape[1] > key.shape[1] == 1):
        return _grouped_attention(query, key, value)
    plain = query.dim() == 4 and query.shape[:2] == key.shape[:2] == value.shape[:2] and query.dtype == value.dtype
    if not plain or (len(args) > 4 and args[4]) or query.shape[-1] != key.shape[-1]:
        return None
    batch, heads, length, _ = query.shape
    return of((batch, length, heads, value.shape[-1]), query).transpose(1, 2)


def _grouped_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """Of fewer keys than queries, laid out as the queries are."""
    fits = query.dim() == 4 and query.dtype == key.dtype == value.dtype and key.shape == value.shape
    if not fits or query.shape[::3] != key.shape[::3] or query.shape[1] % key.shape[1]:
        return None
    return hollow_like(query)


@shortens("embedding")
def _embedding(args: Any, kwargs: Any) -> Tensor | None:
    table, index = args[:2]
    return of((*index.shape, table.shape[1]), table) if is_float(table) else None


@shortens("lstm gru rnn_tanh rnn_relu")
def _recurrent(args: Any, kwargs: Any) -> Answer:
    """Of a plain sequence: (time, batch, in), also where the axes are given the other way round."""
    if len(args) != 9 or kwargs or args[0].dim() != 3 or isinstance(args[3], (list, tuple)):
        return None
    x, states, params, _, _, _, _, bidirectional, batch_first = args
    states = states if isinstance(states, (list, tuple)) else [states]
    if any(tensor.dtype != x.dtype for tensor in (*states, *params)):
        return None
    batch, time = x.shape[:2] if batch_first else x.shape[1::-1]
    out = of((time, batch, states[0].shape[-1] * (2 if bidirectional else 1)), x)
    return out.transpose(0, 1) if batch_first else out, *(of(state.shape, x) for state in states)
