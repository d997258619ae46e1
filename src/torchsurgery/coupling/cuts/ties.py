"""Which layers a cut takes along, and by which operations, as plain data to be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...edits import Tied
from ...origins import Entries, blocks_of
from ..answers.groups import Coupling, Group, in_steps
from ..constraints.atoms import Axis
from ..solving.classes import Flags

# Ways from the first layer to others that are told of one group.
_MOST = 12


def ties(coupling: Coupling, gone: Flags | Axis) -> Iterator[Tied]:
    """One for each group that loses or gets channels, the groups in the order of the model's layers.

    Args:
        coupling: The traced model.
        gone: Which prime classes go; or how many of each go, below zero where more come.
    """
    groups = (group for group in coupling.groups if gone[group.channels].any() and group.giving)
    for group in sorted(groups, key=lambda group: int(group.channels.min())):
        yield Tied(len(group), int(gone[group.channels].sum()), group.giving, group.taking, tuple(_paths(group)))


def ties_of(coupling: Coupling, kept: Mapping[str, Mapping[int, Entries]]) -> Iterator[Tied]:
    """The same, told by what is left: of an edit that was read from a file.

    Args:
        coupling: The model as it was before the edit.
        kept: Parameter or buffer → axis → the old entries that it has then.
    """
    gone = np.zeros(coupling.classes.count, np.int64)
    for leaf, axes in kept.items():
        for dim, entries in axes.items():
            axis = coupling.record.leaves.get(leaf, ())[dim : dim + 1]
            first, *others = blocks_of(entries)
            # What blocks lose each for themselves, those who give it lose, too.
            if axis and not others and max(first, default=0) < len(axis[0]):
                times = np.bincount(np.asarray(entries, np.int64), minlength=len(axis[0]))
                gone[coupling.classes.of(axis[0])] = 1 - times
    yield from ties(coupling, gone)


def _paths(group: Group) -> Iterator[tuple[str, ...]]:
    first, *others = group.modules
    for other in others[:_MOST]:
        yield first, *in_steps(group.path(first, other)), other
