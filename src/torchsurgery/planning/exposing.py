"""CallsToLayers → changes: a layer where a forward called a function, and a forward that calls the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from torch import nn

from ..calls.arguments import Inexpressible, attributes_read, value_of
from ..calls.finding import find
from ..calls.places import FunctionalCall, Pending, functions_in, out_of_reach, pending
from ..calls.rewriting import original, rewritten, sites_of
from ..changes import Add, Change, Follow, Retype
from ..edits import CallsToLayers, Insert, Remove, Replace, Wrap
from ..errors import PlanError
from ..selection import Place, Selection, Target, resolve
from ..tree import Draft, Spots
from .guards import label, refuse_scripted
from .means import RETYPE, can_become, shell
from .scene import Scene

EXPOSED = "a layer where a function was called"
_E = TypeVar("_E", bound="Replace | Insert | Remove | Wrap")


def calls_first(draft: Draft, edit: _E) -> tuple[CallsToLayers | None, _E]:
    """What an edit whose target are calls takes to be done before: they must be layers; and the edit of these."""
    if not set(functions_in(edit.target)):
        return None, edit
    places = resolve(draft, (edit.target,), {}, None, False)
    calls = _calls(draft, places)
    if not calls:
        return None, edit
    told = _beyond(draft, edit.target)
    return CallsToLayers(Selection(draft.model, calls), told), replace(edit, target=Selection(draft.model, places))


def expose_all(draft: Draft, edit: CallsToLayers) -> tuple[Change, ...]:
    """The changes that make layers of calls, laid into the draft.

    Raises:
        PlanError: if one of them can't be a layer; the others are not made either.
    """
    places = resolve(draft, (edit.target,), {}, None, False)
    calls = _calls(draft, places)
    if not calls:
        raise PlanError(
            f"{label(places[0])} is a layer, and no call of a function.",
            name=places[0].name,
            got=places[0].module,
            way_out="give a function:  ts.calls_to_layers(model, torch.nn.functional.relu)",
        )
    scene = Scene(draft, calls, False)
    changes, follows = list[Change](), list[Change]()
    for owner, here in _by_owner(draft, calls).items():
        _guard(scene, owner, here)
        own, follow = _at_owner(draft, owner, here)
        changes += own
        follows.append(follow)
    warnings = edit.beyond or _beyond(draft, edit.target)
    changes[0] = replace(changes[0], warnings=warnings)
    return (*changes, *follows)


def _calls(draft: Draft, places: Iterable[Place]) -> tuple[Place, ...]:
    """Those places that are no layers yet."""
    return tuple(place for place in places if pending(place.module) and place.module not in draft.spots())


def _by_owner(draft: Draft, calls: Iterable[Place]) -> dict[nn.Module, list[tuple[Place, Pending]]]:
    """The calls of each module, which is as the draft has it."""
    stand_for = {draft.standing(module): module for module in draft.spots()}
    found: dict[nn.Module, list[tuple[Place, Pending]]] = {}
    for place in calls:
        call = pending(place.module)
        owner = call.owner() if call is not None else None
        if call is not None and owner is not None:
            found.setdefault(stand_for[owner], []).append((place, call))
    return found


def _at_owner(draft: Draft, owner: nn.Module, calls: list[tuple[Place, Pending]]) -> tuple[list[Change], Change]:
    """The new layers of one module, and what becomes of the module."""
    spots, standing, kind = draft.spots()[owner], draft.standing(owner), type(owner)
    new = shell(owner, rewritten(original(kind), [*sites_of(kind), *(call.site for _, call in calls)]))
    draft.become(owner, new)
    draft.put([(spots, new)])
    changes = []
    for place, call in calls:
        draft.add(new, call.layer, place.module)
        changes.append(_new_layer(place, call, new, standing))
    return changes, _new_forward(spots, owner, new, standing, kind, [call.layer for _, call in calls])


def _new_layer(place: Place, call: Pending, owner: nn.Module, standing: nn.Module) -> Change:
    layer = place.module
    add = Add(owner, owner._modules, call.layer, layer, _unchanged(call, standing))
    read = attributes_read(call.call)
    return Change(
        "call",
        place.names,
        FunctionalCall(call.call.text),
        layer,
        layer,
        (Follow((layer,), standing), add),
        EXPOSED,
        remarks=tuple(f"{name} is {value!r} from now on, whatever becomes of it" for name, value in call.read.items())
        if read
        else (),
    )


def _unchanged(call: Pending, owner: nn.Module) -> Callable[[], bool]:
    """Whether the arguments that were read from a module are still what they were."""

    def unchanged() -> bool:
        nodes = attributes_read(call.call)
        try:
            return all(value_of(nodes[name], call.call, owner) == value for name, value in call.read.items())
        except Inexpressible:
            return False

    return unchanged


def _new_forward(
    spots: Spots, old: nn.Module, new: nn.Module, standing: nn.Module, kind: type[nn.Module], layers: list[str]
) -> Change:
    called = ", ".join(f"self.{name}" for name in layers)
    return Change(
        "follow",
        tuple(spots.names),
        shell(old),
        new,
        standing,
        (Retype(standing, new, kind),),
        RETYPE,
        remarks=(f"its forward calls {called}",),
    )


def _beyond(draft: Draft, target: Target) -> tuple[str, ...]:
    """Uses of the functions asked for that stay what they are, as no layer can be put there."""
    if isinstance(target, Selection | Place | nn.Module):
        return ()
    uses = out_of_reach(draft, functions_in(target))
    return tuple(dict.fromkeys(f"{use.function.name} stays a function in {use.where}: {use.why}" for _, use in uses))


# --- what can't be rewritten


def _guard(scene: Scene, owner: nn.Module, calls: list[tuple[Place, Pending]]) -> None:
    """Raise if the forward of a module can't be made to call these layers."""
    spots = scene.draft.spots()[owner]
    there = Place(owner, tuple(spots.names))
    refuse_scripted(scene, there)
    for place, call in calls:
        if isinstance(place.module, FunctionalCall):
            raise _refusal(place, call, str(place.module.why), _without(place, call))
    place, call = calls[0]
    if why := _fixed(scene, there):
        raise _refusal(place, call, why, "alter the model before that is done, or give the module a layer there")


def _fixed(scene: Scene, there: Place) -> str | None:
    """Why a module can't have another forward, or another child; or None."""
    module, kind = there.module, original(type(there.module))
    name = kind.__name__
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict) or find(kind).over_children:
        return f"the forward of {name} goes through its own children, and would call the new layer among them"
    if "forward" in vars(scene.draft.standing(module)):
        return "a forward was set on this very instance"
    if not can_become(scene, there, type(module)):
        return "its class was generated for this very object"
    if any({"__reduce__", "__reduce_ex__"} & vars(base).keys() for base in kind.__mro__[:-1]):
        return f"{name} says itself how it is pickled, which would lose the new forward"
    return None


def _refusal(place: Place, call: Pending, why: str, way_out: str) -> PlanError:
    return PlanError(
        f"cannot make {place.name} a layer of {call.call.text}: {why}.",
        f"called in {call.call.method} at {call.call.where}",
        name=place.name,
        got=call.call.text,
        way_out=way_out,
    )


def _without(place: Place, call: Pending) -> str:
    function = call.call.spelling
    layer = function.function.layer.__name__
    return f"leave out those that can't be one:  ts.select(model, {function.text}, nn.{layer})"
