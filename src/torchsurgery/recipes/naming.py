"""The classes and functions that data may name: an exact look-up in a dictionary of objects, and nothing else.

All of torch.nn's layers are there, those of this library, and what a user registers. A file can't register anything,
and no name in a file is ever imported, evaluated or looked up as an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..composites import Removed
from ..errors import PlanError, RecipeError
from ..layers import thin
from ..layers.building import signature_of
from ..layers.frozen import FrozenBatchNorm, FrozenBatchNormAct
from ..layers.padded import PaddedConv1d, PaddedConv2d, PaddedConv3d
from ..layers.separate import SeparateAttention

Thing = Callable[..., Any]
T = TypeVar("T", bound=Thing)
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What a key stands for.

    Attributes:
        thing: A class of layers, or a function.
        schema: Argument → what it may be: a type, a tuple of types, a range, or a predicate.
    """

    thing: Thing
    schema: Schema = field(default_factory=dict)


_ENTRIES: dict[str, Entry] = {}
_KEYS: dict[int, tuple[Thing, str]] = {}  # by identity: what is callable need not be hashable
# The full name of what was registered → its key: a recipe from before names it so.
_REGISTERED: dict[str, str] = {}


@overload
def register(key: str, thing: T, schema: Schema | None = None) -> T: ...
@overload
def register(key: str, thing: None = None, schema: Schema | None = None) -> Callable[[T], T]: ...
def register(key: Any, thing: Any = None, schema: Schema | None = None) -> Any:
    """Let recipes name a class of layers, a factory or a wrapper of yours; without it, they are saved but not loaded.

    Args:
        key: Under which name files know it. It should stay the same as long as there are files.
        thing: A class of layers, or a function that takes the old layer, as those given to `ts.replace` and `ts.wrap`.
            Left out, this answers a decorator.
        schema: What the arguments may be that a file gives: a type, a tuple of types, a `range`, or a predicate for
            each. Arguments that aren't named may be any numbers, texts and layers.

    Returns:
        What was registered.

    Raises:
        PlanError: if it is neither a class of layers nor a function, the key is taken, or the schema says nothing that
            could be held against an argument.

    Example:
        >>> @ts.register("example/scale", schema={"width": range(1, 1024)})
        ... class Scale(nn.Module):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.width, self.factor = width, nn.Parameter(torch.ones(width))
    """
    if not isinstance(key, str) or not key.strip() or len(key) > 200:
        raise PlanError(f"a key is a short text, got {key!r}.", got=key, way_out='ts.register("my/layer", MyLayer)')
    if thing is None:
        return lambda later: register(key, later, schema)
    if not callable(thing) or isinstance(thing, nn.Module):
        raise PlanError(
            f"a class of layers or a function is registered, not {type(thing).__name__}.",
            got=thing,
            way_out='ts.register("my/layer", MyLayer)',
        )
    there = _ENTRIES.get(key)
    if there is not None and there.thing is not thing and _place(there.thing) != _place(thing):
        raise PlanError(
            f"the key {key!r} is taken by {'.'.join(_place(there.thing))}.",
            got=key,
            way_out="take another key, and register the class under both:  files name it by the last",
        )
    _refuse_bad_schema(key, thing, schema)
    _enter(key, thing, schema or {})
    _REGISTERED[_full_name(thing)] = key
    return thing


def _refuse_bad_schema(key: str, thing: Thing, schema: Any) -> None:
    """Raise if a schema says something of an argument that there isn't, or something that is no rule."""
    if schema is None:
        return
    if not isinstance(schema, Mapping):
        raise PlanError(
            f"the schema of {key!r} is a dictionary, got {type(schema).__name__}.",
            got=schema,
            way_out=f"ts.register({key!r}, …, {{'rank': range(1, 257)}})",
        )
    signature = signature_of(thing) if isinstance(thing, type) else None
    for name, rule in schema.items():
        if signature is not None and name not in signature.names and not signature.takes_any:
            raise PlanError(
                f"the schema of {key!r} is about {name}, and {_place(thing)[1]} takes no such argument.",
                expected=signature.names,
                got=name,
                way_out=f"it takes  {', '.join(signature.names) or 'none'}",
            )
        types = rule if isinstance(rule, tuple) else (rule,)
        is_types = bool(types) and all(isinstance(kind, type) for kind in types)
        if not is_types and not isinstance(rule, range) and not callable(rule):
            raise PlanError(
                f"the schema of {key!r} has no rule for {name}: got {rule!r}.",
                name=name,
                got=rule,
                way_out=f"a type, a tuple of types, a range or a predicate:  {{{name!r}: int}}",
            )


