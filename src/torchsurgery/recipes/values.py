"""Constructors' arguments as data, and back.

None, booleans, whole numbers, finite numbers and text are themselves, a list is a list. Everything else is an object
with one member that says what it is: {"tuple": […]}, {"dict" or "counter": [[key, value], …]}, {"dtype": "float32"},
{"class": key}, {"function": key}, {"tensor": name}, {"number": "inf"}, {"layer": …}.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..origins import Entries
from . import naming
from .strict import Field

_MOST = 2**62
_MOST_DEPTH = 24
_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


# A scheduler's state has a Counter.
_MAPPINGS: dict[type, str] = {dict: "dict", OrderedDict: "dict", Counter: "counter"}


class Unwritable(Exception):
    """Why a value can't be data."""


@dataclass
class Tensors:
    """The tensors that belong to data, each under a short name; equal lists are kept once."""

    found: dict[str, Tensor] = field(default_factory=dict)
    _names: dict[Any, str] = field(default_factory=dict)
    _given: list[Tensor] = field(default_factory=list)  # so that no id is given twice
    _lists: dict[int, tuple[Entries, str]] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> str:
        """The name of a tensor."""
        self._given.append(tensor)
        return self._named(id(tensor), lambda: tensor.detach().cpu().clone())

    def add_indices(self, indices: Entries) -> str:
        """The name of a list of indices, or of several of one length."""
        # One list stands for the axes of many tensors.
        if id(indices) not in self._lists:
            # torch itself takes three times as long to read a tuple.
            name = self._named(indices, lambda: torch.from_numpy(np.array(indices, np.int64)))
            self._lists[id(indices)] = indices, name
        return self._lists[id(indices)][1]

    def add_shares(self, shares: tuple[float, ...]) -> str:
        """The name of a list of shares."""
        return self._named(shares, lambda: torch.tensor(shares, dtype=torch.float64))

    def _named(self, key: Any, make: Callable[[], Tensor]) -> str:
        if key not in self._names:
            self._names[key] = str(len(self._names))
            self.found[self._names[key]] = make()
        return self._names[key]


def written(value: Any, tensors: Tensors, layer: Callable[[nn.Module], Any]) -> Any:
    """A value as data.

    Args:
        value: An argument of a constructor.
        tensors: Where tensors go.
        layer: From a layer among the values to its data.

    Raises:
        Unwritable: if it is something that data can't say.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"number": str(value)}
    if isinstance(value, list | tuple) and (type(value) in (list, tuple, torch.Size)):
        items = [written(item, tensors, layer) for item in value]
        return items if type(value) is list else {"tuple": items}
    if type(value) in _MAPPINGS:
        rows = [[written(k, tensors, layer), written(v, tensors, layer)] for k, v in value.items()]
        return {_MAPPINGS[type(value)]: rows}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, nn.Module):
        return {"layer": layer(value)}
    if isinstance(value, Tensor):
        if value.is_meta:
            raise Unwritable("a tensor on the meta device has no values")
        return {"tensor": tensors.add(value)}
    if isinstance(value, type):
        return {"class": naming.key_of(value)}
    if naming.is_registered(value):
        return {"function": naming.key_of(value)}
    raise Unwritable(f"a value of {type(value).__name__} can't be written down: {value!r}"[:200])


def checked(value: Field, layer: Callable[[Field, int], None], depth: int = 0) -> None:
    """Raise if a value isn't one that `written` makes.

    Args:
        value: The value.
        layer: Raises if the data of a layer among the values isn't right, given how deep it is nested.
        depth: How deep this one is nested.
    """
    if depth > _MOST_DEPTH:
        value.refuse(f"values nested at most {_MOST_DEPTH} deep")
    data = value.value
    if isinstance(data, int) and not isinstance(data, bool):
        value.whole(-_MOST, _MOST)
    elif isinstance(data, str):
        value.text(r"(?s:.*)", "a text of at most 4096 characters")
    elif isinstance(data, list):
        for item in value.items():
            checked(item, layer, depth + 1)
    elif isinstance(data, dict):
        _checked_tag(value, layer, depth)


def _checked_tag(value: Field, layer: Callable[[Field, int], None], depth: int) -> None:
    members = dict(value.entries())
    if len(members) != 1:
        value.refuse("an object of one member that says what it is", f"{len(members)} members")
    ((tag, inside),) = members.items()
    if tag == "tuple":
        for item in inside.items():
            checked(item, layer, depth + 1)
    elif tag in ("dict", "counter"):
        for row in inside.items():
            for item in row.row(2):
                checked(item, layer, depth + 1)
    elif tag == "layer":
        layer(inside, depth + 1)
    elif tag in ("class", "function"):
        known(inside)
    elif tag == "dtype":
        inside.one_of(*_DTYPES)
    elif tag == "number":
        inside.one_of(*_NUMBERS)
    elif tag == "tensor":
        inside.text(r"\d{1,9}", "the name of a tensor")
    else:
        value.refuse("tuple, dict, counter, layer, class, function, dtype, number or tensor", tag)


def known(key: Field) -> naming.Entry:
    """What a key stands for.

    Raises:
        RecipeError: if nothing is registered under it.
    """
    text = key.text(r"[^\x00-\x1f]{1,200}", "the key of a class or a function")
    entry = naming.entry_of(text)
    if entry is None:
        raise naming.unknown(f"{key.where}: {key.path} names {text!r}", text)
    return entry


def read(data: Any, tensors: dict[str, Tensor], layer: Callable[[Any], nn.Module]) -> Any:
    """The value that checked data stands for.

    Args:
        data: What `checked` has let pass.
        tensors: By name.
        layer: From the data of a layer to one.
    """
    if isinstance(data, list):
        return [read(item, tensors, layer) for item in data]
    if not isinstance(data, dict):
        return data
    ((tag, inside),) = data.items()
    if tag == "tuple":
        return tuple(read(item, tensors, layer) for item in inside)
    if tag in ("dict", "counter"):
        found = {_hashable(read(k, tensors, layer)): read(v, tensors, layer) for k, v in inside}
        return found if tag == "dict" else Counter(found)
    if tag == "layer":
        return layer(inside)
    if tag in ("class", "function"):
        return naming.known(inside)
    if tag == "dtype":
        return _DTYPES[inside]
    if tag == "number":
        return _NUMBERS[inside]
    if inside not in tensors:
        raise RecipeError(f"the tensor {inside!r} that the recipe names is not there.", got=inside)
    return tensors[inside].clone()


def _hashable(key: Any) -> Any:
    if not isinstance(key, str | int | float | bool | None):
        raise RecipeError(f"a key of a dictionary can't be a {type(key).__name__}.", got=key)
    return key
