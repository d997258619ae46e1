"""Prime classes by the role that they play: those found in the same axes equally often are one family.

The 64 channels of a residual stream are a family, the 12 heads of a layer another, and the 64 entries of each head a
third. Channels of one family can stand for each other; which of them goes is a matter of importance.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from .atoms import Axis
from .rules import Record
from .solving import Classes, Flags


class Families:
    """Families of prime classes, and which axes they reach into.

    Attributes:
        lists: The classes of each family, in order.
        number: Class → its family, or −1.
    """

    def __init__(self, record: Record, classes: Classes) -> None:
        self.record, self.classes = record, classes
        self.lists = list(self._grouped())
        self.number = np.full(classes.count, -1, np.int64)
        for i, members in enumerate(self.lists):
            self.number[members] = i

    def _grouped(self) -> Iterator[Axis]:
        signature, seen = self._signatures()
        found = np.nonzero(seen)[0]
        if not len(found):
            return
        first = self._first_atoms()[found]
        block = np.searchsorted(np.array(self.record.ledger.starts), first, side="right")
        keys = np.stack([signature[found].astype(np.int64), block], 1)
        _, family = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(family.reshape(-1), kind="stable")
        bounds = np.nonzero(np.diff(family.reshape(-1)[order]))[0] + 1
        for members in sorted(np.split(order, bounds), key=lambda m: int(first[m].min())):
            here = found[members]
            yield here[np.argsort(first[members], kind="stable")]

    def _signatures(self) -> tuple[Axis, Flags]:
        """For each prime class a number that tells in which axes it is found how often."""
        draw = np.random.default_rng(0)
        signature = np.zeros(self.classes.count, np.uint64)
        seen = np.zeros(self.classes.count, bool)
        for axes in self.record.leaves.values():
            for axis in axes:
                weight = np.uint64(draw.integers(1, 2**62))
                labels, counts = np.unique(self.classes.of(axis), return_counts=True)
                for primes, times in self._primes(labels, counts):
                    seen[primes] = True
                    np.add.at(signature, primes, weight * (np.uint64(1000003) + times))
        seen[0] = False
        return signature.view(np.int64), seen

    def _primes(self, labels: Axis, counts: Axis) -> Iterator[tuple[Axis, Axis]]:
        """Prime classes with how often they are found, given classes of any kind."""
        row = self._row_of[labels]
        plain = (row < 0) & (labels > 0)
        totals: list[Axis] = [labels[plain]]
        times: list[Axis] = [counts[plain]]
        deep = row >= 0
        if deep.any():
            columns = self.classes.primes[row[deep]]
            repeated = np.broadcast_to(counts[deep][:, None], columns.shape)
            totals.append(columns[columns > 0])
            times.append(repeated[columns > 0])
        primes, inverse = np.unique(np.concatenate(totals), return_inverse=True)
        yield primes, np.bincount(inverse.reshape(-1), np.concatenate(times), len(primes)).astype(np.uint64)

    @cached_property
    def _row_of(self) -> Axis:
        """Class → its row among the products, or −1."""
        row = np.full(self.classes.count, -1, np.int64)
        row[self.classes.whole] = np.arange(len(self.classes.whole))
        return row

    def _first_atoms(self) -> Axis:
        first = np.zeros(self.classes.count, np.int64)
        first[self.classes.labels[::-1]] = np.arange(len(self.classes.labels))[::-1]
        return first

    # --- where they are

    @cached_property
    def _places(self) -> dict[int, list[tuple[str, int]]]:
        """Family → the axes that it reaches into."""
        found: dict[int, list[tuple[str, int]]] = {}
        for leaf, axes in self.record.leaves.items():
            for dim, axis in enumerate(axes):
                for family in np.unique(self.number[self.classes.primes_of(self.classes.of(axis))]):
                    found.setdefault(int(family), []).append((leaf, dim))
        return found

    def reached(self, channels: Axis) -> list[tuple[str, int]]:
        """The axes of tensors that some channels reach into, in the model's order."""
        families = [int(f) for f in np.unique(self.number[channels])]
        if len(families) == 1:
            return self._places.get(families[0], [])
        found = {place for family in families for place in self._places.get(family, ())}
        return [
            (leaf, dim) for leaf, axes in self.record.leaves.items() for dim in range(len(axes)) if (leaf, dim) in found
        ]

    def owner(self, classes: Axis, members: Axis) -> Axis:
        """For each of some classes which of `members` it depends on, by its place among them, or −1."""
        place = np.full(self.classes.count, -1, np.int64)
        place[members] = np.arange(len(members))
        row = self._row_of[classes]
        owner = np.where(row < 0, place[classes], -1)
        deep = row >= 0
        if deep.any():
            owner[deep] = np.where(self.classes.primes[row[deep]] > 0, place[self.classes.primes[row[deep]]], -1).max(1)
        return owner

    def touches(self, classes: Axis, channels: Axis) -> Flags:
        """Which of some classes go if one of `channels` does."""
        row = self._row_of[classes]
        plain = np.isin(classes, channels) & (row < 0)
        deep = row >= 0
        plain[deep] = np.isin(self.classes.primes[row[deep]], channels).any(1)
        return plain
