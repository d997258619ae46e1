"""What has to be noted of a model before a surgery, so that it can be told afterwards."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

from torch import nn

from ..changes import Change, Planned
from ..recipes import Operation
from ..recipes.moving import View, moved, view_of
from ..recipes.structure import Parts, signature_of_model
from ..tree import unwrapped
from .entries import entries
from .records import Other, Record
from .telling import found_otherwise, sharing_with, since


class Recording:
    """One surgery, from before until after it.

    Args:
        model: What it is made on.
        operations: What will be done, as data.
        planned: The same as it was planned.
    """

    def __init__(self, model: nn.Module, operations: tuple[Operation, ...], planned: Sequence[Planned]) -> None:
        self.model, self.view = _inside(model, planned)
        self.operations = operations
        if self.model is not model:
            self.operations = tuple(here for item in operations if (here := moved(item, self.view)) is not None)
        own = [entry.number for entry in entries() if entry.root() is self.model and entry.record is not None]
        sharing = sharing_with(self.model)
        self.others = since(self.model, own[-1] if own else -1, sharing)
        self.roots = [self.model, *sharing]
        self.foreign = dict(_found_otherwise(self.roots))
        for entry in entries():
            if entry.record is not None and entry.root() in self.roots:
                entry.record.settle()
        names: set[str] = set()
        self.classes: dict[str, type[nn.Module]] = {}
        changes = [change for item in planned for change in item.changes]
        if all(change.kind != "call" and vars(change.old) is vars(change.new) for change in changes):
            named = (lambda name: name) if self.model is model else (lambda name: self.view.first(name) or "")
            self.classes = {named(change.names[0]): type(change.old) for change in reversed(changes)}
        else:
            names = {place for change in changes for name in change.names for place in self.view.places(name)}
        self.was = Parts(self.model, names)
        self.moves = tuple(tuple(self._moves(item.changes)) for item in planned)

    def _moves(self, changes: Sequence[Change]) -> Iterator[tuple[str, str]]:
        for change in changes:
            if change.inner:
                for name in change.names:
                    yield from ((f"{here}.{change.inner}".lstrip("."), here) for here in self.view.places(name))

    def done(self) -> Record:
        """The note of it, after the surgery."""
        left = weakref.WeakKeyDictionary({root: signature_of_model(root) for root in self.roots})
        foreign = weakref.WeakKeyDictionary(self.foreign)
        root, others = weakref.ref(self.model), (tuple(self.others.told), tuple(self.others.untold))
        return Record(root, self.operations, self.moves, self.was, self.classes, left, foreign, *others)


def _inside(model: nn.Module, planned: Sequence[Planned]) -> tuple[nn.Module, View]:
    """The model itself, where all that is changed lies in it, and how it calls what the wrapper around it has."""
    inner = unwrapped(model)
    names = [name for name, module in model.named_modules() if module is inner] if inner is not model else []
    view = View({names[0] if names else "": ("",)})
    changed = [change.names[0] for item in planned for change in item.changes]
    # What is put around the whole model inside a wrapper is not in the model.
    if names and all(view.first(name) for name in changed):
        return inner, view
    return model, View({"": ("",)})


def _found_otherwise(roots: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, Other]]:
    """What was altered by other means, as it is called in each of the roots that have it."""
    for changed, (name, *what) in found_otherwise(roots):
        for root in roots:
            if (here := view_of(changed, root).first(name)) is not None:
                yield root, (here, *what)  # type: ignore[misc]  # was and is
