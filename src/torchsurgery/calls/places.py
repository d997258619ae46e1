"""The layers that calls would become, laid into a draft: there they are selected as all others are.

Until a plan that makes it a layer is applied, such a layer is in no model. It is made once for each call of each
module, so that two selections of the same calls are the same selection.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..layers.functional import Function, spelling_of
from ..tree import Draft
from .arguments import Inexpressible, attributes_read, is_call_on_tensor, layer_for, value_of
from .finding import Call, Elsewhere, find
from .rewriting import Site, original, sites_of


class FunctionalCall(nn.Module):
    """Stands for a call that is no layer: what a new layer comes in place of, or one that no layer does.

    It is never in a model. Its `code` is how the call is written.
    """

    def __init__(self, written: str, why: str | None = None) -> None:
        super().__init__()
        self.code, self.why = written, why

    def __repr__(self) -> str:
        return self.code


@dataclass(frozen=True, eq=False)
class Pending:
    """What a layer that isn't in a model yet stands for.

    Attributes:
        owner: The module in whose forward the call is.
        call: The call.
        layer: The name that the layer will have in the owner.
        read: The values of the arguments that were read from the owner.
    """

    owner: weakref.ref[nn.Module]
    call: Call
    layer: str
    read: dict[str, Any]

    @property
    def site(self) -> Site:
        """For `rewritten`."""
        return Site(self.call.method, self.call.text, self.call.which, self.layer)


_LAYERS: weakref.WeakKeyDictionary[nn.Module, dict[Call, nn.Module]] = weakref.WeakKeyDictionary()
_PENDING: weakref.WeakKeyDictionary[nn.Module, Pending] = weakref.WeakKeyDictionary()


def pending(layer: nn.Module) -> Pending | None:
    """What call a layer was made for that isn't in its module yet; None of all other layers."""
    found = _PENDING.get(layer)
    owner = found.owner() if found is not None else None
    return None if found is None or owner is None or owner._modules.get(found.layer) is layer else found


def made_for(layer: nn.Module) -> Pending | None:
    """What call a layer was made for, whether or not it is in its module by now."""
    return _PENDING.get(layer)


def functions_in(target: object) -> Iterator[Function]:
    """The functions whose calls a target is about: one given itself, or calls in a selection."""
    if isinstance(target, tuple):
        for item in target:
            yield from functions_in(item)
    elif (spelling := spelling_of(target)) is not None:
        yield spelling.function
    elif isinstance(target, nn.Module) and (found := pending(target)) is not None:
        yield found.call.spelling.function
    elif isinstance(places := getattr(target, "places", None), tuple):
        for place in places:
            yield from functions_in(place.module)
    elif isinstance(module := getattr(target, "module", None), nn.Module) and hasattr(target, "names"):
        yield from functions_in(module)


def with_calls(draft: Draft, functions: Iterable[Function]) -> Draft:
    """A draft that has a layer for every call of these functions."""
    wanted = set(functions)
    if not wanted:
        return draft
    extended = draft.copy()
    for module in list(draft.spots()):
        for layer in layers_at(draft, module, wanted):
            extended.add(module, _PENDING[layer].layer, layer)
    return extended


def layers_at(draft: Draft, module: nn.Module, wanted: set[Function]) -> Iterator[nn.Module]:
    """A layer for each call of these functions in the forward of one module."""
    kind = original(type(module))
    done = {(site.method, site.text, site.which) for site in sites_of(type(module))}
    for call in find(kind).calls:
        if call.spelling.function not in wanted or (call.method, call.text, call.which) in done:
            continue
        if is_call_on_tensor(call, module):
            yield _layer(draft.standing(module), call)


def out_of_reach(draft: Draft, functions: Iterable[Function]) -> list[tuple[str, Elsewhere]]:
    """Uses of these functions that are no calls in a method: the name of the module, and where they are."""
    wanted = set(functions)
    if not wanted:
        return []
    return [
        (spots.names[0], use)
        for module, spots in draft.spots().items()
        for use in (*find(original(type(module))).elsewhere, *_kept(module))
        if use.function in wanted
    ]


def _kept(module: nn.Module) -> Iterator[Elsewhere]:
    """Functions that a module keeps as attributes: `self.act = F.relu`."""
    for name, value in vars(module).items():
        spelling = spelling_of(value)
        if spelling is not None and not type(module).__module__.startswith("torch.nn."):
            kind, layer = type(module).__name__, spelling.function.layer.__name__
            way_out = f"ts.replace(model, {kind}, nn.{layer})" if _is_bare(module) else f"module.{name} = nn.{layer}()"
            yield Elsewhere(spelling.function, f"{kind}.{name}", f"it is kept as an attribute; use  {way_out}")


def _is_bare(module: nn.Module) -> bool:
    return not module._modules and not module._parameters and not module._buffers


def _layer(owner: nn.Module, call: Call) -> nn.Module:
    layers = _LAYERS.setdefault(owner, {})
    layer, read = layers.get(call), _read(owner, call)
    if layer is None or _PENDING[layer].read != read or _PENDING[layer].layer != _name(owner, call):
        layer = layers[call] = _fresh(owner, call)
        _PENDING[layer] = Pending(weakref.ref(owner), call, _name(owner, call), read)
    return layer


def _fresh(owner: nn.Module, call: Call) -> nn.Module:
    try:
        return layer_for(call, owner, find(original(type(owner)))).train(owner.training)
    except Inexpressible as err:
        return FunctionalCall(call.text, str(err))


def _read(owner: nn.Module, call: Call) -> dict[str, Any]:
    found = {}
    for name, node in attributes_read(call).items():
        try:
            found[name] = value_of(node, call, owner)
        except Inexpressible:
            return {}
    return found


def _name(owner: nn.Module, call: Call) -> str:
    """`relu`; `relu_1`, `relu_2` where there are several, or where the module has something of that name already."""
    name = call.spelling.function.name
    if call.among > 1 or _has_other(owner, name):
        name = f"{name}_{call.number}"
    while _has_other(owner, name):
        name += "_"
    return name


def _has_other(owner: nn.Module, name: str) -> bool:
    return hasattr(owner, name) or name in {site.layer for site in sites_of(type(owner))}