def _enter(key: str, thing: Thing, schema: Schema = {}) -> None:  # noqa: B006  # never written to
    _ENTRIES[key], _KEYS[id(thing)] = Entry(thing, schema), (thing, key)


def _place(thing: Any) -> tuple[str, str]:
    # A notebook that is run again makes the same class anew.
    return str(getattr(thing, "__module__", "")), str(getattr(thing, "__qualname__", type(thing).__qualname__))


def _full_name(thing: Any) -> str:
    return ".".join(_place(thing)).lstrip(".")


def entry_of(key: str) -> Entry | None:
    """What is registered under a key, or has this full name and was registered under another one."""
    return _ENTRIES.get(key) or _ENTRIES.get(_REGISTERED.get(key, ""))


def known(key: str) -> Thing:
    """What is registered under a key.

    Raises:
        RecipeError: if nothing is.
    """
    entry = entry_of(key)
    if entry is None:
        raise unknown(f"the recipe names {key!r}", key)
    return entry.thing


def unknown(what: str, key: str) -> RecipeError:
    """The error for a key under which nothing is registered."""
    return RecipeError(
        f"{what}, which isn't registered here.",
        "expected a layer of torch.nn, or what you have registered",
        expected=key,
        got=None,
        way_out=f"register what was used, before this is loaded:  ts.register({key!r}, {_word(key)})",
    )


def _word(key: str) -> str:
    """A name for what a key stands for, as code."""
    return re.sub(r"\W", "_", re.split(r"[./]", key)[-1].strip("<>")) or "MyLayer"


def is_registered(thing: Thing) -> bool:
    """Whether a class or function has a key of its own."""
    return id(thing) in _KEYS


def key_of(thing: Thing) -> str:
    """The key of a class or function; its full name, where none was registered."""
    return _KEYS[id(thing)][1] if id(thing) in _KEYS else _full_name(thing)


def keys() -> Iterator[str]:
    """All keys."""
    return iter(_ENTRIES)


# --- torch's and the library's own

# Without parameters that a file could give, or wrappers of whole models, or without a size before their first call.
_OTHERS = {"Module", "Container", "DataParallel", "ParameterList", "ParameterDict", "Buffer", "Parameter"}


def _torch_layers() -> Iterator[tuple[str, type[nn.Module]]]:
    for name in dir(nn):
        found = getattr(nn, name)
        is_layer = isinstance(found, type) and issubclass(found, nn.Module) and not issubclass(found, LazyModuleMixin)
        if is_layer and name not in _OTHERS:
            yield f"torch.nn.{name}", found


for _key, _layer in _torch_layers():
    _enter(_key, _layer)
_OWN: tuple[type[nn.Module], ...] = (
    Removed,
    FrozenBatchNorm,
    FrozenBatchNormAct,
    PaddedConv1d,
    PaddedConv2d,
    PaddedConv3d,
    SeparateAttention,
    thin.LowRankLinear,
    thin.LowRankConv1d,
    thin.LowRankConv2d,
    thin.LowRankConv3d,
    thin.SeparableConv1d,
    thin.SeparableConv2d,
    thin.SeparableConv3d,
    thin.AsymmetricConv2d,
)
for _own in _OWN:
    _enter(f"torchsurgery.{_own.__name__}", _own)
# Activations that torch's own layers keep as functions, such as TransformerEncoderLayer.
for _name in (
    "relu",
    "gelu",
    "silu",
    "leaky_relu",
    "elu",
    "selu",
    "mish",
    "hardswish",
    "softplus",
    "pairwise_distance",
):
    _enter(f"torch.nn.functional.{_name}", getattr(nn.functional, _name))
for _name in ("relu", "tanh", "sigmoid"):
    _enter(f"torch.{_name}", getattr(torch, _name))
