"""Which layers a cut takes along, and by which operations, as plain data to be shown."""

from __future__ import annotations

from collections.abc import Iterator

from ..edits import Tied
from .groups import Coupling, Group, in_steps
from .solving import Flags

# Ways from the first layer to others that are told of one group.
_MOST = 12


def ties(coupling: Coupling, dead: Flags) -> Iterator[Tied]:
    """One for each group that loses channels, the groups in the order of the model's layers.

    Args:
        coupling: The traced model.
        dead: Which prime classes go.
    """
    groups = (group for group in coupling.groups if dead[group.channels].any() and group.giving)
    for group in sorted(groups, key=lambda group: int(group.channels.min())):
        yield Tied(len(group), int(dead[group.channels].sum()), group.giving, group.taking, tuple(_paths(group)))


def _paths(group: Group) -> Iterator[tuple[str, ...]]:
    first, *others = group.modules
    for other in others[:_MOST]:
        yield first, *in_steps(group.path(first, other)), other
