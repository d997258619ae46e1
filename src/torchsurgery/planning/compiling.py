"""One edit → its changes, laid into a draft: where it applies, what is done there, and what follows elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TypeAlias

from torch import nn

from ..calls.reading import drops_answers, never_called, reads_only
from ..changes import Assign, Change, Planned, Write
from ..edits import CallsToLayers, Edit, Fold, Insert, Recut, Remove, Replace, Resize, Wrap, target_in_words
from ..errors import PlanError
from ..layers.fastpaths import Setting, reads_children, settings_for
from ..selection import Place, resolve
from ..tree import Draft
from .cutting import Cutting
from .exposing import expose_all
from .folding import fold_all
from .guards import refuse_lost
from .replacing import replace_all
from .resizing import attributes_told, resize_all
from .scene import Scene
from .surrounding import surround_all

# Edits that come to one change at each place.
Placed: TypeAlias = Replace | Insert | Remove | Wrap | Fold | Resize


def compile_edit(draft: Draft, edit: Edit, widths_changed: bool) -> Planned:
    """The changes of one edit, laid into the draft."""
    if isinstance(edit, CallsToLayers):
        return Planned(edit, expose_all(draft, edit))
    if isinstance(edit, Recut):
        return Planned(edit, _cut(draft, edit, widths_changed), left=edit.left)
    if isinstance(edit, Fold):
        places = _places_named(draft, {name for taking in edit.takings for name in taking if name is not None})
        return Planned(edit, _changes_at(draft, places, edit, widths_changed), left=edit.left)
    if isinstance(edit, Resize):
        changes = _changes_at(draft, _places_named(draft, edit.converters.keys()), edit, widths_changed)
        return Planned(edit, (*changes, *attributes_told(draft, edit)))
    places = resolve(draft, (edit.target,), {}, None, False)
    if isinstance(edit, Replace):
        _refuse_all(draft, places, edit)
    skipped: tuple[str, ...] = ()
    if isinstance(edit, Replace | Remove):
        places, skipped = _outermost(places)
    elif len(places) > 1 and "" in places[0].names:
        # What lies inside comes first, since the model's object becomes what is put around it.
        inside = _changes_at(draft, places[1:], edit, widths_changed)
        if isinstance(edit, Insert) and isinstance(edit.new, nn.Module) and not edit.share:
            edit = replace(edit, new=copy.deepcopy(edit.new))
        return Planned(edit, (*inside, *_changes_at(draft, places[:1], edit, widths_changed)))
    left = edit.left if isinstance(edit, Replace) else {}
    return Planned(edit, _changes_at(draft, places, edit, widths_changed), skipped, left)


def _refuse_all(draft: Draft, places: tuple[Place, ...], edit: Replace) -> None:
    """Raise if what was meant for layers selects all there is, and so the model itself, which holds the others."""
    if len(places) > 1 and len(places) == len(draft.spots()):
        raise PlanError(
            f"{target_in_words(edit.target)} selects the model itself, with all {len(places)} modules in it.",
            "replaced as a whole, nothing of it would be left",
            name="",
            got=edit.target,
            way_out="name the layers that you mean, such as  nn.ReLU  or  'layer1.*', or the model by  ''",
        )


def _changes_at(draft: Draft, places: tuple[Place, ...], edit: Placed, widths_changed: bool) -> tuple[Change, ...]:
    scene = Scene(draft, places, widths_changed)
    if isinstance(edit, Fold):
        changes = fold_all(scene, edit)
    elif isinstance(edit, Resize):
        changes = resize_all(scene, edit)
    else:
        changes = replace_all(scene, edit) if isinstance(edit, Replace | Remove) else surround_all(scene, edit)
    follows: list[Change] = []
    if scene.has_kind(reads_children):
        follows = _follow_ups(draft, places, changes)
    if scene.has_kind(drops_answers):
        for place, change in zip(places, changes, strict=True):
            refuse_lost(place, change, draft.ancestors(place.name))
    if scene.has_kind(reads_only):
        changes = [_warned(draft, place, change) for place, change in zip(places, changes, strict=True)]
    _lay_in(draft, places, changes)
    return (*changes, *follows)


def _cut(draft: Draft, edit: Recut, widths_changed: bool) -> tuple[Change, ...]:
    cutting = Cutting(draft, edit)
    places = cutting.places()
    changes = cutting.changes(Scene(draft, places, widths_changed))
    # What lies inside of another layer is laid in before that one takes it along.
    outer = {name for place in places if place.module._modules for name in place.names}
    depth = [max(_depth(name, outer) for name in place.names) if outer else 0 for place in places]
    for level in sorted(set(depth), reverse=True):
        here = [i for i, at in enumerate(depth) if at == level]
        _lay_in(draft, [places[i] for i in here], [changes[i] for i in here])
    return tuple(sorted(changes, key=lambda change: change.kind == "follow"))


def _depth(name: str, names: AbstractSet[str]) -> int:
    """How many of `names` lie above one of them."""
    parts = name.split(".") if name else []
    return sum(".".join(parts[:i]) in names for i in range(len(parts)))


def _places_named(draft: Draft, names: AbstractSet[str]) -> tuple[Place, ...]:
    return tuple(Place(m, tuple(s.names)) for m, s in draft.spots().items() if not names.isdisjoint(s.names))


def _lay_in(draft: Draft, places: Iterable[Place], changes: Iterable[Change]) -> None:
    # Before it is noted what becomes of them, which hides the layers as they are.
    where, swaps = draft.spots(), []
    for place, change in zip(places, changes, strict=True):
        if change.standing is not change.new:
            draft.become(place.module, change.new)
        swaps.append((where[place.module], change.new))
        for step in change.steps:
            if isinstance(step, Assign):
                draft.assign(step.mapping, step.entries)
            elif isinstance(step, Write):
                draft.written[step.reference.spot] = replace(step.reference, module=step.new)
    draft.put(swaps)


def _outermost(places: tuple[Place, ...]) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """Those that lie in no other one, and the names of the rest: a layer in a replaced one is no longer there."""
    if not any(place.module._modules for place in places):
        return places, ()
    names = {name for place in places for name in place.names}
    if "" in names:
        return tuple(p for p in places if "" in p.names), tuple(sorted(names - {""}))
    inside = {p.module for p in places if any(_below(name, names) for name in p.names)}
    return tuple(p for p in places if p.module not in inside), tuple(p.name for p in places if p.module in inside)


def _below(name: str, names: set[str]) -> bool:
    while "." in name:
        name = name.rpartition(".")[0]
        if name in names:
            return True
    return False


def _warned(draft: Draft, place: Place, change: Change) -> Change:
    reason = never_called(draft.ancestors(place.name))
    return replace(change, warnings=(*change.warnings, reason)) if reason else change


def _follow_ups(draft: Draft, places: Iterable[Place], changes: Iterable[Change]) -> list[Change]:
    """Attributes of the modules above that must change with a layer below them."""
    settings: dict[tuple[int, str], Setting] = {}
    for place, change in zip(places, changes, strict=True):
        for name in place.names:
            for setting in settings_for(draft.ancestors(name), change.new):
                settings.setdefault((id(setting.module), setting.attribute), setting)
    return [_follow_up(draft, setting) for setting in settings.values()]


def _follow_up(draft: Draft, setting: Setting) -> Change:
    module = setting.module
    spots = draft.spots().get(module)
    step = Assign(module.__dict__, {setting.attribute: setting.value})
    remark = f"{setting.attribute}={setting.value!r} ({setting.why})"
    names = tuple(spots.names) if spots else ("",)
    return Change(
        "follow", names, module, module, draft.standing(module), (step,), "an attribute is set", remarks=(remark,)
    )
