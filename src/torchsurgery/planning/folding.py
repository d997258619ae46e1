"""Fold: a layer takes over what the norms beside it do, and these go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ..changes import Change
from ..edits import Fold, Taking
from ..layers.conversion import Fidelity
from ..layers.folding import folded, is_layer_norm, remainder
from ..selection import Place
from .guards import guard
from .means import shell
from .replacing import by_conversion, explained, fresh
from .scene import Scene

_IN_TRAINING = "is in train mode, where a norm works with the statistics of the batch: what is folded is exact in eval"


def fold_all(scene: Scene, edit: Fold) -> list[Change]:
    """The changes of all layers that take norms over, and of these norms, in the order of the scene's places."""
    at = {name: place for place in scene.places for name in place.names}
    takings = {taking.layer: taking for taking in edit.takings}
    takers: dict[str, list[str]] = {}
    for taking in edit.takings:
        for name in filter(None, taking[1:]):
            takers.setdefault(name, []).append(taking.layer)
    changes = []
    for place in scene.places:
        guard(scene, place, edit)
        with explained(place, edit):
            change = (
                _taking(scene, place, takings[place.name], at)
                if place.name in takings
                else _going(scene, place, takers[place.name])
            )
        changes.append(change)
    in_eval = any(change.fidelity is Fidelity.EXACT_IN_EVAL for change in changes)
    if in_eval and any(place.module.training for place in scene.places):
        changes[0] = replace(changes[0], warnings=(*changes[0].warnings, _IN_TRAINING))
    return changes


def _taking(scene: Scene, place: Place, taking: Taking, at: dict[str, Place]) -> Change:
    # The norm's object becomes what is left of it, so its state is held by another one.
    before, after = (None if name is None else (name, shell(at[name].module)) for name in taking[1:])
    return by_conversion(scene, place, folded(place.module, before, after))


def _going(scene: Scene, place: Place, takers: Sequence[str]) -> Change:
    rest = remainder(place.module)
    # A checkpoint from before must not load in part: no key of the norm is dropped in silence.
    gone = isinstance(rest, nn.Identity)
    change = fresh(scene, place, rest, False, None, "remove" if gone else "replace")
    fidelity = Fidelity.EXACT if is_layer_norm(place.module) else Fidelity.EXACT_IN_EVAL
    into = f"folded into {' and '.join(takers)}"
    return replace(change, lost=(), fidelity=fidelity, remarks=(into, *change.remarks))
