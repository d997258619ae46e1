"""What an importance is given, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

# Tensor, axis and exponent → the sums for each index along that axis.
Sums: TypeAlias = dict[tuple[str, int, int], Tensor]


@dataclass(frozen=True, eq=False)
class Slice:
    """One axis of a parameter, as a group of channels sees it.

    Attributes:
        name: The parameter's fully-qualified name.
        dim: Which of its axes.
        role: "out", "in", "both" (a normalisation) or "".
        tensor: The parameter's values, as they are.
        gradient: Those of its gradient, or None where it has none.
        entries: (channels, entries): which entries of the axis belong to each channel.
        length: How many entries the axis has.
        first: The first entry, where each channel has one and they follow each other in the axis; else None.
        sums: Sums of powers along axes, kept for whoever asks again: one axis may be divided among many groups.
    """

    name: str
    dim: int
    role: str
    tensor: Tensor
    gradient: Tensor | None
    entries: Tensor
    length: int
    first: int | None = None
    sums: Sums = field(default_factory=dict, repr=False)

    @cached_property
    def weight(self) -> Tensor:
        """(channels, entries): all entries of the parameter that belong to each channel."""
        return _by_channel(self.tensor, self.dim, self.entries)

    @cached_property
    def grad(self) -> Tensor | None:
        """The same of its gradient, or None where it has none."""
        return None if self.gradient is None else _by_channel(self.gradient, self.dim, self.entries)

    def powers(self, exponent: int) -> Tensor:
        """(channels,): the sum of |weight| ** exponent of each channel; quicker than by `weight`, which is a copy."""
        if self.tensor.is_meta:
            return torch.empty(len(self.entries), dtype=self.tensor.dtype, device="meta")
        key = self.name, self.dim, exponent
        sums = self.sums.get(key)
        if sums is None:
            sums = self.sums[key] = _summed_powers(self.tensor, self.dim, exponent)
        if self.first is not None:
            count = len(self.entries)
            return sums if count == len(sums) else sums[self.first : self.first + count]
        entries = self.entries.to(sums.device)
        return sums[entries[:, 0]] if entries.shape[1] == 1 else sums[entries].sum(1)


Importance: TypeAlias = Callable[[Sequence[Slice]], Tensor]


def name_of(by: Importance) -> str:
    """What an importance is called."""
    return getattr(by, "__name__", type(by).__name__)


def summed(terms: Sequence[Tensor]) -> Tensor:
    """The sum of numbers that may lie on several devices."""
    return torch.stack([term.float() if term.is_meta else term.float().cpu() for term in terms]).sum(0)


def _summed_powers(tensor: Tensor, dim: int, exponent: int) -> Tensor:
    """The sum of |entry| ** exponent for each index along one axis; each way is the quickest for its case by far."""
    tensor = _wide(tensor)
    if tensor.dim() == 1:
        return tensor.square() if exponent == 2 else tensor.abs().pow(exponent)
    if dim == 0:
        norms: Tensor = torch.linalg.vector_norm(tensor, exponent, list(range(1, tensor.dim())))
        return norms.pow(exponent)
    rows = tensor.reshape(prod(tensor.shape[:dim]), -1)
    if exponent == 2 and _is_plain(tensor):
        # numpy multiplies and adds in one pass, without an array of squares.
        values = rows.numpy()
        sums = torch.from_numpy(np.einsum("ij,ij->j", values, values))
    else:
        sums = (rows.square() if exponent == 2 else rows.abs().pow(exponent)).sum(0)
    return sums.view(tensor.shape[dim], -1).sum(1) if dim + 1 < tensor.dim() else sums


def _wide(tensor: Tensor) -> Tensor:
    """Sizes of complex numbers; and 16 bits as 32, since sums in 16 overflow, or come out alike for many channels."""
    tensor = tensor.abs() if tensor.is_complex() else tensor
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _is_plain(tensor: Tensor) -> bool:
    """Whether numpy can read it where it lies."""
    floats = tensor.dtype in (torch.float32, torch.float64)
    return floats and type(tensor) is Tensor and tensor.device.type == "cpu" and tensor.is_contiguous()


def _by_channel(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    """(channels, entries) of a tensor, given which indices along `dim` belong to each channel."""
    rows = tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
    return rows[index.to(tensor.device)].reshape(len(index), -1)
