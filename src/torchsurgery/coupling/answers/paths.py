"""Why two axes are one, and why an axis is frozen: the shortest chain of operations from one to the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cached_property

import numpy as np

from ..constraints.atoms import Axis, Ledger, Reason, Where
from ..solving.classes import Classes


class Paths:
    """The links between atoms, searched on demand. Ids of zero and below are the reasons for which something stays."""

    def __init__(self, ledger: Ledger, classes: Classes) -> None:
        self.ledger, self.classes = ledger, classes

    @cached_property
    def _index(self) -> tuple[Axis, Axis, Axis]:
        """Links in both directions, in the order of where they start: starts, ends, sources."""
        one, other, source = self.classes.links.arrays()
        starts, ends = np.concatenate([one, other]), np.concatenate([other, one])
        order = np.argsort(starts, kind="stable")
        return starts[order], ends[order], np.concatenate([source, source])[order]

    def blame(self, atom: int) -> Reason:
        """Why an atom is frozen."""
        if atom <= 0:
            return self.ledger.reasons[-atom]
        chain = self._search(atom, lambda found: found <= 0)
        return self.ledger.reasons[-chain[-1][0]] if chain else self.ledger.reasons[0]

    def between(self, atom: int, goals: Axis) -> list[Where] | None:
        """The operations that tie an atom to one of `goals`, in order, or None where nothing does."""
        there = {int(goal) for goal in goals if goal > 0}
        if atom in there:
            return []
        chain = self._search(atom, there.__contains__)
        if not chain:
            return None
        return list(dict.fromkeys(self._where(source) for _, source in chain))

    def _search(self, start: int, is_goal: Callable[[int], bool]) -> list[tuple[int, int]]:
        """Breadth first: each atom on the way with the source of the link that leads to it."""
        starts, ends, sources = self._index
        came: dict[int, tuple[int, int]] = {start: (0, 0)}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            low, high = np.searchsorted(starts, (here, here + 1))
            for end, source in zip(ends[low:high].tolist(), sources[low:high].tolist(), strict=True):
                if end in came:
                    continue
                came[end] = here, source
                if is_goal(end):
                    return _chain(came, start, end)
                # What is frozen has nothing in common with what else is.
                if end > 0:
                    queue.append(end)
        return []

    def _where(self, source: int) -> Where:
        return self.ledger.ties[source].where if source >= 0 else self.classes.products[-1 - source]


def _chain(came: dict[int, tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    chain = []
    while end != start:
        before, source = came[end]
        chain.append((end, source))
        end = before
    return chain[::-1]
