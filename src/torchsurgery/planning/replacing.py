"""Replace and Remove: one layer gives way to another."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from ..changes import Assign, Change, Kind, Refresh, Step
from ..composites import DropOldKeys, Removed, accept_old_checkpoints, every_key
from ..edits import Edit, Remove, Replace, takes_name
from ..errors import ConfigError, PlanError, SurgeryError
from ..layers.assembling import build, sources_of
from ..layers.building import tensors_of
from ..layers.channels import IN
from ..layers.conversion import Conversion, Converter, Fidelity
from ..layers.converting import convert
from ..layers.functional import spelling_of
from ..origins import Computed, Initialised, Origin, Same
from ..selection import Place
from .carrying import carry_over, has_hooks, settle
from .guards import guard, label
from .means import (
    Placement,
    by_becoming,
    by_putting,
    by_retyping,
    can_become,
    is_held,
    shell,
    stand_ins,
)
from .parts import as_drafted, let_in
from .retyping import Retyped
from .scene import Scene
from .watching import watch
from .widths import refuse_misfit


def replace_all(scene: Scene, edit: Replace | Remove) -> list[Change]:
    """The changes that replace or remove every place of the scene.

    Raises:
        PlanError: if one of them can't be; the others are not done either.
    """
    if isinstance(edit, Remove):
        return [_changed(scene, place, edit, _remove) for place in scene.places]
    changes, retyped = [], Retyped(scene, edit)
    for i, place in enumerate(scene.places):
        change = retyped.alike(place)
        if change is None:
            change = _changed(scene, place, edit, partial(_replace, edit=edit, first=i == 0))
            retyped.note(place, change)
        changes.append(change)
    return changes


def _changed(scene: Scene, place: Place, edit: Edit, make: Callable[[Scene, Place], Change]) -> Change:
    guard(scene, place, edit)
    with explained(place, edit):
        change = make(scene, place)
    return _with_broken_ties(scene, change)


def _replace(scene: Scene, place: Place, edit: Replace, first: bool) -> Change:
    if isinstance(edit.new, type):
        return _by_class(scene, place, edit.new, edit.arguments)
    converter = cast(Any, edit.new)
    if isinstance(converter, Converter):
        return by_conversion(scene, place, converter(as_drafted(scene.draft, place.module), place.name))
    if isinstance(edit.new, nn.Module):
        return _by_instance(scene, place, edit, edit.new, first)
    refuse_no_factory(place, edit.new)
    return _by_factory(scene, place, edit, edit.new)


def _by_class(scene: Scene, place: Place, kind: type[nn.Module], arguments: Mapping[str, Any]) -> Change:
    old = as_drafted(scene.draft, place.module)
    # That a subclass is to be converted as its base was settled by the guard: it was asked for by its own class.
    change = by_conversion(scene, place, convert(old, kind, arguments, accept_subclass=place.asked is type(old)))
    # What is exact without having been given a width takes what is there in another shape, such as a map unflattened.
    if arguments and (change.fidelity is not Fidelity.EXACT or not arguments.keys().isdisjoint(IN)):
        refuse_misfit(scene, place, change.new)
    return change


def by_conversion(scene: Scene, place: Place, conversion: Conversion) -> Change:
    """The change for a layer that comes of a conversion."""
    old = as_drafted(scene.draft, place.module)
    if conversion.adopts and can_become(scene, place, conversion.new):
        new = shell(place.module, conversion.new)
        return _change(scene, place, new, by_retyping(scene, place, new), conversion)
    new = build(conversion, old, None if conversion.adopts else scene.reference(place))
    held = is_held(new)
    return fresh(scene, place, new, held, conversion)


def _by_factory(scene: Scene, place: Place, edit: Replace, factory: Callable[..., nn.Module]) -> Change:
    with watch(place.module) as read:
        new = call_factory(scene, factory, place, edit.arguments)
    held = is_held(new)
    refuse_no_layer(scene, place, new, "the factory")
    carries = edit.carry if edit.carry is not None else not read.touched
    if carries:
        carry_same_named(place.module, new)
    refuse_misfit(scene, place, new)
    return fresh(scene, place, new, held or place.module in set(new.modules()), None)


def refuse_arguments(place: Place, given: nn.Module, arguments: Mapping[str, Any]) -> None:
    """An instance is made already: raise if there are arguments for it."""
    if arguments:
        raise PlanError(
            f"the instance given for {label(place)} takes no arguments, got {', '.join(arguments)}.",
            name=place.name,
            got=dict(arguments),
            way_out=f"give the class with them:  {type(given).__name__}, {next(iter(arguments))}=…",
        )


def _by_instance(scene: Scene, place: Place, edit: Replace, given: nn.Module, first: bool) -> Change:
    refuse_arguments(place, given, edit.arguments)
    new = given if first or edit.share else copy.deepcopy(given)
    if first or not edit.share:
        refuse_no_layer(scene, place, new, "the given instance")
    if first and edit.share:
        _refuse_one_for_all_hooks(scene)
    refuse_misfit(scene, place, new)
    steps: list[Step] = []
    if edit.carry:
        steps = [Assign(owner, {key: tensor}) for owner, key, tensor in same_named(place.module, new)]
    shared = edit.share and not first
    return with_steps(fresh(scene, place, new, True, None, shared=shared), steps)


def _refuse_one_for_all_hooks(scene: Scene) -> None:
    """Raise if one instance would have to keep the hooks of several layers."""
    hooked = [other.name for other in scene.places if has_hooks(other.module)]
    if len(hooked) > 1:
        raise PlanError(
            f"cannot put one instance in all places: {' and '.join(hooked[:2])} have hooks each.",
            "one layer would have to call those of all, and the handles that were kept could not tell them apart.",
            name=hooked[0],
            way_out="leave out share=True, or remove the hooks first:  handle.remove()",
        )


def _remove(scene: Scene, place: Place) -> Change:
    if "" in place.names:
        raise PlanError(f"cannot remove {label(place)}: it is the model itself.", name="")
    new = Removed() if _takes_more_than_a_tensor(place.module) else nn.Identity()
    accept_old_checkpoints(new, DropOldKeys(every_key(place.module)))
    # The hook refers back to its module, weakly: that does not keep the object of the old layer from becoming it.
    return fresh(scene, place, new, False, None, "remove")


def _takes_more_than_a_tensor(module: nn.Module) -> bool:
    try:
        parameters = list(inspect.signature(type(module).forward).parameters.values())[1:]
    except (TypeError, ValueError):
        return False
    return len(parameters) != 1 or parameters[0].kind is parameters[0].VAR_POSITIONAL


def fresh(
    scene: Scene,
    place: Place,
    new: nn.Module,
    held: bool,
    conversion: Conversion | None,
    kind: Kind = "replace",
    shared: bool = False,
) -> Change:
    """The change for a layer with a state of its own."""
    if not held:
        let_in(scene.draft, place.module, new)
    becomes = not held and can_become(scene, place, type(new))
    placement = by_becoming(scene, place, new) if becomes else by_putting(scene, place, new)
    old, standing = place.module, scene.draft.standing(place.module)
    steps: list[Step] = []
    if old not in set(new.modules()):
        steps += carry_over(scene.draft, old, standing, new, becomes, shared)
    else:
        steps += stand_ins(scene, new)
    steps += settle(new, standing, scene.reference(place), scene.present, scene.tensors)
    if conversion is not None:
        steps += _refreshing(conversion, as_drafted(scene.draft, old), new)
    return with_steps(_change(scene, place, new, placement, conversion, kind), steps)


def _change(
    scene: Scene,
    place: Place,
    new: nn.Module,
    placement: Placement,
    conversion: Conversion | None,
    kind: Kind = "replace",
) -> Change:
    if conversion is None:
        return _account(place, new, placement, kind)
    seen = place.module if vars(new) is vars(place.module) else as_drafted(scene.draft, place.module)
    return Change(
        "replace",
        place.names,
        placement.old if seen is place.module else seen,
        new,
        placement.standing,
        placement.steps,
        placement.means,
        conversion.origins,
        conversion.fidelity,
        conversion.error,
        conversion.lost,
        conversion.dropped,
        remarks=conversion.remarks + _held_elsewhere(placement),
        beside=conversion.beside,
        config=conversion.config if isinstance(cast(Any, conversion.new), type) and not conversion.ready else None,
    )


def _account(place: Place, new: nn.Module, placement: Placement, kind: Kind) -> Change:
    """What a layer that was not converted but given carries: the tensors that it shares with the old one."""
    tensors, sources = tensors_of(new), {id(tensor): name for name, tensor in tensors_of(place.module).items()}
    origins: dict[str, Origin] = {
        name: Same(sources[id(tensor)]) if id(tensor) in sources else Initialised("as given")
        for name, tensor in tensors.items()
    }
    kept = {id(tensor) for tensor in tensors.values()}
    lost = tuple(name for key, name in sources.items() if key not in kept)
    remarks = _held_elsewhere(placement)
    return Change(
        kind,
        place.names,
        placement.old,
        new,
        placement.standing,
        placement.steps,
        placement.means,
        origins,
        lost=lost,
        remarks=remarks,
    )


def _held_elsewhere(placement: Placement) -> tuple[str, ...]:
    return tuple([f"also put into {reference.path}" for reference in placement.references])


def _refreshing(conversion: Conversion, old: nn.Module, new: nn.Module) -> list[Step]:
    computed = {
        name: origin for name, origin in conversion.origins.items() if isinstance(origin, Computed) and origin.sources
    }
    if not computed:
        return []
    sources, tensors = sources_of(old, conversion.beside), tensors_of(new)
    return [Refresh(tensors[name], origin, sources) for name, origin in computed.items()]


def with_steps(change: Change, steps: list[Step]) -> Change:
    """The change with `steps` done before its own."""
    return change if not steps else replace(change, steps=(*steps, *change.steps))


# --- factories and what they answer


def call_factory(
    scene: Scene, factory: Callable[..., nn.Module], place: Place, arguments: Mapping[str, Any]
) -> nn.Module:
    """The factory's layer for this place; one with a second positional parameter gets the layer's name, too."""
    if scene.once(takes_name, factory, arguments):
        return factory(place.module, place.name, **arguments)
    return factory(place.module, **arguments)


def refuse_no_factory(place: Place, new: object) -> None:
    """Raise if what is given for a new layer is none, and makes none either."""
    if (spelling := spelling_of(new)) is not None:
        raise PlanError(
            f"what is given for {label(place)}, {spelling.text}, works on tensors and makes no layer.",
            name=place.name,
            expected="a class, an instance or a factory of layers",
            got=new,
            way_out=f"give the layer that does the same:  nn.{spelling.function.layer.__name__}",
        )
    if not callable(new):
        raise PlanError(
            f"what is given for {label(place)} must be a class, an instance or a factory, got {type(new).__name__}.",
            name=place.name,
            expected="a class, an instance or a factory of layers",
            got=new,
            way_out="for example  ts.replace(model, nn.ReLU, nn.GELU)",
        )


def refuse_no_layer(scene: Scene, place: Place, new: object, whence: str) -> None:
    """Raise if `new` is not a layer, or is one that the model has already."""
    if not isinstance(new, nn.Module):
        raise PlanError(
            f"{whence} for {label(place)} must give an nn.Module, got {type(new).__name__}.",
            name=place.name,
            expected="an nn.Module",
            got=new,
            way_out="return the new layer:  lambda old: nn.Linear(old.in_features, old.out_features)",
        )
    if new in scene.present:
        where = scene.draft.spots().get(new)
        raise PlanError(
            f"{whence} for {label(place)} is in the model already"
            + (f", as {where.names[0] or 'the model itself'}." if where else "."),
            name=place.name,
            got=new,
            way_out="give a copy of it:  copy.deepcopy(layer)",
        )


def same_named(old: nn.Module, new: nn.Module) -> list[tuple[dict[str, Any], str, Tensor]]:
    """Where `new` has a tensor of the name, kind and shape of one in `old`: its dictionary, its key, the old tensor."""
    theirs = tensors_of(old)
    found = []
    for prefix, child in new.named_modules(remove_duplicate=False):
        for mapping in (child._parameters, child._buffers):
            for key, tensor in mapping.items():
                source = theirs.get(f"{prefix}.{key}" if prefix else key)
                if source is None or tensor is None or source is tensor or source.shape != tensor.shape:
                    continue
                if isinstance(source, nn.Parameter) is isinstance(tensor, nn.Parameter):
                    found.append((mapping, key, source))
    return found


def carry_same_named(old: nn.Module, new: nn.Module) -> None:
    """Give a fresh layer the old one's tensors of the same names."""
    for mapping, key, tensor in same_named(old, new):
        mapping[key] = tensor


