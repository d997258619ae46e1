"""Shortcuts of what moves, joins or picks entries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..hollow import hollow
from .registry import channels_like, is_float, of, shortens


@shortens("permute")
def _permute(args: Any, kwargs: Any) -> Tensor | None:
    x, dims = args
    shape, strides = x.shape, x.stride()
    return hollow([shape[d] for d in dims], [strides[d] for d in dims], x.dtype)


@shortens("cat")
def _cat(args: Any, kwargs: Any) -> Tensor | None:
    # An empty tensor of one axis is passed over, as a cache of keys that holds nothing yet.
    tensors, dim = [t for t in args[0] if t.shape != (0,)], args[1] if len(args) > 1 else 0
    if not tensors or any(t.dtype != args[0][0].dtype for t in tensors):
        return None
    first = tensors[0]
    rank = first.dim()
    if not is_float(first) or not rank or any(t.dim() != rank or t.dtype != first.dtype for t in tensors):
        return None
    dim %= rank
    shapes = [list(t.shape) for t in tensors]
    if any(shape[:dim] + shape[dim + 1 :] != shapes[0][:dim] + shapes[0][dim + 1 :] for shape in shapes):
        return None
    shape = [*shapes[0][:dim], sum(shape[dim] for shape in shapes), *shapes[0][dim + 1 :]]
    if rank != 4 or any(t.is_contiguous() for t in args[0]):
        return of(shape, first)
    return channels_like(shape, first)


@shortens("stack")
def _stack(args: Any, kwargs: Any) -> Tensor | None:
    tensors, dim = args[0], args[1] if len(args) > 1 else 0
    first = tensors[0]
    alike = all(t.shape == first.shape and t.dtype == first.dtype and t.is_contiguous() for t in tensors)
    if not alike or not is_float(first) or kwargs:
        return None
    shape = list(first.shape)
    shape.insert(dim % (len(shape) + 1), len(tensors))
    return of(shape, first)


@shortens("index")
def _rows(args: Any, kwargs: Any) -> Tensor | None:
    """Rows of a table by their numbers."""
    x, (index, *others) = args
    if not is_float(x) or index is None or others or index.dtype not in (torch.int64, torch.int32):
        return None
    return of((*index.shape, *x.shape[1:]), x) if x.is_contiguous() and index.is_contiguous() else None
