"""How modules are called in several roots, from now backwards through the surgeries that moved some of them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ..recipes import Operation
from ..recipes.moving import Moves, View, moved, rewound
from ..tree import Draft
from .records import Record, Told


class Names:
    """What each root calls its modules, at one time.

    Args:
        roots: The roots; their names are those of now.
    """

    def __init__(self, roots: Iterable[nn.Module]) -> None:
        self._of = {root: {m: spots.names for m, spots in Draft(root).spots().items()} for root in roots}

    def view(self, root: nn.Module, model: nn.Module) -> View:
        """How the modules of one root are called in another one."""
        return View.of(root, self._of[root], self._of[model])

    def told(self, number: int, record: Record, root: nn.Module, model: nn.Module) -> Told:
        """The last surgery, as it is told of a model; the names are those before it then.

        Raises:
            RecipeError: if only a part of an operation was done there that can't be told by itself.
        """
        operations: list[Operation] = []
        view = self.view(root, model)
        for operation, moves in zip(reversed(record.operations), reversed(record.moves), strict=True):
            around = self._back(root, moves) if moves else set()
            view = self.view(root, model) if moves else view
            # What was put around the model's own modules is in it, too.
            outside = set() if root in self._of[model] else around & view.names.keys()
            if (here := moved(operation, View(view.names, frozenset(outside)))) is not None:
                operations.insert(0, here)
        return Told(number, record, tuple(operations), ((),) * len(operations), (view,))

    def _back(self, root: nn.Module, moves: Moves) -> set[str]:
        """Go back behind moves in one root; answers the names there, by then, of what they have moved."""
        views = {other: self.view(root, other) for other in self._of if other is not root}
        all_names = {name for names in self._of[root].values() for name in names}
        changed = {before for name in all_names if (before := rewound(name, moves)) != name}
        for other, names in self._of.items():
            here = moves if other is root else views[other].of_moves(moves)
            if here:
                self._of[other] = {
                    m: tuple(rewound(name, here) for name in all_names) for m, all_names in names.items()
                }
        return changed
