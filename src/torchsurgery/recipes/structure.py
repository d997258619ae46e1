"""What a model is made of, line by line, and the sha256 of these lines.

A line for each module: its class and the arguments that its attributes tell; and one for each parameter and buffer: its
shape, whether it holds floating-point numbers, whether the state dict has it. Two names of one module or tensor are a
line each, too. Values, dtypes of floating-point numbers and modes are not in it: a model that was trained further, or
is brought to bfloat16, has the structure that it had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..calls.rewriting import original, sites_of
from ..layers.building import signature_of
from ..origins import is_plain_float
from ..tree import Draft

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


@dataclass(frozen=True, eq=False)
class Structure:
    """The lines of one model.

    Attributes:
        lines: Name of a module or tensor, the model's being "" → what it is.
    """

    lines: Mapping[str, str]

    @cached_property
    def text(self) -> str:
        """All lines, in the order of the model."""
        return "".join(f"{name}\t{what}\n" for name, what in self.lines.items())

    @cached_property
    def sha256(self) -> str:
        """What two models of the same structure have in common, and no others."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Structure) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    @classmethod
    def of_text(cls, text: str) -> Structure:
        """From what `text` was."""
        rows = (line.partition("\t") for line in text.splitlines())
        return cls({name: what for name, _, what in rows})

    def difference(self, other: Structure) -> tuple[str, str | None, str | None] | None:
        """The first name at which they differ, with what stands there here and there; None where they are the same."""
        if self.text == other.text:
            return None
        mine, theirs = list(self.lines), list(other.lines)
        for name in mine:
            if self.lines[name] != other.lines.get(name):
                return name, self.lines[name], other.lines.get(name)
        if (more := next((name for name in theirs if name not in self.lines), None)) is not None:
            return more, None, other.lines[more]
        place = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
        return mine[place], f"before {theirs[place]}", f"after {theirs[place]}"


def structure_of(model: nn.Module) -> Structure:
    """The structure of a model."""
    spots = Draft(model).spots()
    lines: dict[str, str] = {}
    first: dict[int, str] = {}
    for module, where in spots.items():
        own, *others = where.names
        lines[own] = _module(module)
        lines.update({name: f"is {own or 'the model'}" for name in others})
        prefix = f"{own}." if own else ""
        for key, tensor, what in _tensors(module):
            name = prefix + key
            lines[name] = what if first.setdefault(id(tensor), name) == name else f"is {first[id(tensor)]}"
    return Structure(lines)


def _module(module: nn.Module) -> str:
    kind = type(module)
    told = ", ".join(_told(module, original(kind)))
    calls = "".join(f" calling {site.layer} for {site.text}" for site in sites_of(kind))
    return f"{_class_name(original(kind))}({told}){calls}"


@lru_cache(maxsize=4096)
def _class_name(kind: type) -> str:
    # A class of the user's is in __main__ today and in a module of its own tomorrow.
    return f"nn.{kind.__name__}" if _is_torchs(kind) else kind.__name__


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.modules")


@lru_cache(maxsize=4096)
def _arguments(kind: type[nn.Module]) -> Mapping[str, Any]:
    """The arguments of a constructor, with their defaults."""
    try:
        signature = signature_of(kind)
    except (TypeError, ValueError):  # of a class that has none that can be read
        return {}
    return {name: signature.defaults.get(name, ...) for name in signature.names}


def _told(module: nn.Module, kind: Any) -> Iterator[str]:
    """What attributes tell of a constructor's arguments, but for those that are what they are by default."""
    arguments, state = _arguments(kind), vars(module)
    for name, default in arguments.items():
        value = state.get(name, ...)
        if value is not ... and _is_plain(value) and not _is_default(value, default):
            yield f"{name}={value!r}"
    if not _is_torchs(kind):
        for name, value in state.items():
            if type(value) is int and name not in arguments and not _WORDS.isdisjoint(name.split("_")):
                yield f"{name}={value}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, tuple | list) and len(value) < 64 and all(isinstance(item, _PLAIN) for item in value)
    )


def _is_default(value: Any, default: Any) -> bool:
    try:
        return type(value) is type(default) and bool(value == default)
    except Exception:  # of whatever a default may be
        return False


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor, str]]:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter, f"parameter {_shape(parameter)}"
    unsaved = module._non_persistent_buffers_set
    for name, buffer in module._buffers.items():
        if buffer is not None:
            yield name, buffer, f"{'unsaved buffer' if name in unsaved else 'buffer'} {_shape(buffer)}"


def _shape(tensor: Tensor) -> str:
    kind = "float" if is_plain_float(tensor) else str(tensor.dtype).removeprefix("torch.")
    if is_lazy(tensor):
        return "without a shape yet"
    return f"({', '.join(map(str, tensor.shape))}) {kind}"
