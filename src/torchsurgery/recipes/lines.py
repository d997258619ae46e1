"""A line for a module and for each of its tensors: the class with the arguments that attributes tell, and shapes.

What lines are made of is noted first, which costs little, and written out when somebody asks for them: by then the
module may have become another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..calls.rewriting import original, sites_of
from ..layers.building import signature_of
from ..origins import PLAIN_FLOATS

# Whole numbers under such names tell what a layer computes also where its constructor takes a configuration.
_WORDS = frozenset(
    [
        "heads",
        "head",
        "groups",
        "dim",
        "dims",
        "channels",
        "features",
        "width",
        "window",
        "shift",
        "stride",
        "dilation",
        "kernel",
    ]
)
_PLAIN = (bool, int, float, str)
UNCHANGING = frozenset(_PLAIN)
_SEQUENCES = (tuple, list)
UNSAVED = "unsaved buffer"
_NUMBERS = tuple(map(str, range(10_000)))


class ModuleNote(NamedTuple):
    """What a module is.

    Attributes:
        kind: Its class.
        attributes: What may tell an argument of its constructor.
        parts: The names of its children.
    """

    kind: type[nn.Module]
    attributes: Mapping[str, Any]
    parts: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module, kind: type[nn.Module] | None = None) -> ModuleNote:
        """The note of a module, as if it had another class."""
        kind, state = kind or type(module), vars(module)
        plain, noted = original(kind), dict[str, Any]()
        for name in arguments_of(plain):
            value = state.get(name)
            if type(value) in UNCHANGING:
                noted[name] = value
            elif _is_plain(value):
                noted[name] = copy(value) if isinstance(value, list) else value  # to which something may be added
        if not is_of_torch(plain):
            noted.update({name: value for name, value in state.items() if type(value) is int})
        return cls(kind, noted, tuple(module._modules))

    def line(self) -> str:
        """Class, arguments, the calls that have become layers, and the order of parts."""
        kind = original(self.kind)
        calls = "".join(f" calling {site.layer} for {site.text}" for site in sites_of(self.kind))
        return f"{_class_name(kind)}({', '.join(self._told(kind))}){calls}{self._order()}"

    def _told(self, kind: Any) -> Iterator[str]:
        """What attributes tell of a constructor's arguments, but for those that are what they are by default."""
        arguments = arguments_of(kind)
        for name, value in self.attributes.items():
            if name in arguments:
                if not _is_default(value, arguments[name]):
                    yield f"{name}={value!r}"
            elif is_told(name):
                yield f"{name}={value}"

    def _order(self) -> str:
        """The order of parts that are gone through in it, where it isn't that of their numbers."""
        is_gone_through = issubclass(self.kind, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if not is_gone_through or self.parts == _NUMBERS[: len(self.parts)]:
            return ""
        return f" of {', '.join(self.parts)}"


class TensorNote(NamedTuple):
    """What a tensor is.

    Attributes:
        kind: "parameter", "buffer" or "unsaved buffer".
        shape: None where it has none yet.
        dtype: Its dtype.
    """

    kind: str
    shape: torch.Size | None
    dtype: torch.dtype

    def line(self) -> str:
        """Kind, shape, and dtype if these aren't floating-point numbers."""
        if self.shape is None:
            return f"{self.kind} without a shape yet"
        numbers = "float" if self.dtype in PLAIN_FLOATS else str(self.dtype).removeprefix("torch.")
        return f"{self.kind} ({', '.join(map(str, self.shape))}) {numbers}"


def tensor_notes(module: nn.Module) -> Iterator[tuple[str, Tensor, TensorNote]]:
    """A module's own tensors with their names and notes."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter, TensorNote("parameter", _shape(parameter), parameter.dtype)
    unsaved = module._non_persistent_buffers_set
    for name, buffer in module._buffers.items():
        if buffer is not None:
            yield name, buffer, TensorNote(UNSAVED if name in unsaved else "buffer", _shape(buffer), buffer.dtype)


def _shape(tensor: Tensor) -> torch.Size | None:
    return None if is_lazy(tensor) else tensor.shape


# --- what attributes tell


@lru_cache(maxsize=4096)
def arguments_of(kind: type[nn.Module]) -> Mapping[str, Any]:
    """The arguments of a constructor, with their defaults."""
    try:
        signature = signature_of(kind)
    except (TypeError, ValueError):  # of a class that has none that can be read
        return {}
    return {name: signature.defaults.get(name, ...) for name in signature.names}


@lru_cache(maxsize=4096)
def is_told(name: str) -> bool:
    """Whether a whole number of this name tells what a layer computes."""
    return not _WORDS.isdisjoint(name.split("_"))


@lru_cache(maxsize=4096)
def is_of_torch(thing: Any) -> bool:
    """Whether a class or a constructor is one of torch.nn's."""
    return str(thing.__module__).startswith("torch.nn.modules")


@lru_cache(maxsize=4096)
def _class_name(kind: type) -> str:
    # A class of the user's is in __main__ today and in a module of its own tomorrow.
    return f"nn.{kind.__name__}" if is_of_torch(kind) else kind.__name__


def _is_plain(value: Any) -> bool:
    if not isinstance(value, _SEQUENCES):
        return isinstance(value, _PLAIN)
    return len(value) < 64 and (UNCHANGING.issuperset(map(type, value)) or all(isinstance(i, _PLAIN) for i in value))


def _is_default(value: Any, default: Any) -> bool:
    try:
        return type(value) is type(default) and bool(value == default)
    except Exception:  # of whatever a default may be
        return False
