"""Which atoms are one by ties alone: connected components, axis by axis where whole axes are tied.

A tie is one between all entries of two axes, mostly those that a tensor started with. Joining these by number leaves a
few entries to be joined one by one: what was cut out of an axis, or laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..constraints.atoms import Axis, Ledger

_Number = TypeVar("_Number", bound=np.generic)


def components(ledger: Ledger) -> Axis:
    """Atom → the smallest one that it is tied to, over however many ties; 0 for what is frozen."""
    return Wholes(ledger).components()


class Wholes:
    """Axes by their numbers, those with atoms of their own first; each with a smaller number that it is one with.

    Attributes:
        all: The axes.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.all = list(ledger.whole)
        self.up = list(range(len(self.all)))
        self.number = {id(axis): number for number, axis in enumerate(self.all)}
        for tie in ledger.ties:
            self.tie(tie.one, tie.other)

    def components(self) -> Axis:
        """See `components`."""
        frozen = {self.root(axis) for axis, _ in self.ledger.frozen}
        one, other = self.left_over()
        stays = joined([self.all[number] for number in frozen])
        return union(
            self.parent(),
            np.maximum(np.concatenate([one, stays]), 0),
            np.maximum(np.concatenate([other, np.zeros(len(stays), np.int64)]), 0),
        )

    def name(self, axis: Axis) -> int:
        """A number that axes which are one have in common; other axes may be of the same classes, too."""
        number = self.number.get(id(axis))
        return -id(axis) if number is None else self._root(number)

    def root(self, axis: Axis) -> int:
        """The smallest number of an axis that this one is one with."""
        number = self.number.get(id(axis))
        if number is None:
            number = self.number[id(axis)] = len(self.all)
            self.all.append(axis)
            self.up.append(number)
        return self._root(number)

    def _root(self, number: int) -> int:
        up = self.up
        while up[number] != number:
            up[number] = number = up[up[number]]
        return number

    def tie(self, one: Axis, other: Axis) -> None:
        """Two axes are one."""
        low, high = self.root(one), self.root(other)
        self.up[max(low, high)] = min(low, high)

    def parent(self) -> Axis:
        """Atom → its partner in the first of those axes that are one with its own."""
        parent = np.arange(self.ledger.size)
        starts = np.array(self.ledger.starts, np.int64)
        firsts = starts[[self._root(number) for number in range(len(starts))]]
        parent[1:] += np.repeat(firsts - starts, np.diff([*starts, self.ledger.size]))
        return parent

    def left_over(self) -> tuple[Axis, Axis]:
        """Pairs of atoms that are one, of axes that have no atoms of their own."""
        later = range(len(self.ledger.whole), len(self.all))
        return joined([self.all[i] for i in later]), joined([self.all[self._root(i)] for i in later])


def joined(axes: Sequence[Axis]) -> Axis:
    """Axes end to end; none of them come to an empty one."""
    return np.concatenate([np.zeros(0, np.int64), *axes])


def parted(numbers: npt.NDArray[_Number], ends: Axis) -> list[npt.NDArray[_Number]]:
    """The parts that end before some places: as `np.split`, in a fraction of its time."""
    return [numbers[start:end] for start, end in pairwise([0, *ends.tolist()])]


def once(numbers: Axis) -> Axis:
    """Each number once, in order: as `np.unique`, in a fraction of its time where they are in order already."""
    return numbers if bool((numbers[1:] > numbers[:-1]).all()) else tallied(numbers)[0]


def tallied(numbers: Axis) -> tuple[Axis, Axis]:
    """Each number once, in order, and how often it is there."""
    if not (numbers[1:] >= numbers[:-1]).all():
        numbers = np.sort(numbers)
    is_last = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=is_last[:-1])
    ends = is_last.nonzero()[0]
    counts = ends + 1
    counts[1:] -= counts[:-1].copy()
    return numbers[ends], counts


def union(parent: Axis, one: Axis, other: Axis) -> Axis:
    """Components after joining pairs, given those before; each component is called by its smallest member."""
    while True:
        a, b = parent[one], parent[other]
        apart = a != b
        if not apart.any():
            return parent
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        parent = parent.copy()
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(higher := parent[parent], parent):
            parent = higher
