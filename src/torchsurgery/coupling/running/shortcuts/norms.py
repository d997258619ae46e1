"""Shortcuts of normalisations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..hollow import hollow_like
from .registry import Answer, channels_like, is_float, of, shortens


@shortens("batch_norm")
def _batch_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, *params = args[:5]
    training = args[5] if len(args) > 5 else True
    if x.dim() < 2 or kwargs or any(p is not None and (p.shape != x.shape[1:2] or p.dtype != x.dtype) for p in params):
        return None
    # With statistics of its own it is another kernel, which lays its answer out anew.
    return channels_like(x.shape, x) if training and _is_whole(x) else None if training else hollow_like(x)


def _is_whole(x: Tensor) -> bool:
    return x.is_contiguous() or x.dim() == 3 or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


@shortens("instance_norm")
def _instance_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, *params = args[:5]
    if not is_float(x) or x.dim() < 3 or kwargs or any(p is not None and p.shape != x.shape[1:2] for p in params):
        return None
    return of(x.shape, x)


@shortens("layer_norm")
def _layer_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, shape, *params = args[:4]
    if kwargs or list(x.shape[x.dim() - len(shape) :]) != list(shape):
        return None
    if any(p is not None and (list(p.shape) != list(shape) or p.dtype != x.dtype) for p in params):
        return None
    return of(x.shape, x)


@shortens("native_batch_norm _native_batch_norm_legit_no_training")
def _native_batch_norm(args: Any, kwargs: Any) -> Answer:
    """As a batch norm arrives outside of inference mode; it answers what training would need, too: nothing in eval."""
    if len(args) == 8 and args[5]:
        return None
    out = _batch_norm((*args[:5], False), kwargs)
    return None if out is None else (out, of((0,), out), of((0,), out))


@shortens("native_layer_norm")
def _native_layer_norm(args: Any, kwargs: Any) -> Answer:
    x, shape = args[:2]
    out = _layer_norm(args[:4], kwargs)
    if out is None or x.dtype not in (torch.float32, torch.float64):
        return None
    statistics = (*x.shape[: x.dim() - len(shape)], *[1] * len(shape))
    return out, of(statistics, x), of(statistics, x)


@shortens("group_norm")
def _group_norm(args: Any, kwargs: Any) -> Tensor | None:
    x, _, *params = args[:4]
    if not is_float(x) or not 2 < x.dim() < 5 or kwargs:
        return None
    if any(p is not None and (p.shape != x.shape[1:2] or p.dtype != x.dtype) for p in params):
        return None
    return channels_like(x.shape, x) if x.dim() == 4 else of(x.shape, x)
