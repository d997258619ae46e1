"""Tensors without values, by the thousand.

A trace makes one for each parameter and each operation, and PyTorch takes 3 to 5 µs for a tensor on the meta device.
A window onto one endless tensor takes less than one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from math import prod

import torch
from torch import Tensor

_ENDLESS = 2**55
# Each window has a place of its own: where one is written from another, PyTorch asks whether they overlap in memory.
_APART = 2**35
_PLACES = itertools.cycle(range(0, _ENDLESS - _APART, _APART))


def hollow(shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    """As `torch.empty_strided` on the meta device.

    Outside of inference mode it is just that: autograd would take each window for a view of the same tensor.
    """
    if prod(shape) >= _APART or not torch.is_inference_mode_enabled():
        return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    return torch.as_strided(_endless(dtype), shape, strides, next(_PLACES))


@cache
def _endless(dtype: torch.dtype) -> Tensor:
    return torch.empty(_ENDLESS, dtype=dtype, device="meta")


def in_rows(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """As `torch.empty` on the meta device: one row behind the other."""
    strides, step = [1] * len(shape), 1
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = step
        step *= shape[axis] or 1
    return hollow(shape, strides, dtype)


def channels_last(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """As `torch.empty` in that memory format, of pictures: (N, C, H, W)."""
    _, channels, height, width = shape
    return hollow(shape, (height * width * channels, 1, width * channels, channels), dtype)


def hollow_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """As `torch.empty_like`: without gaps, with the axes in the order in which they lie in memory."""
    shape, strides = x.shape, x.stride()
    if not x.is_contiguous() or not x.numel():
        strides = _without_gaps(x, shape, strides)
    return hollow(shape, strides, dtype or x.dtype)


def _without_gaps(x: Tensor, shape: Sequence[int], strides: tuple[int, ...]) -> tuple[int, ...]:
    is_dense = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1 == x.numel()
    return strides if is_dense else dense_strides(shape, strides)


def dense_strides(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Strides without gaps or overlap, of axes in the same order."""
    result, step = [1] * len(shape), 1
    for axis in sorted(range(len(shape)), key=lambda i: (strides[i], -i)):
        result[axis] = step
        step *= max(shape[axis], 1)
    return tuple(result)
