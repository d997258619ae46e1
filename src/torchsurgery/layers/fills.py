"""Tensors in double precision: filled with one value, or others made as precise as can be."""

from __future__ import annotations

import torch
from torch import Tensor

from ..origins import Computed

_WORDS = {0.0: "zeros", 1.0: "ones"}


def filled(shape: int | tuple[int, ...], value: float) -> Computed:
    """A tensor of one value, in double precision; whoever builds a layer with it casts it to the layer's dtype."""
    size = (shape,) if isinstance(shape, int) else shape

    def fill() -> Tensor:
        return torch.full(size, value, dtype=torch.float64, device="cpu")

    return Computed((), fill, _WORDS.get(value, f"filled with {value:g}"))


def precise(tensor: Tensor) -> Tensor:
    """The tensor in double precision, complex if it is."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
