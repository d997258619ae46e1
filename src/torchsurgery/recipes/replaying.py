"""From operations to edits of the model at hand, whose names, shapes and attributes everything is compared with."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..calls.finding import find
from ..calls.places import layers_at, made_for
from ..calls.rewriting import original
from ..edits import CallsToLayers, Edit, Fold, Insert, Prune, Remove, Replace, Resize, Taking, Widen, Wrap
from ..errors import RecipeError
from ..layers.building import put, tensors_of
from ..origins import Entries
from ..selection import Place, Selection
from ..tree import Draft
from . import naming, ways
from .recipe import Operation
from .specs import Building
from .values import read


def edits_of(operation: Operation, draft: Draft, weights: bool) -> list[Edit]:
    """The edits that an operation comes to on a draft.

    Args:
        operation: What to do; it was checked.
        draft: The model as the operations before this one leave it.
        weights: Whether the old layers' weights are to be carried by conversions, as when it was done first. Without,
            the layers are made as they were recorded: their weights will come from a file.

    Raises:
        RecipeError: if the model has no such layer, tensor or attribute.
    """
    return list(_REPLAYERS[operation.data["do"]](_Model(draft), operation, weights))


class _Model:
    """A draft, and what it has by name."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.modules = {name: module for module, spots in draft.spots().items() for name in spots.names}

    def module(self, name: str) -> nn.Module:
        if name not in self.modules:
            close = difflib.get_close_matches(name, self.modules, 1, 0.8)
            raise RecipeError(
                f"{type(self.draft.model).__name__} has no module {name!r}, which the recipe names.",
                *([f"the nearest is {close[0]!r}"] if close else []),
                name=name,
                expected=name,
                got=close[0] if close else None,
                way_out="give the base that was altered, and not the altered model:  base=",
            )
        return self.modules[name]

    def selection(self, names: Sequence[str], by_class: bool = False) -> Selection:
        """These modules; `by_class` says that each was asked for by its very class."""
        spots, places = self.draft.spots(), []
        for module in dict.fromkeys(map(self.module, names)):
            asked = original(type(module)) if by_class else None
            places.append(Place(module, tuple(spots[module].names), asked))
        if len(places) < len(names):
            raise RecipeError(f"the recipe names a layer twice in one operation: {', '.join(names[:4])}.", got=names)
        return Selection(self.draft.model, tuple(places))

    def first_name(self, name: str) -> str:
        """The name that comes first among those of a module, as edits know it."""
        return self.draft.spots()[self.module(name)].names[0]

    def tensor(self, name: str) -> Tensor:
        """A parameter or buffer by its full name."""
        above, _, key = name.rpartition(".")
        module = self.module(above)
        tensor = self.draft.entries(module._parameters).get(key)
        tensor = self.draft.entries(module._buffers).get(key) if tensor is None else tensor
        if tensor is None:
            raise RecipeError(f"{type(self.draft.model).__name__} has no tensor {name!r}.", name=name, expected=name)
        return tensor  # type: ignore[no-any-return]


class _Making:
    """What edits take for a factory: it makes the layers that one operation puts."""

    def __init__(self, model: _Model, operation: Operation, groups: Sequence[Mapping[str, Any]]) -> None:
        self.groups = {model.first_name(name): group for group in groups for name in group["at"]}
        self.building = Building(dict(operation.tensors))
        # What nobody refers to is not held: then the old layer's object can become it.
        self.shared = {name for group in groups for name in _places_in(group["layer"])}
        key = groups[0]["layer"].get("class") or groups[0]["layer"].get("factory") or "a layer"
        self.__name__ = key.rpartition(".")[2]

    def __call__(self, old: nn.Module, name: str) -> nn.Module:
        group = self.groups[name]
        layer = self.building.build(group["layer"], old, name)
        mine, theirs = tensors_of(layer), tensors_of(old)
        for key, source in group.get("carries", {}).items():
            if source not in theirs or key not in mine or mine[key].shape != theirs[source].shape:
                raise RecipeError(
                    f"{name}: the new layer's {key} can't be the old one's {source}.",
                    f"expected {_shape(theirs.get(source))}, got {_shape(mine.get(key))}",
                    name=name,
                )
            put(layer, key, theirs[source])
        if name in self.shared:
            self.building.placed[name] = layer
        return layer


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else str(tuple(tensor.shape))


