"""What an importance is given, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from .powers import Sums, remembered


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
        sums = torch.as_tensor(remembered(self.sums, self.name, self.tensor, {self.dim: 1}, exponent)[self.dim])
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


def _by_channel(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    """(channels, entries) of a tensor, given which indices along `dim` belong to each channel."""
    rows = tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
    return rows[index.to(tensor.device)].reshape(len(index), -1)
