"""What shuffles make of fewer channels, told by arithmetic: most numbers that won't do needn't be traced to know it.

A shuffle gives the channels of its rows in turn, and what comes behind takes runs of that: half of it the next
convolution, the other half the next shuffle. With fewer channels the same runs, shortened alike, hold others. If then
some channel is found in axes in which none is found together in the model as it is, the narrower model is not the old
one with channels left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..answers.groups import Coupling
from ..constraints.atoms import Axis
from ..solving.joining import joined


class Run(NamedTuple):
    """Channels that follow each other.

    Attributes:
        shuffle: The number of the shuffle that gives them one after the other, or −1 where none does.
        start: The first one there.
        length: How many they are.
        ways: A number that tells in which axes they are found, but for those that are one run of a shuffle.
    """

    shuffle: int
    start: int
    length: int
    ways: int

    def shortened(self, share: float) -> tuple[int, int] | None:
        """Where it starts and ends when a share of the channels is left; None if that is no whole number."""
        ends = self.start * share, (self.start + self.length) * share
        whole = [round(end) for end in ends]
        return (whole[0], whole[1]) if max(abs(a - b) for a, b in zip(ends, whole, strict=True)) < 1e-6 else None


class Foresight:
    """The shuffles of a model, in its order.

    Attributes:
        given: The classes that each is given.
        rows: In how many rows it lays them.
        runs: What runs they are.
        taken: Runs that are an axis of a tensor, each with the number of that.
        known: Numbers that tell in which axes the channels of the model are found.
    """

    def __init__(self, coupling: Coupling) -> None:
        uses, classes = coupling.families.uses, coupling.classes
        turned = [rows.split for rows in coupling.rows if rows.split.is_turned]
        self.given = [classes.of(split.whole) for split in turned]
        self.rows = [len(split.row) for split in turned]
        self.shuffle, self.at = np.full(classes.count, -1, np.int64), np.zeros(classes.count, np.int64)
        self.ways = np.zeros(classes.count, np.int64)
        before = [self._follow(number) for number in range(len(turned))]
        numbers = np.random.default_rng(3).integers(1, 2**62, len(uses.lists), np.int64)
        single = [self._single(labels) for labels in uses.lists]
        self.taken = [(run, number) for run, number in zip(single, numbers.tolist(), strict=True) if run is not None]
        others = np.array([run is None for run in single], bool)[uses.list]
        np.add.at(self.ways, uses.prime[others], numbers[uses.list[others]])
        self.runs = [list(self._runs(labels, *whence)) for labels, whence in zip(self.given, before, strict=True)]
        self.known = self._all_ways(np.ones(classes.count)) or frozenset()

    def brings_others(self, share: npt.NDArray[np.float64]) -> bool:
        """Whether some channel is found where none is in the model as it is; if that can't be told, no.

        Args:
            share: For each class which share of its family is left.
        """
        found = self._all_ways(share)
        return found is not None and not found <= self.known

    # --- the model as it is

    def _follow(self, number: int) -> tuple[Axis, Axis]:
        """Note where a shuffle brings its channels; answers where they were before."""
        labels = self.given[number]
        before, turned = (self.shuffle[labels], self.at[labels]), _turned(labels, self.rows[number])
        self.shuffle[turned], self.at[turned] = number, np.arange(len(turned))
        return before

    def _single(self, labels: Axis) -> Run | None:
        """The run of a shuffle that an axis is."""
        runs = list(self._runs(labels, self.shuffle[labels], self.at[labels]))
        return runs[0] if len(runs) == 1 and runs[0].shuffle >= 0 else None

    def _runs(self, labels: Axis, shuffle: Axis, at: Axis) -> Iterator[Run]:
        ways = np.where(shuffle < 0, self.ways[labels], 0)
        is_apart = (shuffle[1:] != shuffle[:-1]) | (ways[1:] != ways[:-1]) | ((shuffle[1:] >= 0) & (np.diff(at) != 1))
        for start, end in pairwise([0, *(np.nonzero(is_apart)[0] + 1).tolist(), len(labels)]):
            if start < end:
                yield Run(int(shuffle[start]), int(at[start]), end - start, int(ways[start]))

    # --- one that is narrower

    def _all_ways(self, share: npt.NDArray[np.float64]) -> frozenset[int] | None:
        """For each channel that is left the number that tells where it is found; None if that can't be told."""
        parts = [np.unique(share[labels]) for labels in self.given]
        if any(len(part) != 1 for part in parts) or not all(map(_are_apart, self.given)):
            return None
        turned: list[Axis] = []
        ways: list[Axis] = []
        for runs, rows, (part,) in zip(self.runs, self.rows, parts, strict=True):
            pieces = [self._piece(run, float(part), turned, ways) for run in runs]
            if any(piece is None for piece in pieces):
                return None
            whole = joined(pieces)  # type: ignore[arg-type]
            if len(whole) % rows:
                return None
            turned.append(_turned(whole, rows))
        found = joined(ways)
        for run, number in self.taken:
            ends = run.shortened(float(parts[run.shuffle][0]))
            if ends is None:
                return None
            found[turned[run.shuffle][slice(*ends)]] += number
        return frozenset(found.tolist())

    def _piece(self, run: Run, share: float, turned: list[Axis], ways: list[Axis]) -> Axis | None:
        """The channels of a run; those that come from elsewhere get numbers of their own."""
        ends = run.shortened(share)
        if ends is None:
            return None
        if run.shuffle >= 0:
            piece: Axis = turned[run.shuffle][slice(*ends)]
            return piece
        count = sum(map(len, ways))
        ways.append(np.full(ends[1] - ends[0], run.ways))
        return np.arange(count, count + len(ways[-1]))


def _turned(labels: Axis, rows: int) -> Axis:
    """What a shuffle makes of so many rows of channels."""
    turned: Axis = labels.reshape(rows, -1).T.reshape(-1)
    return turned


def _are_apart(labels: Axis) -> bool:
    """Whether all of them may go, each for itself."""
    return bool((labels > 0).all()) and len(np.unique(labels)) == len(labels)
