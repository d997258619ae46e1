"""Shortcuts of what looks at windows of a picture, or makes another size of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .registry import channels_like, is_float, of, shortens


def window(size: int, kernel: int, stride: Any, padding: Any, dilation: Any, i: int, ceil: bool = False) -> int:
    """How many windows there are along axis number `i`; with `ceil` also one that begins inside and ends beyond."""
    step, pad, apart = (value[i % len(value)] for value in (stride, padding, dilation))
    room = size + 2 * pad - apart * (kernel - 1) - 1
    number = int((room + (step - 1 if ceil else 0)) // step + 1)
    return number - 1 if ceil and (number - 1) * step >= size + pad else number


@shortens("adaptive_avg_pool2d")
def _adaptive_pool(args: Any, kwargs: Any) -> Tensor | None:
    x, size = args
    return channels_like((*x.shape[:2], *size), x) if is_float(x) and x.dim() == 4 and len(size) == 2 else None


# stride, padding, dilation, ceil_mode
_UNSAID: tuple[Any, ...] = ([], [0], [1], False)
_UNSAID_OF_MEANS: tuple[Any, ...] = ([], [0], False)


@shortens("max_pool2d")
def _max_pool(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    x, kernel = args[:2]
    stride, padding, dilation, ceil = (*args[2:], *_UNSAID[len(args) - 2 :])
    if not is_float(x) or x.dim() != 4 or kwargs:
        return None
    return _pooled(x, kernel, stride, padding, dilation, ceil)


@shortens("avg_pool2d")
def _avg_pool(args: tuple[Any, ...], kwargs: Any) -> Tensor | None:
    x, kernel = args[:2]
    stride, padding, ceil = (*args[2:5], *_UNSAID_OF_MEANS[len(args[2:5]) :])
    if not is_float(x) or x.dim() != 4 or kwargs:
        return None
    return _pooled(x, kernel, stride, padding, [1], ceil)


def _pooled(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor | None:
    fits = all(2 * padding[i % len(padding)] <= kernel[i % len(kernel)] for i in (0, 1))
    sides = enumerate(x.shape[2:])
    sizes = [window(n, kernel[i % len(kernel)], stride or kernel, padding, dilation, i, ceil) for i, n in sides]
    return channels_like((*x.shape[:2], *sizes), x) if fits and min(sizes) > 0 else None


@shortens("upsample_bilinear2d upsample_nearest2d upsample_bicubic2d")
def _upsample(args: Any, kwargs: Any) -> Tensor | None:
    x, size = args[:2]
    if x.dim() != 4 or kwargs:
        return None
    if size is None:
        if not isinstance(args[-1], (list, tuple)):
            return None
        size = [int(n * scale) for n, scale in zip(x.shape[2:], args[-1], strict=True)]
    return channels_like((*x.shape[:2], *size), x)


@shortens("grid_sampler")
def _grid_sampler(args: Any, kwargs: Any) -> Tensor | None:
    x, grid = args[:2]
    fits = x.dim() == grid.dim() == 4 and x.dtype == grid.dtype and len(x) == len(grid) and grid.shape[-1] == 2
    return of((*x.shape[:2], *grid.shape[1:3]), x) if fits and not kwargs else None
