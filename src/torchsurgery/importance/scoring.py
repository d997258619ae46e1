"""What an importance is given, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..coupling.atoms import Axis
from ..coupling.groups import Coupling
from ..errors import CouplingError

Scores: TypeAlias = npt.NDArray[np.float64]
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
        every: Whether each channel has one entry, and they are all that the axis has, in order.
        sums: Sums of powers along axes, kept for whoever asks again: one axis may be divided among many groups.
    """

    name: str
    dim: int
    role: str
    tensor: Tensor
    gradient: Tensor | None
    entries: Tensor
    length: int
    every: bool = False
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
        if self.every:
            return sums
        entries = self.entries.to(sums.device)
        return sums[entries[:, 0]] if entries.shape[1] == 1 else sums[entries].sum(1)


Importance: TypeAlias = Callable[[Sequence[Slice]], Tensor]


def name_of(by: Importance) -> str:
    """What an importance is called."""
    return getattr(by, "__name__", type(by).__name__)


def summed(terms: Sequence[Tensor]) -> Tensor:
    """The sum of numbers that may lie on several devices."""
    return torch.stack([term.float() if term.is_meta else term.float().cpu() for term in terms]).sum(0)


def scores_of(coupling: Coupling, members: Axis, tensors: Mapping[str, Tensor], by: Importance, sums: Sums) -> Scores:
    """A score for each of some channels of one family, or of several beside each other.

    Args:
        coupling: The traced model.
        members: The channels.
        tensors: The model's parameters and buffers, by name.
        by: Scores them.
        sums: What was summed up for other families; is added to.

    Raises:
        CouplingError: if `by` doesn't answer one number a channel.
    """
    slices = list(_slices(coupling, members, tensors, sums))
    if not slices:
        return np.zeros(len(members))
    scores = by(slices)
    _refuse_misshapen(scores, slices[0].name, len(members))
    if scores.is_meta:  # nothing to compare: the last ones stay
        return np.zeros(len(members))
    found = np.asarray(scores.detach().double().cpu().numpy())
    if np.isnan(found).any():
        raise CouplingError(
            f"by= answers numbers for {slices[0].name} that are none.",
            f"got {int(np.isnan(found).sum())} nan among {len(found)}",
            name=slices[0].name,
            got=scores,
            way_out="see to it that no weight is nan, and that nothing is divided by zero",
        )
    return found


def _refuse_misshapen(scores: object, name: str, count: int) -> None:
    got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if got != (count,):
        raise CouplingError(
            f"by= must answer one number a channel for {name}.",
            f"expected a tensor of shape {(count,)}, got {got}",
            name=name,
            expected=(count,),
            got=got,
            way_out="as  lambda slices: sum(s.weight.abs().sum(1) for s in slices)",
        )


def _slices(coupling: Coupling, members: Axis, tensors: Mapping[str, Tensor], sums: Sums) -> Iterator[Slice]:
    """The group's parameters, channels first; without those of which channels have different numbers of entries."""
    families, one_each = coupling.families, torch.arange(len(members)).view(-1, 1)
    for place in families.reached(members):
        leaf, dim = families.uses.places[place]
        tensor = tensors.get(leaf) if leaf in coupling.record.parameters else None
        if tensor is None or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        classes, own = families.uses.classes_of(place), coupling.record.leaves[leaf][dim]
        every = np.array_equal(classes, members)
        index = one_each if every else _positions(families.owner(classes, members), len(members))
        if index is not None:
            role = coupling.record.roles.get(id(own), "")
            values, grad, blocks = tensor.detach(), tensor.grad, len(classes) // len(own)
            if blocks > 1:
                values = _side_by_side(values, blocks, dim)
                grad = None if grad is None else _side_by_side(grad, blocks, dim)
            yield Slice(leaf, dim, role, values, grad, index, len(classes), every, sums)


def _side_by_side(tensor: Tensor, blocks: int, dim: int) -> Tensor:
    """(blocks · rows, …, entries, …) → (rows, …, blocks · entries, …): a weight of groups with all their entries."""
    rows = tensor.view(blocks, -1, *tensor.shape[1:]) if tensor.is_contiguous() else torch.stack(tensor.chunk(blocks))
    return rows.movedim(0, dim).flatten(dim, dim + 1)


def _positions(owner: Axis, count: int) -> Tensor | None:
    """(channels, entries): which entries of an axis each channel has; None if they have different numbers."""
    found = np.nonzero(owner >= 0)[0]
    if len(found) == count and (owner[found] == np.arange(count)).all():
        return torch.from_numpy(found).view(-1, 1)
    entries = np.bincount(owner[found], minlength=count)
    if not len(found) or (entries != entries[0]).any():
        return None
    return torch.from_numpy(found[np.argsort(owner[found], kind="stable")].reshape(count, -1))


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
