"""Tensors that are made of nothing, and change nothing."""

from __future__ import annotations

import torch

from ..origins import Computed

_WORDS = {0.0: "zeros", 1.0: "ones"}


def filled(shape: int | tuple[int, ...], value: float) -> Computed:
    """A tensor of one value; dtype and device follow the layer."""
    size = (shape,) if isinstance(shape, int) else shape
    return Computed((), lambda: torch.full(size, value), _WORDS.get(value, f"filled with {value:g}"))
