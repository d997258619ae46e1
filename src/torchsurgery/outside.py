"""References to a module from elsewhere than `_modules`: plain lists, dicts, closures, attributes set past `nn.Module`.

A forward that reaches a layer through one of these goes on using the old layer when only `_modules` is changed. The
search covers what a forward of the model can reach: the attributes of its modules, containers and functions among them,
and the closures and globals of its forwards.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

from torch import Tensor, nn

# A method of what holds the module, such as a list's __setitem__, with the key: the module to put there is wanted yet.
Write: TypeAlias = "functools.partial[None]"


@dataclass(frozen=True, slots=True)
class Reference:
    """One place outside `_modules` that holds a module.

    Attributes:
        path: How it is reached, for the plan: "Net.layers[0]".
        module: What it holds.
        write: Puts another object there; None where that is impossible, as in a tuple.
        holder: The module of the model through which it is reached.
    """

    path: str
    module: nn.Module
    write: Write | None
    holder: nn.Module

    @property
    def spot(self) -> Hashable:
        """What tells this place from others, under whatever name it is reached."""
        return self.path if self.write is None else (id(getattr(self.write.func, "__self__", None)), self.write.args[0])


_PLAIN = (Tensor, str, bytes, int, float, complex, bool, type(None), type)
# What nn.Module keeps for itself and what holds no layers.
_OWN = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})
_CONTAINERS = (OrderedDict, dict, list, tuple, set)


def references(modules: Iterable[tuple[str, nn.Module]], wanted: set[nn.Module]) -> list[Reference]:
    """Every reference to one of `wanted` that lies outside `_modules` and within reach of the given modules.

    Args:
        modules: The modules of a model, by name.
        wanted: The modules that are to be replaced.
    """
    search = _Search(wanted)
    kinds: set[type] = set()
    for name, module in modules:
        label, search.holder = name or type(module).__name__, module
        for key, value in module.__dict__.items():
            # Every module has a dozen empty dictionaries for hooks.
            if key in _OWN or isinstance(value, _PLAIN) or (type(value) in _CONTAINERS and not value):
                continue
            search.look(value, f"{label}.{key}", functools.partial(module.__dict__.__setitem__, key), depth=6)
        if type(module) not in kinds:
            kinds.add(type(module))
            search.forward_of(type(module))
    return search.found


class _Search:
    def __init__(self, wanted: set[nn.Module]) -> None:
        self.wanted, self.found = wanted, list[Reference]()
        self.holder: nn.Module
        self._seen: set[int] = set()

    def look(self, value: Any, path: str, write: Write | None, depth: int) -> None:
        """Note `value` if it is wanted, else look inside of it."""
        if isinstance(value, nn.Module):
            if value in self.wanted:
                self.found.append(Reference(path, value, write, self.holder))
            return
        if depth == 0 or isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        for item, where, write_item in _inside(value):
            self.look(item, path + where, write_item, depth - 1)

    def forward_of(self, kind: type) -> None:
        """Look at the closure of a forward, and at the globals that it names."""
        function = getattr(kind, "forward", None)
        if not isinstance(function, FunctionType):
            return
        self.look(function, f"{kind.__name__}.forward", None, depth=3)
        space = function.__globals__
        for name in function.__code__.co_names:
            value = space.get(name)
            if isinstance(value, nn.Module | list | dict | tuple):
                self.look(value, f"{function.__module__}.{name}", functools.partial(space.__setitem__, name), depth=2)


def _inside(value: Any) -> Iterator[tuple[Any, str, Write | None]]:
    """The items of a container, a closure, a partial or a bound method, each with how to write another one there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield item, f"[{key!r}]", functools.partial(value.__setitem__, key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield item, f"[{i}]", functools.partial(value.__setitem__, i)
    elif isinstance(value, tuple | set | frozenset):
        for item in value:
            yield item, "[…]", None
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield from _cell(name, cell)
        for item in (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
            yield item, "(default)", None
        if "__wrapped__" in vars(value):
            yield vars(value)["__wrapped__"], "", None
    elif isinstance(value, functools.partial):
        for item in (value.func, *value.args, *value.keywords.values()):
            yield item, "(…)", None
    elif isinstance(value, MethodType):
        yield value.__self__, ".__self__", None
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, ModuleType):
        for name, item in vars(value).items():
            yield item, f".{name}", functools.partial(value.__setattr__, name)


def _cell(name: str, cell: CellType) -> Iterator[tuple[Any, str, Write]]:
    try:
        content = cell.cell_contents
    except ValueError:  # not filled yet
        return
    yield content, f" → {name}", functools.partial(cell.__setattr__, "cell_contents")
