"""Layers that take another class and keep their state: what one comes to, all others of its class come to as well.

Thousands of them are changed at once, and what the guards and the conversion say of a class needs to be asked once.
"""

from __future__ import annotations

from torch import nn

from ..changes import Change, Retype
from ..edits import Replace
from ..selection import Place
from .guards import looks_at_surroundings
from .means import RETYPE, shell
from .scene import Scene


class Retyped:
    """What became of the first layer of each class, under one edit."""

    def __init__(self, scene: Scene, edit: Replace) -> None:
        self._draft = scene.draft
        # A factory or a function of the old layer may decide otherwise for the next one.
        self._settles = isinstance(edit.new, type) and not edit.arguments and not looks_at_surroundings(scene)
        self._first: dict[tuple[type[nn.Module], type[nn.Module] | None], Change] = {}

    def note(self, place: Place, change: Change) -> None:
        """Remember what a layer has come to, if that tells what others of its class come to."""
        if self._settles and change.means == RETYPE:
            self._first[type(place.module), place.asked] = change

    def alike(self, place: Place) -> Change | None:
        """The change for a layer of a class that is settled; None for one that has to be looked at by itself."""
        module = place.module
        first = self._first.get((type(module), place.asked))
        if first is None or "forward" in module.__dict__ or "parametrizations" in module._modules:
            return None
        if self._draft.standing(module) is not module:
            return None
        new = shell(module, type(first.new))
        return Change(
            first.kind,
            place.names,
            shell(module),
            new,
            module,
            (Retype(module, new),),
            first.means,
            first.origins,
            first.fidelity,
            remarks=first.remarks,
        )