def _places_in(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        if "placed" in data:
            yield data["placed"]
        for value in data.values():
            yield from _places_in(value)
    elif isinstance(data, list):
        for item in data:
            yield from _places_in(item)


# --- one for each kind


def _replace(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    made = []
    for group in operation.data["layers"]:
        if "retype" in group:
            kind: Any = naming.known(group["retype"])
            yield Replace(model.selection(group["at"], True), kind)
        elif "layer" in group and not (weights and {"by", "way"} & group.keys()):
            made.append(group)
        elif "by" in group:
            kind = naming.known(group["by"]["class"])
            arguments = _arguments(group["by"]["arguments"], operation)
            yield Replace(model.selection(group["at"], True), kind, arguments)
        else:
            yield Replace(model.selection(group["at"]), _converter(group["way"], operation))
    if made:
        names = [name for group in made for name in group["at"]]
        yield Replace(model.selection(names), _Making(model, operation, made), carry=False)


def _arguments(data: Mapping[str, Any], operation: Operation) -> dict[str, Any]:
    building = Building(dict(operation.tensors))
    none = nn.Identity()
    return {name: read(value, building.tensors, lambda d: building.build(d, none, "")) for name, value in data.items()}


def _converter(data: Mapping[str, Any], operation: Operation) -> Any:
    name, arguments = ways.read(data, operation.tensors)
    return ways.converter(name, name, arguments)


def _insert(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    names, making = _made(model, operation)
    yield Insert(model.selection(names), making, operation.data["where"])


def _wrap(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    names, making = _made(model, operation)
    yield Wrap(model.selection(names), making)


def _made(model: _Model, operation: Operation) -> tuple[list[str], Callable[..., nn.Module]]:
    groups = operation.data["layers"]
    return [name for group in groups for name in group["at"]], _Making(model, operation, groups)


def _remove(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    yield Remove(model.selection(operation.data["at"]))


def _fold(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    rows = operation.data["takings"]
    yield Fold(tuple(Taking(*(name and model.first_name(name) for name in row)) for row in rows))


def _resize(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    converters = {}
    for group in operation.data["layers"]:
        for name in group["at"]:
            model.module(name)
            converters[name] = _converter(group["way"], operation)
    attributes = []
    for module, attribute, data in operation.data["attributes"]:
        value = read(data, {}, lambda _: nn.Identity())
        there = _attribute(model.module(module), attribute)
        if type(there) is not type(value):
            raise _no_attribute(module, attribute, there)
        attributes.append((module, attribute, value))
    yield Resize(operation.data["asked"], converters, tuple(attributes))


def _prune(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    yield Prune(**_recut(model, operation))


def _widen(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    data, tensors = operation.data, operation.tensors
    common, shares = _recut(model, operation), dict[str, dict[int, tuple[float, ...]]]()
    for name, axis, given in data["shares"]:
        found, indices = tensors.get(given), common["kept"].get(name, {}).get(axis, ())
        if found is None or found.dtype != torch.float64 or tuple(found.shape) != (len(indices),):
            raise RecipeError(f"the shares of {name} along axis {axis} don't fit.", name=name, expected=len(indices))
        shares.setdefault(name, {})[axis] = tuple(found.tolist())
    for name, axis, number in data["added"]:
        if len(common["kept"].get(name, {}).get(axis, ())) != model.tensor(name).shape[axis] + number:
            raise RecipeError(f"what is added to {name} doesn't fit.", name=name, got=number)
    added = {name: (axis, number) for name, axis, number in data["added"]}
    rows = None if data["rows"] is None else tensors.get(data["rows"])
    yield Widen(**common, shares=shares, noise=data["noise"], seed=data["seed"], added=added, rows=rows)


def _recut(model: _Model, operation: Operation) -> dict[str, Any]:
    """What pruning and widening have in common."""
    data, kept = operation.data, dict[str, dict[int, Entries]]()
    for name, axis, given in data["kept"]:
        indices = _indices(model.tensor(name), name, axis, operation.tensors.get(given), data["do"] == "widen")
        kept.setdefault(name, {})[axis] = indices
    for module, attribute, _ in data["attributes"]:
        if type(there := _attribute(model.module(module), attribute)) is not int:
            raise _no_attribute(module, attribute, there)
    for module, attribute in data["caches"]:
        if type(there := _attribute(model.module(module), attribute)) is not dict:
            raise _no_attribute(module, attribute, there)
    attributes = tuple(((module, attribute), value) for module, attribute, value in data["attributes"])
    caches = tuple((module, attribute) for module, attribute in data["caches"])
    layers = tuple(data["layers"])
    return {"asked": data["asked"], "layers": layers, "kept": kept, "attributes": attributes, "caches": caches}


def _indices(tensor: Tensor, name: str, axis: int, indices: Tensor | None, wider: bool) -> Entries:
    """What there is along an axis, which must be there; what is pruned has each entry once.

    There may be a list for each block of the first axis, as many as go into it.
    """
    if indices is None or indices.dim() not in (1, 2) or indices.dtype != torch.int64 or not indices.numel():
        raise RecipeError(f"the list of what is kept of {name} along axis {axis} is not there, or is none.", name=name)
    size = tensor.shape[axis] if axis < tensor.dim() else 0
    blocks = indices.view(-1, indices.shape[-1])
    once = wider or all(len(set(block)) == len(block) for block in blocks.tolist())
    if int(indices.min()) < 0 or int(indices.max()) >= size or not once:
        raise RecipeError(
            f"what is kept of {name} along axis {axis} doesn't fit.",
            f"expected indices below {size}{'' if wider else ', each once'}",
            f"got {len(indices)} from {int(indices.min())} to {int(indices.max())}",
            name=name,
            expected=size,
            got=int(indices.max()),
            way_out="give the base that was altered:  base=",
        )
    if indices.dim() == 1:
        return tuple(indices.tolist())
    if wider or axis == 0 or tensor.shape[0] % len(blocks):
        raise RecipeError(f"{len(blocks)} lists of what is kept of {name} along axis {axis} don't fit.", name=name)
    return tuple(tuple(block) for block in blocks.tolist())


def _attribute(module: nn.Module, attribute: str) -> Any:
    """What a path such as "groups", "kernel[1]" or "config.hidden_size" leads to; None where it leads nowhere."""
    found: Any = module
    for part in attribute.split("."):
        name, _, index = re.sub(r"\]$", "", part).partition("[")
        found = getattr(found, "__dict__", {}).get(name)
        if index:
            found = found[int(index)] if isinstance(found, tuple | list) and int(index) < len(found) else None
    return found


def _no_attribute(module: str, attribute: str, there: Any) -> RecipeError:
    return RecipeError(
        f"{f'{module}.{attribute}'.lstrip('.')} is not what the recipe takes it to be.",
        f"expected another value of its type, got {type(there).__name__}",
        name=module,
        got=there,
        way_out="give the base that was altered:  base=",
    )


def _calls(model: _Model, operation: Operation, weights: bool) -> Iterator[Edit]:
    places = []
    for call in operation.data["calls"]:
        owner = model.module(call["in"])
        functions = {found.spelling.function for found in find(original(type(owner))).calls}
        sites = {}
        for layer in layers_at(model.draft, owner, functions):
            site = made_for(layer).site  # type: ignore[union-attr]  # it was made there
            sites[site.method, site.text, site.which, site.layer] = layer
        wanted = (call["method"], call["text"], call["which"], call["layer"])
        if wanted not in sites:
            where = f"{call['in'] or 'the model'} ({type(owner).__name__}.{call['method']})"
            raise RecipeError(
                f"{call['text']} is not called in {where}.",
                name=call["in"],
                expected=call["text"],
                way_out="load it where the model's code is as it was",
            )
        names = model.draft.spots()[owner].names
        places.append(Place(sites[wanted], tuple(f"{name}.{call['layer']}".lstrip(".") for name in names)))
    yield CallsToLayers(Selection(model.draft.model, tuple(places)))


_REPLAYERS: Mapping[str, Callable[[_Model, Operation, bool], Iterator[Edit]]] = {
    "replace": _replace,
    "insert": _insert,
    "wrap": _wrap,
    "remove": _remove,
    "fold": _fold,
    "resize": _resize,
    "prune": _prune,
    "widen": _widen,
    "calls": _calls,
}
