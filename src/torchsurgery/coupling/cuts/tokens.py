"""Axes that count the same tokens: the rows of a table, the outputs of a tied head, its bias, the logits.

These axes are frozen, as the table is read by numbers and the logits are the model's output. They can become longer all
the same, at the end, when the user asks for just that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import CouplingError
from ..answers.groups import Coupling
from ..constraints.atoms import Axis
from ..solving.joining import union
from .cut import Cut, Numbers, answer_shapes

Place = tuple[str, int]


class Tokens(Numbers):
    """Some axes with everything that is tied to them entry by entry, and how many entries come at their ends."""

    def __init__(self, coupling: Coupling, further: dict[Place, int]) -> None:
        super().__init__(coupling)
        self.further, self.labels = further, _tied(coupling)
        self.ends = {int(self.labels[coupling.leaf_axis(*place)[-1]]): number for place, number in further.items()}

    def count(self, axis: Axis) -> int:
        return len(axis) + sum(number for _, number in self._found(axis))

    def _found(self, axis: Axis) -> list[tuple[int, int]]:
        """Where an axis has the end of one that grows, and by how much."""
        ends = self.labels[axis[axis > 0]] if len(axis) else axis
        live = np.nonzero(axis > 0)[0]
        return [(int(live[at]), number) for end, number in self.ends.items() for at in np.nonzero(ends == end)[0]]

    def places(self) -> Iterator[tuple[str, int, int]]:
        """Each parameter or buffer with the axis that grows, and by how much.

        Raises:
            CouplingError: if one goes on after its tokens, so that new ones would come in between.
        """
        for leaf, axes in self.coupling.record.leaves.items():
            for dim, axis in enumerate(axes):
                for at, number in self._found(axis):
                    if at != len(axis) - 1:
                        self._refuse(leaf, at, len(axis))
                    yield leaf, dim, number

    def _refuse(self, leaf: str, at: int, length: int) -> None:
        raise CouplingError(
            f"cannot add tokens: {leaf} has {length} entries, of which the last token is entry {at}.",
            name=leaf,
            expected=length - 1,
            got=at,
            way_out="replace that layer before:  ts.replace(model, …)",
        )

    def cut(self) -> Cut:
        """As plain data: the last entry several times.

        Raises:
            CouplingError: if an axis can't grow at its end.
            Unsolved: if there is no value for an integer of the code.
        """
        kept: dict[str, dict[int, tuple[int, ...]]] = {}
        for leaf, dim, number in self.places():
            length = len(self.coupling.leaf_axis(leaf, dim))
            kept.setdefault(leaf, {})[dim] = (*range(length), *[length - 1] * number)
        return Cut(kept, self.attributes(), answers=answer_shapes(self.coupling, self.count))


def _tied(coupling: Coupling) -> Axis:
    """The component of each atom over ties alone, whatever is frozen."""
    ledger = coupling.record.ledger
    parent = np.arange(ledger.size)
    one, other = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(t, s) for t in ledger.ties)]) for s in ("one", "other")
    )
    live = (one > 0) & (other > 0)
    return union(parent, one[live], other[live])
