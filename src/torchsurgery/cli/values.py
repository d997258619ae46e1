"""The pieces of a command: `key=value` for a builder, shapes of inputs."""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
_SHORT = {
    "half": "float16",
    "bf16": "bfloat16",
    "float": "float32",
    "double": "float64",
    "long": "int64",
    "int": "int32",
}
_MOST = 2**31  # entries of an input; more is a slip of the finger


class Input(NamedTuple):
    """One argument that a model is called with.

    Attributes:
        name: Of a keyword argument; empty for a positional one.
        shape: Its shape.
        dtype: Its dtype, as torch calls it; empty for what the model computes in.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


def pair_of(text: str) -> tuple[str, Any]:
    """`width=32` → ("width", 32); numbers, lists and true, false, none are read as such, all else is text.

    Raises:
        ValueError: if there is no name before the equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise ValueError(f"{text!r} is not KEY=VALUE, such as num_classes=10")
    return name.strip(), value_of(value.strip())


def value_of(text: str) -> Any:
    """A value as Python would read it, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def input_of(text: str) -> Input:
    """`input_ids=1,16:int64` → its name, shape and dtype.

    Raises:
        ValueError: saying what is not right.
    """
    name, _, rest = text.rpartition("=")
    shape, _, dtype = rest.partition(":")
    dtype = _SHORT.get(dtype.strip(), dtype.strip()).removeprefix("torch.")
    if name and not name.strip().isidentifier():
        raise ValueError(f"{name!r} is no name of an argument")
    if not re.fullmatch(r"\s*\d+\s*([,x]\s*\d+\s*)*", shape):
        raise ValueError(f"{shape!r} is no shape, such as 1,3,224,224")
    if dtype and dtype not in _DTYPES:
        raise ValueError(f"{dtype!r} is no dtype; there are {', '.join(_DTYPES)}")
    sizes = tuple(map(int, re.split("[,x]", shape)))
    entries = 1
    for size in sizes:
        entries *= size
    if not 0 < entries <= _MOST:
        raise ValueError(f"{shape} has {entries:,} entries; expected 1 to {_MOST:,}")
    return Input(name.strip(), sizes, dtype)
