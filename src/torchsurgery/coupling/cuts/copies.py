"""Entries that come several times, as in Net2Net: what becomes of each axis, and who must take the copies by shares.

A copy stands right behind its original, or behind the whole run of entries that goes with it: a head behind a head, a
channel's positions behind those positions. So copies stay in their group, their head, their part of a concatenation,
whatever views, shuffles and joins the model makes of an axis.

What sums over the copies would count them several times: its weights are divided among them. A tensor that both gives
and takes them, as a tied table does, can't be divided; there the copies get no weight, and the originals all of it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..answers.groups import Coupling
from ..constraints.atoms import Axis, Reason, Where, words
from ..constraints.record import Sum, Term, layer_of
from ..solving.classes import Flags
from .cut import Cut, Numbers, factors

Shares = npt.NDArray[np.float64]
Place = tuple[str, int]

# Of equally many copies of all entries these make what they made of the entries.
_EVEN = words(
    """layer_norm native_layer_norm rms_norm _fused_rms_norm group_norm native_group_norm mean amax amin max min any
    all"""
)


class Grown(NamedTuple):
    """Channels of one family, and how often each is there afterwards."""

    members: Axis
    times: Axis


class Copies(Numbers):
    """What becomes of each axis when some prime classes come several times."""

    def __init__(self, coupling: Coupling, grown: Sequence[Grown]) -> None:
        super().__init__(coupling)
        self.grown, classes = tuple(grown), coupling.classes
        self.times = np.ones(classes.count, np.int64)
        for members, times in self.grown:
            self.times[members] = times
        if len(classes.whole):
            self.times[classes.whole] = self.times[classes.primes].prod(1)

    def numbers(self, axis: Axis) -> Axis:
        """How often each entry of an axis will be there."""
        return self.times[self.coupling.classes.of(axis)]

    def count(self, axis: Axis) -> int:
        return int(self.numbers(axis).sum())

    def is_touched(self, axis: Axis) -> bool:
        """Whether an axis becomes longer."""
        return bool((self.numbers(axis) != 1).any())

    def entries(self, axis: Axis) -> Axis:
        """The old entries that the longer axis is made of, in order."""
        classes, index = self.coupling.classes.of(axis), np.arange(len(axis))
        for members, times in self.grown:
            owner = self.coupling.families.owner(classes[index], members)
            index = index[_runs_repeated(owner, np.where(owner >= 0, times[owner], 1))]
        return index

    # --- what sums over copies

    @cached_property
    def takers(self) -> Mapping[Place, Axis]:
        """The axes of parameters and buffers over which copies are summed, with what each entry is summed over with."""
        found: dict[Place, Axis] = {}
        for item in self._sums:
            if bool(item.one.roots) is not bool(item.other.roots):
                found |= self._places(item.one if item.one.roots else item.other)
        # Where parameters alone are multiplied, as in a spectral norm, one of the two is enough.
        for item in self._sums:
            one, other = self._places(item.one), self._places(item.other)
            if item.one.roots and item.other.roots and found.keys().isdisjoint({**one, **other}):
                found |= other if not one or (other and any(map(self._gives, one))) else one
        return found

    @cached_property
    def _sums(self) -> list[Sum]:
        return [item for item in self.coupling.record.sums if self.is_touched(item.other.over)]

    def _places(self, term: Term) -> dict[Place, Axis]:
        """The axes of its roots that a summed axis runs over: by its atoms, or where they were viewed, by role."""
        axes = [((root, i), axis) for root in term.roots for i, axis in enumerate(self.coupling.record.leaves[root])]
        found = {
            place: term.over if len(term.over) == len(axis) else axis
            for place, axis in axes
            if np.isin(term.axis, axis[axis > 0]).any()
        }
        wanted = self.coupling.classes.primes_of(self.coupling.classes.of(term.axis))
        return found or {place: axis for place, axis in axes if self._takes(axis, wanted)}

    def _takes(self, axis: Axis, wanted: Axis) -> bool:
        classes = self.coupling.classes
        return self._role(axis) == "in" and bool(np.isin(classes.primes_of(classes.of(axis)), wanted).any())

    def _role(self, axis: Axis) -> str:
        return self.coupling.record.roles.get(id(axis), "")

    def _gives(self, place: Place) -> bool:
        return self._role(self.coupling.record.leaves[place[0]][place[1]]) in ("out", "both")

    @cached_property
    def _bare(self) -> Flags:
        """The classes of which a tensor gives and takes the copies."""
        flags = np.zeros(self.coupling.classes.count, bool)
        for place, over in self.takers.items():
            if self._gives(place):
                flags[self.coupling.classes.of(over)] = True
        flags[0] = False
        return flags

    def shares(self, axis: Axis, over: Axis) -> tuple[float, ...]:
        """What each entry of the longer axis is multiplied by where it is summed over."""
        index, numbers = self.entries(axis), self.numbers(over)
        first = np.zeros(len(index), bool)
        first[np.unique(index, return_index=True)[1]] = True
        bare = self._bare[self.coupling.classes.of(over)][index]
        return tuple(np.where(bare, first, 1.0 / numbers[index]).tolist())

    # --- what makes it inexact

    def inexact(self) -> Iterator[Reason]:
        """Operations after which copies don't come to what the originals came to."""
        record = self.coupling.record
        for axis, number in record.mixing:
            reason = record.ledger.reasons[number]
            if self.is_touched(axis) and not (reason.where.operation in _EVEN and self._is_even(axis)):
                yield reason
        for leaf, axes in record.leaves.items():
            if _is_of_a_spectral_norm(leaf, record.leaves) and any(map(self.is_touched, axes)):
                yield Reason(
                    "the largest singular value of its weights changes", Where("spectral_norm", layer_of(leaf))
                )
        for axis, where in factors(self.coupling):
            if self.is_touched(axis):
                yield Reason("a factor in the code depends on its width", where)
        for item in self._sums:
            if not item.one.roots and not item.other.roots:
                yield Reason(f"{item.where.operation} sums over it", item.where)

    def _is_even(self, axis: Axis) -> bool:
        numbers = self.numbers(axis)
        return bool((numbers == numbers[0]).all() and not self._bare[self.coupling.classes.of(axis)].any())

    # --- as data

    def cut(self) -> Cut:
        """As plain data.

        Raises:
            Unsolved: if there is no value for an integer of the code.
        """
        kept: dict[str, dict[int, tuple[int, ...]]] = {}
        shares: dict[str, dict[int, tuple[float, ...]]] = {}
        for leaf, axes in self.coupling.record.leaves.items():
            for dim, axis in enumerate(axes):
                if self.is_touched(axis):
                    kept.setdefault(leaf, {})[dim] = tuple(self.entries(axis).tolist())
                    if (leaf, dim) in self.takers:
                        shares.setdefault(leaf, {})[dim] = self.shares(axis, self.takers[leaf, dim])
        mixing = tuple(dict.fromkeys(map(str, self.inexact())))
        return Cut(kept, self.attributes(), mixing, shares=shares)


def _is_of_a_spectral_norm(leaf: str, leaves: Container[str]) -> bool:
    """Whether a tensor is a singular vector that torch's spectral_norm keeps, of the parametrization or the hook."""
    if ".parametrizations." in f".{leaf}":
        return leaf.endswith(("._u", "._v"))
    return leaf.endswith(("_u", "_v")) and f"{leaf[:-2]}_orig" in leaves


def _runs_repeated(owner: Axis, times: Axis) -> Axis:
    """The places of an axis where each run of one owner stands as often as told, run behind run."""
    start = np.nonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))[0] if len(owner) else owner
    length = np.diff(np.concatenate([start, [len(owner)]]))
    total = length * times[start]
    run = np.repeat(np.arange(len(start)), total)
    within = np.arange(len(run)) - np.repeat(np.cumsum(total) - total, total)
    found: Axis = start[run] + within % length[run]
    return found
