"""The classes of the entries of axes, each list once: mostly several axes are of the very same classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constraints.atoms import Axis
from ..solving.classes import Classes, Flags
from ..solving.joining import joined


class Lists:
    """What axes are of. All axes that a residual stream goes through are of one list, say.

    Attributes:
        list_of: For each axis the number of its list.
        lists: The classes of the entries, one after the other.
        lengths: How many these are.
        labels: The classes of all lists, end to end.
    """

    def __init__(self, axes: Sequence[Axis], classes: Classes) -> None:
        labels, end = classes.of(joined(axes)), 0
        numbers: dict[bytes, int] = {}
        list_of: list[int] = []
        self.lists: list[Axis] = []
        for axis in axes:
            found, end = labels[end : end + len(axis)], end + len(axis)
            number = numbers.setdefault(found.tobytes(), len(self.lists))
            list_of.append(number)
            if number == len(self.lists):
                self.lists.append(found)
        self.list_of = np.array(list_of, np.int64)
        self.lengths = np.array([len(labels) for labels in self.lists], np.int64)
        self.labels = joined(self.lists)

    def counts(self, flags: Flags) -> Axis:
        """How many entries of each list are of the classes that are flagged."""
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags[self.labels])])
        ends = np.cumsum(self.lengths)
        counts: Axis = sums[ends] - sums[ends - self.lengths]
        return counts
