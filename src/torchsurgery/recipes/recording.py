"""From planned edits to operations: every target by the names that it came to, every layer as what makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from ..calls.places import made_for
from ..changes import Assign, Change, Planned
from ..edits import CallsToLayers, Edit, Fold, Insert, Prune, Recut, Remove, Replace, Resize, Widen, Wrap, takes_name
from ..errors import SurgeryError
from ..layers.arguments import resolved
from ..layers.beside import arguments_beside
from ..layers.building import tensors_of
from ..layers.conversion import Converter
from ..origins import Same
from . import naming, ways
from .recipe import Operation
from .specs import Describing
from .strict import canonical
from .values import Tensors, Unwritable, written


def recorded(planned: Planned) -> Operation:
    """The operation that comes to the same as a planned edit."""
    tensors = Tensors()
    data = {"do": _KINDS[type(planned.edit)], **_RECORDERS[type(planned.edit)](planned, planned.edit, tensors)}
    return Operation(data, tensors.found)


def _replace(planned: Planned, edit: Replace, tensors: Tensors) -> dict[str, Any]:
    describing = Describing(tensors)
    retyped: dict[type, list[str]] = {}  # by themselves, since there may be thousands
    groups = []
    for change in _own(planned):
        if vars(change.old) is vars(change.new):
            retyped.setdefault(type(change.new), []).append(change.names[0])
        else:
            groups.append((change.name, _replacement(change, edit, describing)))
    taken = [{"at": names, "retype": naming.key_of(kind)} for kind, names in retyped.items()]
    return {"layers": taken + _grouped(groups)}


def _replacement(change: Change, edit: Replace, describing: Describing) -> dict[str, Any]:
    data: dict[str, Any] = {}
    new: Any = edit.new
    if isinstance(new, type):
        data = _by(change, new, edit.arguments, describing)
    elif isinstance(new, Converter) and new.way is not None:
        data = {"way": ways.written(new.way(change.name), describing.tensors)}
    layer = describing.called(type(change.new), change.config) if data and change.config else None
    if layer is None:
        given = None if data else new
        layer = _layer(change, change.new, given, edit.arguments, describing, required=not data)
    if layer is not None:
        data |= {"layer": layer, **_carries(change, "", edit.carry is True)}
    return data


def _by(change: Change, kind: type, arguments: Mapping[str, Any], describing: Describing) -> dict[str, Any]:
    """The class that was asked for with its arguments, functions of the old layer called."""
    try:
        given = describing.arguments(resolved(change.old, kind, arguments), None)
    except (SurgeryError, Unwritable):
        return {}
    return {"by": {"class": naming.key_of(kind), "arguments": given}}


def _insert(planned: Planned, edit: Insert, tensors: Tensors) -> dict[str, Any]:
    describing, groups = Describing(tensors), []
    for change in _own(planned):
        new: Any = change.new._modules[edit.where]
        kind: Any = edit.new if isinstance(edit.new, type) else None
        call = arguments_beside(change.old, kind, edit.arguments, edit.where) if kind and not edit.share else {}
        layer = describing.called(kind, call) if call else None
        if layer is None:
            layer = _layer(change, new, None if kind else edit.new, edit.arguments, describing)
        groups.append((change.name, {"layer": layer, **_carries(change, f"{edit.where}.")}))
    return {"where": edit.where, "layers": _grouped(groups)}


def _wrap(planned: Planned, edit: Wrap, tensors: Tensors) -> dict[str, Any]:
    describing, groups = Describing(tensors), []
    for change in _own(planned):
        layer = _layer(change, change.new, edit.wrapper, edit.arguments, describing)
        groups.append((change.name, {"layer": layer, **_carries(change, "")}))
    return {"layers": _grouped(groups)}


def _layer(
    change: Change,
    layer: nn.Module,
    given: Any,
    arguments: Mapping[str, Any],
    describing: Describing,
    required: bool = True,
) -> Any:
    """The data of a new layer: the call that the user gave, where it is known here, else what makes such a layer."""
    if isinstance(given, type) or (given is not None and naming.is_registered(given)):
        try:
            return _call(change, given, arguments, describing)
        except Unwritable:
            pass
    try:
        return describing.describe(layer, change.old, change.name)
    except Unwritable:
        # Who loads it can register a function under this key.
        unknown = given if given is not None and not isinstance(given, nn.Module) else type(layer)
        return {"factory": naming.key_of(unknown), "arguments": {}} if required else None


def _call(change: Change, given: Any, arguments: Mapping[str, Any], describing: Describing) -> dict[str, Any]:
    if not isinstance(given, type):
        return {"factory": naming.key_of(given), "arguments": describing.arguments(arguments, None)}
    parameters = [p.name for p in inspect.signature(given).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if not parameters or type(change.new) is not given:
        raise Unwritable(f"{given.__name__} takes no layer by name")
    first, *others = parameters
    named = {others[0]: change.name} if takes_name(given, arguments) else {}
    values = {**describing.arguments(arguments, None), **named}
    return {"class": naming.key_of(given), "arguments": {first: {"layer": {"old": ""}}, **values}}


def _carries(change: Change, prefix: str, assigned: bool = False) -> dict[str, Any]:
    """Which tensors of the new layer are the very same as the old one's, but for those of layers that went along."""
    new, along = change.new, tuple[str, ...]()
    if new._modules:
        old = {id(module) for module in change.old.modules()}
        along = tuple(f"{path}." for path, module in new.named_modules(remove_duplicate=False) if id(module) in old)
    carried = {name: origin.source for name, origin in change.origins.items() if isinstance(origin, Same)}
    if assigned:
        carried |= dict(_assigned(change))
    found = {
        name.removeprefix(prefix): source
        for name, source in carried.items()
        if name.startswith(prefix) and not name.startswith(along)
    }
    return {"carries": found} if found else {}


