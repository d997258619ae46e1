"""Insert and Wrap: a layer gets another one beside it or around it, and goes on as it is inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..changes import Change, Step
from ..composites import Inserted, OldCheckpoints, accept_old_checkpoints
from ..edits import Insert, Wrap
from ..errors import PlanError
from ..layers.beside import beside
from ..layers.building import tensors_of
from ..origins import Initialised, Origin, Same
from ..selection import Place
from .carrying import settle
from .guards import guard, label
from .means import Placement, by_becoming, by_putting, can_become, shell, stand_ins
from .replacing import (
    call_factory,
    explained,
    refuse_arguments,
    refuse_no_factory,
    refuse_no_layer,
    with_steps,
)
from .scene import Scene
from .widths import refuse_other_width


def surround_all(scene: Scene, edit: Insert | Wrap) -> list[Change]:
    """The changes that insert at, or wrap, every place of the scene.

    Raises:
        PlanError: if one of them can't be; the others are not done either.
    """
    changes = []
    for i, place in enumerate(scene.places):
        guard(scene, place, edit)
        with explained(place, edit):
            changes.append(
                _insert(scene, place, edit, i == 0) if isinstance(edit, Insert) else _wrap(scene, place, edit)
            )
    return changes


def _insert(scene: Scene, place: Place, edit: Insert, first: bool) -> Change:
    inner = _inner(scene, place)
    layer = _layer_to_insert(scene, place, edit, first)
    refuse_other_width(place, layer, edit.where)
    around = Inserted(inner, **{edit.where: layer})
    return _surround(scene, place, inner, around, "insert")


def _layer_to_insert(scene: Scene, place: Place, edit: Insert, first: bool) -> nn.Module:
    if isinstance(edit.new, type):
        return beside(place.module, edit.new, edit.arguments, edit.where)
    if isinstance(edit.new, nn.Module):
        refuse_arguments(place, edit.new, edit.arguments)
        layer = edit.new if first or edit.share else copy.deepcopy(edit.new)
        if first or not edit.share:
            refuse_no_layer(scene, place, layer, "the given instance")
        return layer
    refuse_no_factory(place, edit.new)
    layer = call_factory(scene, edit.new, place, edit.arguments)
    refuse_no_layer(scene, place, layer, "the factory")
    return layer


def _wrap(scene: Scene, place: Place, edit: Wrap) -> Change:
    inner = _inner(scene, place)
    around = _wrapped(scene, Place(inner, place.names, place.asked), edit)
    refuse_no_layer(scene, place, around, "the wrapper")
    return _surround(scene, place, inner, around, "wrap")


def _wrapped(scene: Scene, place: Place, edit: Wrap) -> nn.Module:
    kind = edit.wrapper
    try:
        return call_factory(scene, kind, place, edit.arguments)
    except TypeError as error:
        if not isinstance(kind, type) or not kind.__module__.startswith("torch.nn"):
            raise
        raise PlanError(
            f"cannot wrap {label(place)}: a {kind.__name__} is not made around a layer.",
            f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}",
            name=place.name,
            got=kind,
            way_out="a wrapper takes the layer first, and holds it:  nn.Sequential, or a class of your own",
        ) from error


def _inner(scene: Scene, place: Place) -> nn.Module:
    """What goes on inside: the layer; for the model, whose object becomes what is around it, a twin with its state."""
    if "" not in place.names:
        return place.module
    inner = shell(place.module)
    scene.draft.share(place.module, inner)
    return inner


def _surround(scene: Scene, place: Place, inner: nn.Module, around: nn.Module, kind: Any) -> Change:
    path = _path_to(inner, around)
    if path is None:
        raise PlanError(
            f"the wrapper for {label(place)}, {type(around).__name__}, doesn't hold the old layer as a submodule.",
            "its weights would be missing from the state dict, and train() and to() would not reach it.",
            name=place.name,
            got=around,
            way_out="keep it:  self.inner = old, or give what replaces it:  ts.replace(model, …, lambda old: …)",
        )
    accept_old_checkpoints(around, OldCheckpoints(path))
    placement = _placement(scene, place, inner, around)
    steps = _settled(scene, place, inner, around)
    change = Change(
        kind,
        place.names,
        inner,
        around,
        placement.standing,
        placement.steps,
        placement.means,
        _origins(place.module, around),
        renamed=_renamed(place, inner, path),
        remarks=tuple(f"also put into {reference.path}" for reference in placement.references),
        inner=path,
    )
    return with_steps(change, steps)


def _placement(scene: Scene, place: Place, inner: nn.Module, around: nn.Module) -> Placement:
    if inner is place.module:
        return by_putting(scene, place, around)
    if not can_become(scene, place, type(around)):
        raise PlanError(
            f"cannot put anything around {label(place)}: it is the model, and its object can't take another class.",
            name="",
            way_out="wrap it yourself:  model = Wrapper(model)",
        )
    return by_becoming(scene, place, around)


def _settled(scene: Scene, place: Place, inner: nn.Module, around: nn.Module) -> list[Step]:
    known = scene.present if inner in scene.present else scene.present | {inner}
    return stand_ins(scene, around) + settle(
        around, scene.draft.standing(place.module), scene.reference(place), known, scene.tensors
    )


def _path_to(inner: nn.Module, around: nn.Module) -> str | None:
    return next((name for name, module in around.named_modules() if module is inner and name), None)


def _origins(old: nn.Module, around: nn.Module) -> dict[str, Origin]:
    sources: dict[int, str] = {id(tensor): name for name, tensor in tensors_of(old).items()}
    new: Mapping[str, Tensor] = tensors_of(around)
    return {
        name: Same(sources[id(tensor)]) if id(tensor) in sources else Initialised("as given")
        for name, tensor in new.items()
    }


def _renamed(place: Place, inner: nn.Module, path: str) -> dict[str, str]:
    """Keys of the state dict before → after."""
    keys = list(inner.state_dict(keep_vars=True))
    return {
        (f"{name}.{key}" if name else key): (f"{name}.{path}.{key}" if name else f"{path}.{key}")
        for name in place.names
        for key in keys
    }
