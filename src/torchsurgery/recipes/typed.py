"""Whether the data of an argument is of the type that a constructor declares: a flag is no number, a number no text."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from .strict import Field

_WHOLE = 2**31 - 1
_PLAIN: Mapping[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@lru_cache(maxsize=4096)
def hints_of(kind: type[nn.Module]) -> Mapping[str, Any]:
    """What a constructor declares its arguments to be; nothing for those that declare nothing that can be read."""
    try:
        return typing.get_type_hints(kind.__init__)
    except Exception:  # of names that are known to type checkers only
        return {}


def refuse_other_type(value: Field, hint: Any) -> None:
    """Raise if the data of an argument can't be what is declared."""
    allowed = dict.fromkeys(_plain_types(hint))
    if not allowed or None in allowed:
        return  # something is declared that isn't plain data, such as a layer or a function
    if not any(_is(value.value, kind) for kind in allowed):
        value.refuse(" or ".join(_words(kind) for kind in allowed))


def _plain_types(hint: Any) -> Iterator[Any]:
    """The plain types that a declaration allows, tuples as (tuple, types of the entries); None for anything else."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _plain_types(part)
    elif origin in (tuple, list):
        kinds = [kind for part in typing.get_args(hint) if part is not ... for kind in _plain_types(part)]
        yield (tuple, tuple(dict.fromkeys(kinds))) if None not in kinds else None
    elif origin is typing.Literal:
        yield from {type(choice) for choice in typing.get_args(hint)}
    elif hint in _PLAIN or hint is type(None):
        yield hint
    else:
        yield None


def _is(data: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        items = data.get("tuple") if isinstance(data, dict) else data
        return isinstance(items, list) and all(any(_is(item, inside) for inside in kind[1]) for item in items)
    if kind is type(None):
        return data is None
    if kind is float:
        return isinstance(data, float) or type(data) is int or (isinstance(data, dict) and "number" in data)
    if kind is int:
        return type(data) is int and -_WHOLE <= data <= _WHOLE
    return type(data) is kind


def _words(kind: Any) -> str:
    if isinstance(kind, tuple):
        return f"a tuple, each {' or '.join(map(_words, kind[1]))}"
    return "null" if kind is type(None) else _PLAIN[kind]
