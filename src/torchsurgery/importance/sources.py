"""The weights that groups of channels reach into, and which of their entries belong to each channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..coupling.answers.groups import Coupling
from ..coupling.constraints.atoms import Axis
from .powers import Sums, side_by_side
from .scoring import Slice


class Sources:
    """What the channels of a model are scored by.

    Attributes:
        coupling: The traced model.
        tensors: Its parameters and buffers, by name.
        sums: Sums of powers along axes, as far as some group has asked for them.
    """

    def __init__(self, coupling: Coupling, tensors: Mapping[str, Tensor]) -> None:
        self.coupling, self.tensors = coupling, tensors
        self.families, self.uses = coupling.families, coupling.families.uses
        self.sums: Sums = {}
        self._singles: dict[int, dict[int, Axis]] = {}

    def slices(self, members: Axis) -> Iterator[Slice]:
        """The parameters that some channels reach into; without those of which they have different numbers of entries.

        Args:
            members: Channels of one family, or of several beside each other.
        """
        found: dict[int, _Entries | None] = {}
        for place in self.families.reached(members):
            leaf, dim = self.uses.places[place]
            tensor = self.weight(leaf)
            if tensor is None:
                continue
            number = int(self.uses.list_of[place])
            if number not in found:
                found[number] = self._entries(number, members)
            entries = found[number]
            if entries is not None:
                yield self._slice(leaf, dim, tensor, entries, len(self.uses.lists[number]))

    def weight(self, leaf: str) -> Tensor | None:
        """A parameter that channels can be scored by, by its name; None if it is none, or one of whole numbers."""
        tensor = self.tensors.get(leaf) if leaf in self.coupling.record.parameters else None
        is_counted = tensor is not None and (tensor.is_floating_point() or tensor.is_complex())
        return tensor if is_counted else None

    def _slice(self, leaf: str, dim: int, tensor: Tensor, entries: _Entries, length: int) -> Slice:
        record = self.coupling.record
        own = record.leaves[leaf][dim]
        values, grad = tensor.detach(), tensor.grad
        if length > len(own):
            values = side_by_side(values, length // len(own), dim)
            grad = None if grad is None else side_by_side(grad, length // len(own), dim)
        return Slice(
            leaf, dim, record.roles.get(id(own), ""), values, grad, entries.of_each, length, entries.first, self.sums
        )

    # --- which entries

    def _entries(self, number: int, members: Axis) -> _Entries | None:
        """Those of a list of classes, by its number; None if the channels have different numbers of them."""
        if number not in self._singles:
            self._singles[number] = dict(self._single(self.uses.lists[number]))
        index = self._singles[number].get(int(members[0]))
        if index is None or len(index) != len(members):
            index = _positions(self.families.owner(self.uses.lists[number], members), len(members))
        return None if index is None else _Entries(torch.from_numpy(index), _first_of_run(index))

    def _single(self, classes: Axis) -> Iterator[tuple[int, Axis]]:
        """First class → entries, (channels, 1), of families of which each channel has just one, in their order."""
        number = self.families.number[classes]
        order = np.argsort(number, kind="stable")
        number, classes = number[order], classes[order]
        ends = (np.nonzero(number[1:] != number[:-1])[0] + 1).tolist()
        for start, end in pairwise([0, *ends, len(order)]):
            # What is frozen, or a product, is of no family.
            members = self.families.lists[number[start]] if number[start] >= 0 else classes[:0]
            if len(members) == end - start and (classes[start:end] == members).all():
                yield int(members[0]), order[start:end].reshape(-1, 1)


class _Entries(NamedTuple):
    """Which entries of an axis belong to each channel.

    Attributes:
        of_each: (channels, entries).
        first: The first one, where each channel has one and they follow each other; else None.
    """

    of_each: Tensor
    first: int | None


def _first_of_run(index: Axis) -> int | None:
    flat = index[:, 0]
    is_run = index.shape[1] == 1 and flat[-1] - flat[0] == len(flat) - 1 and (flat[1:] > flat[:-1]).all()
    return int(flat[0]) if is_run else None


def _positions(owner: Axis, count: int) -> Axis | None:
    """(channels, entries): which entries of an axis each channel has; None if they have different numbers."""
    found = np.nonzero(owner >= 0)[0]
    if len(found) == count and (owner[found] == np.arange(count)).all():
        return found.reshape(-1, 1)
    entries = np.bincount(owner[found], minlength=count)
    if not len(found) or (entries != entries[0]).any():
        return None
    return found[np.argsort(owner[found], kind="stable")].reshape(count, -1)
