"""Which layers a cut takes along, and by which operations, as plain data to be shown."""

from __future__ import annotations

from collections.abc import Iterator

from ..edits import Tied
from .atoms import Axis
from .groups import Coupling, Group, in_steps
from .solving import Flags

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


def _paths(group: Group) -> Iterator[tuple[str, ...]]:
    first, *others = group.modules
    for other in others[:_MOST]:
        yield first, *in_steps(group.path(first, other)), other