def _assigned(change: Change) -> Iterator[tuple[str, str]]:
    """Tensors of the old layer that a given instance gets when the plan is applied."""
    entries = {id(value) for step in change.steps if isinstance(step, Assign) for value in step.entries.values()}
    if entries:
        new = tensors_of(change.new)
        theirs = tensors_of(change.old).items()
        yield from ((name, name) for name, tensor in theirs if id(tensor) in entries and name in new)


def _remove(planned: Planned, edit: Remove, tensors: Tensors) -> dict[str, Any]:
    return {"at": [change.name for change in _own(planned)]}


def _fold(planned: Planned, edit: Fold, tensors: Tensors) -> dict[str, Any]:
    return {"takings": [list(taking) for taking in edit.takings]}


def _resize(planned: Planned, edit: Resize, tensors: Tensors) -> dict[str, Any]:
    groups = []
    for name, converter in edit.converters.items():
        groups.append((name, {"way": ways.written(converter.way(name), tensors)}))  # type: ignore[attr-defined]
    attributes = [
        [module, attribute, written(value, tensors, _no_layer)] for module, attribute, value in edit.attributes
    ]
    return {"asked": edit.asked, "layers": _grouped(groups), "attributes": attributes}


def _recut(planned: Planned, edit: Recut, tensors: Tensors) -> dict[str, Any]:
    kept = [
        [name, axis, tensors.add_indices(indices)] for name, axes in edit.kept.items() for axis, indices in axes.items()
    ]
    attributes = [[*where, value] for where, value in edit.attributes]
    caches = [list(where) for where in edit.caches]
    return {
        "asked": edit.asked,
        "layers": list(edit.layers),
        "kept": kept,
        "attributes": attributes,
        "caches": caches,
    }


def _widen(planned: Planned, edit: Widen, tensors: Tensors) -> dict[str, Any]:
    shares = [
        [name, axis, tensors.add_shares(shares)] for name, axes in edit.shares.items() for axis, shares in axes.items()
    ]
    return {
        **_recut(planned, edit, tensors),
        "shares": shares,
        "noise": edit.noise,
        "seed": edit.seed,
        "added": [[name, axis, number] for name, (axis, number) in edit.added.items()],
        "rows": None if edit.rows is None else tensors.add(edit.rows),
    }


def _calls(planned: Planned, edit: CallsToLayers, tensors: Tensors) -> dict[str, Any]:
    found = []
    for change in planned.changes:
        if change.kind == "call" and (call := made_for(change.new)) is not None:
            site, owner = call.site, change.name.removesuffix(call.layer).rstrip(".")
            found.append(
                {"in": owner, "method": site.method, "text": site.text, "which": site.which, "layer": site.layer}
            )
    return {"calls": found}


def _own(planned: Planned) -> Iterator[Change]:
    """The changes that were asked for; what follows elsewhere follows again."""
    return (change for change in planned.changes if change.kind != "follow")


def _grouped(layers: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Layers of which the same is to be said, together."""
    found: dict[bytes, dict[str, Any]] = {}
    for name, data in layers:
        found.setdefault(canonical(data), {"at": [], **data})["at"].append(name)
    return list(found.values())


def _no_layer(layer: nn.Module) -> Any:
    raise Unwritable(f"a {type(layer).__name__} can't stand here")


_Recorder = Callable[[Planned, Any, Tensors], "dict[str, Any]"]
_RECORDERS: Mapping[type[Edit], _Recorder] = {
    Replace: _replace,
    Insert: _insert,
    Wrap: _wrap,
    Remove: _remove,
    Fold: _fold,
    Resize: _resize,
    Prune: _recut,
    Widen: _widen,
    CallsToLayers: _calls,
}
_KINDS: Mapping[type[Edit], str] = {
    **{kind: kind.__name__.lower() for kind in _RECORDERS},
    CallsToLayers: "calls",
}