def _with_broken_ties(scene: Scene, change: Change) -> Change:
    """Say where a Parameter that others share is not carried."""
    if not change.lost and all(isinstance(origin, Same) for origin in change.origins.values()):
        return change
    kept = {id(parameter) for parameter in change.new.parameters()}
    own = {f"{name}." for name in change.names}
    remarks = []
    for key, parameter in change.old.named_parameters():
        others = [name for name in scene.holders.get(id(parameter), ()) if not name.startswith(tuple(own))]
        if others and id(parameter) not in kept:
            remarks.append(f"{key} is no longer tied to {', '.join(others)}")
    return replace(change, remarks=(*change.remarks, *remarks)) if remarks else change


# --- errors


class explained:
    """Name the layer in the first line of a refusal; leave a user's own exception what it is, with a note.

    A class, not a generator: it is entered for each of thousands of layers.
    """

    __slots__ = ("edit", "place")

    def __init__(self, place: Place, edit: Edit) -> None:
        self.place, self.edit = place, edit

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        if isinstance(err, ConfigError):
            text = str(err).removesuffix(f"\n  {err.way_out}")
            first, *rest = text.split("\n  ")
            message = f"cannot {self.edit.describe().split()[0]} {label(self.place)}: {first}"
            # What was written for a layer at hand, as a line for the model that it is in.
            way_out = err.way_out and err.way_out.replace("ts.like(old, ", f"ts.replace(model, {self.place.name!r}, ")
            known = {"expected": err.expected, "got": err.got, "way_out": way_out}
            raise type(err)(message, *rest, name=self.place.name, **known) from err
        if isinstance(err, Exception) and not isinstance(err, SurgeryError) and hasattr(err, "add_note"):
            where = f"at {label(self.place)}; nothing has changed"
            err.add_note(f"raised while planning to {self.edit.describe()}, {where}")
