"""Which names the code of a class speaks of: an attribute that it never mentions has no say in what it computes."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from torch import nn


@lru_cache(maxsize=1024)
def mentioned(cls: type) -> frozenset[str]:
    """Every name and string in the methods of a class, and in the functions that these call by name."""
    names: set[str] = set()
    done: set[types.CodeType] = set()
    waiting = [
        function
        for base in cls.__mro__
        if base not in (nn.Module, object)
        for member in vars(base).values()
        for function in _functions(member)
    ]
    while waiting:
        function = waiting.pop()
        if function.__code__ in done:
            continue
        done.add(function.__code__)
        said = set(_said(function.__code__))
        names |= said
        waiting += _called(function, said)
    return frozenset(names)


def _functions(member: Any) -> Iterator[types.FunctionType]:
    """The functions of a member of a class: of a property its getter, of a decorated function the inner one, too."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    if isinstance(member, property):
        yield from (f for f in (member.fget, member.fset) if isinstance(f, types.FunctionType))
    if isinstance(member, types.FunctionType):
        yield member
    inner = getattr(member, "__wrapped__", None)
    if isinstance(inner, types.FunctionType):
        yield inner


def _said(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _said(constant)
        elif isinstance(constant, str):
            yield constant


def _called(function: types.FunctionType, said: set[str]) -> Iterator[types.FunctionType]:
    """Functions that this one may hand its layer to. Those of torch read no attributes of layers they don't know."""
    for name in said:
        thing = function.__globals__.get(name)
        if isinstance(thing, types.ModuleType):
            yield from (f for n in said if isinstance(f := vars(thing).get(n), types.FunctionType) and _foreign(f))
        elif isinstance(thing, types.FunctionType) and _foreign(thing):
            yield thing


def _foreign(function: types.FunctionType) -> bool:
    return not (function.__module__ or "").startswith("torch.")
