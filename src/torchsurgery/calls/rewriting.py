"""A class whose forward calls layers where it called functions.

It is a subclass of the class as it was written, with the name and module of that. It can't be imported, so its objects
are pickled as their original class and the list of what was rewritten, and rewritten anew when they are loaded.
"""

from __future__ import annotations

import ast
import copy
import types
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..errors import RecipeError
from .finding import Call, calls_in, find, input_of, method_of
from .sources import Source, Unreadable, changed, read

_ORIGINAL, _SITES = "_torchsurgery_original", "_torchsurgery_calls"


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One call that was made a layer, such that it is found again in the class's source.

    Attributes:
        method: The method that it stands in.
        text: The call as it is written.
        which: Its place among calls of the same text there, from 0.
        layer: The name of the layer that is called instead.
    """

    method: str
    text: str
    which: int
    layer: str


def original(kind: type) -> type:
    """The class as it was written, of one that was rewritten; any other class itself."""
    return vars(kind).get(_ORIGINAL, kind)  # type: ignore[no-any-return]


def sites_of(kind: type) -> tuple[Site, ...]:
    """The calls that were made layers in a class."""
    return vars(kind).get(_SITES, ())  # type: ignore[no-any-return]


# As long as an object has such a class, the others with the same calls have the very same.
_CLASSES: weakref.WeakValueDictionary[tuple[type, tuple[Site, ...]], type] = weakref.WeakValueDictionary()


def rewritten(kind: type[nn.Module], sites: Iterable[Site]) -> type[nn.Module]:
    """The class that has layers for these calls.

    Args:
        kind: The class as it was written.
        sites: The calls, each with the name of its layer.

    Raises:
        RecipeError: if the class has no such call, or not any more.
    """
    sites = tuple(sorted(set(sites)))
    found = _CLASSES.get((kind, sites))
    if found is None:
        found = _CLASSES[kind, sites] = _made(kind, sites)
    return found


def _made(kind: type[nn.Module], sites: tuple[Site, ...]) -> type[nn.Module]:
    methods = {name: _method(kind, name, [s for s in sites if s.method == name]) for name in {s.method for s in sites}}
    own: dict[str, Any] = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__reduce_ex__": _reduce,
        _ORIGINAL: kind,
        _SITES: sites,
        **methods,
    }
    return types.new_class(kind.__name__, (kind,), {}, lambda space: space.update(own))


def _reduce(self: Any, protocol: int) -> Any:
    """X."""
    kind = type(self)
    # Protocols before 2 can't say how; classes that say it themselves are not rewritten.
    make, arguments, *rest = cast("tuple[Any, ...]", object.__reduce_ex__(self, max(protocol, 2)))
    arguments = tuple(original(kind) if argument is kind else argument for argument in arguments)
    return (renewed, (make, arguments, sites_of(kind)), *rest)


def renewed(make: Callable[..., Any], arguments: tuple[Any, ...], sites: tuple[Site, ...]) -> Any:
    """An object of a rewritten class, from how one of its original class is made."""
    made = make(*arguments)
    object.__setattr__(made, "__class__", rewritten(type(made), sites))
    return made


# --- one method


def _method(kind: type[nn.Module], name: str, sites: list[Site]) -> Callable[..., Any]:
    function = method_of(kind, name)
    if function is None:
        raise _changed_since(kind, sites[0], "there is no such method")
    try:
        source = read(function)
        node = _with_layers(source, _calls(kind, sites, source))
        # TorchScript compiles a method from its file, where it still calls the function: it must not.
        return torch.jit.unused(changed(source, node))
    except Unreadable as err:
        raise _changed_since(kind, sites[0], str(err)) from err


def _calls(kind: type[nn.Module], sites: list[Site], source: Source) -> dict[int, tuple[Call, Site]]:
    """The calls that the sites stand for, by their place among all calls of the method."""
    known = {(call.method, call.text, call.which): call for call in find(kind).calls}
    texts = [ast.unparse(node) for node in calls_in(source)]
    found = {}
    for site in sites:
        call = known.get((site.method, site.text, site.which))
        if call is None:
            raise _changed_since(kind, site, "it is not there")
        places = [i for i, text in enumerate(texts) if text == site.text]
        found[places[site.which]] = call, site
    return found


def _with_layers(source: Source, calls: dict[int, tuple[Call, Site]]) -> ast.FunctionDef:
    """A copy of the definition in which those calls are made on layers."""
    twin = Source(source.wrappers, source.function, copy.deepcopy(source.node), source.inside)
    nodes = calls_in(twin)
    by_node = {id(nodes[i]): (*found, input_of(nodes[i], found[0])) for i, found in calls.items()}
    return _Layers(by_node).visit(twin.node)  # type: ignore[no-any-return]


class _Layers(ast.NodeTransformer):
    def __init__(self, calls: dict[int, tuple[Call, Site, ast.expr]]) -> None:
        self.calls = calls

    def visit_Call(self, node: ast.Call) -> ast.AST:
        found = self.calls.get(id(node))
        self.generic_visit(node)
        if found is None:
            return node
        call, site, _ = found
        me = ast.copy_location(ast.Name(call.me, ast.Load()), node.func)
        layer = ast.copy_location(ast.Attribute(me, site.layer, ast.Load()), node.func)
        return ast.copy_location(ast.Call(layer, [input_of(node, call)], []), node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        found = self.calls.get(id(node.value))
        self.generic_visit(node)
        if found is None:
            return node
        # What was called for what it does to `x` becomes `x = self.relu(x)`: the next layer need not work in place.
        tensor: ast.Name = found[2]  # type: ignore[assignment]
        target = ast.copy_location(ast.Name(tensor.id, ast.Store()), tensor)
        return ast.copy_location(ast.Assign([target], node.value), node)


def _changed_since(kind: type, site: Site, why: str) -> RecipeError:
    return RecipeError(
        f"{site.text} in {kind.__module__}.{kind.__qualname__}.{site.method} can't be made a layer: {why}.",
        "the model was altered where the class had another source.",
        name=site.layer,
        expected=site.text,
        way_out="load it where it was saved, or alter the model anew:  ts.calls_to_layers(model, …)",
    )
