"""The classes of the entries of axes, each list once: mostly several axes are of the very same classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constraints.atoms import Axis
from ..solving.classes import Classes, Flags
from ..solving.joining import joined, parted


class Lists:
    """What axes are of. All axes that a residual stream goes through are of one list, say.

    Attributes:
        list_of: For each axis the number of its list.
        lists: The classes of the entries, one after the other.
        lengths: How many these are.
        labels: The classes of all lists, end to end.
    """

    def __init__(self, axes: Sequence[Axis], classes: Classes) -> None:
        names = list(map(classes.one.name, axes))
        # Axes that are one need not be compared entry by entry.
        apart = dict(zip(names, axes, strict=True))
        ends = np.cumsum([len(axis) for axis in apart.values()])
        number_of: dict[int, int] = {}
        numbers: dict[bytes, int] = {}
        self.lists: list[Axis] = []
        for name, labels in zip(apart, parted(classes.of(joined(list(apart.values()))), ends), strict=True):
            number_of[name] = number = numbers.setdefault(labels.tobytes(), len(self.lists))
            if number == len(self.lists):
                self.lists.append(labels)
        self.list_of = np.array([number_of[name] for name in names], np.int64)
        self.lengths = np.array([len(labels) for labels in self.lists], np.int64)
        self.labels = joined(self.lists)

    def counts(self, flags: Flags) -> Axis:
        """How many entries of each list are of the classes that are flagged."""
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags[self.labels])])
        ends = np.cumsum(self.lengths)
        counts: Axis = sums[ends] - sums[ends - self.lengths]
        return counts
