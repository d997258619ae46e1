"""What an importance is given, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..coupling.atoms import Axis
from ..coupling.groups import Coupling
from ..errors import CouplingError

Scores: TypeAlias = npt.NDArray[np.float64]


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
    """

    name: str
    dim: int
    role: str
    tensor: Tensor
    gradient: Tensor | None
    entries: Tensor
    length: int

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
        others = [i for i in range(self.tensor.dim()) if i != self.dim]
        if others and self.dim == 0:
            # In one pass, but slow along any other axis.
            sums = torch.linalg.vector_norm(self.tensor, exponent, others).pow(exponent)
        else:
            powers = self.tensor.square() if exponent == 2 else self.tensor.abs().pow(exponent)
            sums = powers.sum(others) if others else powers
        found: Tensor = sums[self.entries.to(sums.device)].sum(1)
        return found


Importance: TypeAlias = Callable[[Sequence[Slice]], Tensor]


def name_of(by: Importance) -> str:
    """What an importance is called."""
    return getattr(by, "__name__", type(by).__name__)


def summed(terms: Sequence[Tensor]) -> Tensor:
    """The sum of numbers that may lie on several devices."""
    return torch.stack([term.float() if term.is_meta else term.float().cpu() for term in terms]).sum(0)


def scores_of(coupling: Coupling, members: Axis, tensors: Mapping[str, Tensor], by: Importance) -> Scores:
    """A score for each of some channels of one family, or of several beside each other.

    Raises:
        CouplingError: if `by` doesn't answer one number a channel.
    """
    slices = list(_slices(coupling, members, tensors))
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


def _slices(coupling: Coupling, members: Axis, tensors: Mapping[str, Tensor]) -> Iterator[Slice]:
    """The group's parameters, channels first; without those of which channels have different numbers of entries."""
    for leaf, dim in coupling.families.reached(members):
        tensor = tensors.get(leaf)
        if not isinstance(tensor, nn.Parameter) or not tensor.is_floating_point():
            continue
        axis, own = coupling.leaf_axis(leaf, dim), coupling.record.leaves[leaf][dim]
        index = _positions(coupling.families.owner(coupling.classes.of(axis), members), len(members))
        if index is not None:
            role = coupling.record.roles.get(id(own), "")
            values, grad, blocks = tensor.detach(), tensor.grad, len(axis) // len(own)
            if blocks > 1:
                values = _side_by_side(values, blocks, dim)
                grad = None if grad is None else _side_by_side(grad, blocks, dim)
            yield Slice(leaf, dim, role, values, grad, index, len(axis))


def _side_by_side(tensor: Tensor, blocks: int, dim: int) -> Tensor:
    """(blocks · rows, …, entries, …) → (rows, …, blocks · entries, …): a weight of groups with all their entries."""
    rows = tensor.view(blocks, -1, *tensor.shape[1:]) if tensor.is_contiguous() else torch.stack(tensor.chunk(blocks))
    return rows.movedim(0, dim).flatten(dim, dim + 1)


def _positions(owner: Axis, count: int) -> Tensor | None:
    """(channels, entries): which entries of an axis each channel has; None if they have different numbers."""
    found = np.nonzero(owner >= 0)[0]
    entries = np.bincount(owner[found], minlength=count)
    if not len(found) or (entries != entries[0]).any():
        return None
    return torch.from_numpy(found[np.argsort(owner[found], kind="stable")].reshape(count, -1))


def _by_channel(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    """(channels, entries) of a tensor, given which indices along `dim` belong to each channel."""
    rows = tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
    return rows[index.to(tensor.device)].reshape(len(index), -1)
