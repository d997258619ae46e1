"""What a forward keeps outside of its modules, put back after a trace: the next run must meet no stand-ins in a cache.

Helpers that are no modules, containers in containers, attributes of classes, globals of the files in which the classes
are written, and what `functools.lru_cache` remembers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import torch
from torch import Tensor, nn

from ...containers import CONTAINERS, Contents, refill

# What holds nothing, by its very class: most of what there is.
_PLAIN = frozenset(
    {
        *(int, float, str, bool, bytes, type(None), Tensor, nn.Parameter, torch.dtype, torch.device, torch.Size),
        *(type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, property, classmethod, staticmethod),
        *(GetSetDescriptorType, WrapperDescriptorType),
    }
)
_OTHER = (nn.Module, Tensor, type)
# Of torch.nn's own attributes none holds what a forward has made.
_OWN = frozenset(vars(nn.Module()))
# What lies deeper, or is larger, is data rather than a cache.
_DEPTH, _MOST, _SMALL = 4, 10_000, 32


@contextmanager
def surroundings_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """A block after which what these modules reach outside of themselves holds what it held."""
    modules = list(modules)
    kinds = {kind for module in {type(m): m for m in modules}.values() for kind in type(module).__mro__}
    kinds = {kind for kind in kinds if not _is_foreign(kind)}
    undo = [Contents(list(_held(modules))).put_back]
    undo += [_class_attributes(kind) for kind in kinds]
    for file in {kind.__module__ for kind in kinds}:
        undo += _globals(vars(sys.modules[file])) if file in sys.modules else []
    try:
        yield
    finally:
        for restore in undo:
            restore()


def _is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "builtins", "abc", "typing", "numpy")


def _held(modules: Iterable[nn.Module]) -> Iterator[Any]:
    """The containers in containers of modules, and the attributes of helpers."""
    first = [value for m in modules for key, value in vars(m).items() if key not in _OWN and type(value) not in _PLAIN]
    # A module's own containers are put back with it.
    inside = [item for value in first for item in (_items(value) if type(value) in CONTAINERS else (value,))]
    return _within(inside)


def _within(values: Iterable[Any]) -> Iterator[Any]:
    """All containers there, each once, with the attributes of other objects as one of them."""
    seen: set[int] = set()
    todo = [(value, 0) for value in values]
    while todo:
        value, depth = todo.pop()
        kind = type(value)
        if kind in _PLAIN or id(value) in seen or depth > _DEPTH:
            continue
        seen.add(id(value))
        if kind not in CONTAINERS and kind is not tuple:
            if isinstance(value, _OTHER) or _is_foreign(kind) or not isinstance(getattr(value, "__dict__", None), dict):
                continue
            value = vars(value)
        if len(value) <= _MOST:
            if kind is not tuple:
                yield value
            todo += [(item, depth + 1) for item in _items(value)]


def _items(container: Any) -> Iterable[Any]:
    if len(container) > _MOST:
        return ()
    return list(container.values()) if isinstance(container, dict) else list(container)


def _class_attributes(kind: type) -> Callable[[], None]:
    before = dict(vars(kind))
    values = [value for value in before.values() if type(value) not in _PLAIN]
    inside = [Contents(list(_within(values))).put_back, *_remembered(values)]

    def restore() -> None:
        now = vars(kind)
        if now.keys() != before.keys() or any(now[key] is not value for key, value in before.items()):
            for key in [key for key in now if key not in before]:
                delattr(kind, key)
            for key in [key for key in before if now.get(key) is not before[key]]:
                setattr(kind, key, before[key])
        for again in inside:
            again()

    return restore


def _globals(space: dict[str, Any]) -> list[Callable[[], None]]:
    """Of what is global only what has tensors in it by then: files may well be read on the first run."""
    before = space.copy()
    values = [value for value in before.values() if type(value) not in _PLAIN]
    containers = [value for value in values if type(value) in CONTAINERS and len(value) <= _MOST]
    held = [(value, value.copy()) for value in containers if value is not space]

    def restore() -> None:
        new = [key for key, value in space.items() if type(value) is Tensor and before.get(key) is not value]
        for key in new:
            if key in before:
                space[key] = before[key]
            else:
                del space[key]
        for container, content in held:
            # Large ones are registries, to which something may be added, and in which nothing is replaced.
            is_small = len(content) <= _SMALL or len(container) != len(content)
            if is_small and any(isinstance(item, Tensor) for value in _items(container) for item in _flat(value)):
                refill(container, content)

    return [restore, *_remembered(values)]


def _flat(value: Any) -> Iterable[Any]:
    return _items(value) if type(value) in CONTAINERS or type(value) is tuple else (value,)


def _remembered(values: Iterable[Any]) -> Iterator[Callable[[], None]]:
    """Functions that remember what they have answered forget it if something has been added."""
    for value in values:
        if isinstance(value, _lru_cache_wrapper):
            yield _forgetting(value)


def _forgetting(function: Any) -> Callable[[], None]:
    misses = function.cache_info().misses
    return lambda: function.cache_clear() if function.cache_info().misses != misses else None
