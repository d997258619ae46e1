"""What a user asks for, as data. An edit does nothing and knows no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import nn

from .selection import Place, Selection, Target

# What may be given for a new layer: a class, an instance, or a factory of the old layer (and of its name).
New: TypeAlias = "type[nn.Module] | nn.Module | Callable[..., nn.Module]"


@dataclass(frozen=True, slots=True)
class Replace:
    """Put another layer where `target` is; see `Plan.replace`."""

    target: Target
    new: New
    arguments: Mapping[str, Any] = field(default_factory=dict)
    share: bool = False
    carry: bool | None = None

    def describe(self) -> str:
        return f"replace {target_in_words(self.target)} → {new_in_words(self.new, self.arguments)}"


@dataclass(frozen=True, slots=True)
class Insert:
    """Put a layer before or after each that `target` selects; see `Plan.insert`."""

    target: Target
    new: New
    where: Literal["before", "after"]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    share: bool = False

    def describe(self) -> str:
        return f"insert {new_in_words(self.new, self.arguments)} {self.where} {target_in_words(self.target)}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Take layers out; see `Plan.remove`."""

    target: Target

    def describe(self) -> str:
        return f"remove {target_in_words(self.target)}"


@dataclass(frozen=True, slots=True)
class Wrap:
    """Put a wrapper around layers; see `Plan.wrap`."""

    target: Target
    wrapper: Callable[..., nn.Module]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        return f"wrap {target_in_words(self.target)} in {new_in_words(self.wrapper, self.arguments)}"


Edit: TypeAlias = "Replace | Insert | Remove | Wrap"


def target_in_words(target: Target) -> str:
    """A target, short enough for one line."""
    if isinstance(target, type):
        return target.__name__
    if isinstance(target, tuple):
        return " or ".join(target_in_words(item) for item in target)
    if isinstance(target, Selection):
        return target.names[0] if len(target.names) == 1 else f"a selection of {len(target)}"
    if isinstance(target, Place):
        return target.name or "the model"
    return target if isinstance(target, str) else f"the given {type(target).__name__}"


def new_in_words(new: Any, arguments: Mapping[str, Any]) -> str:
    """A class with its arguments, an instance or a factory, short enough for one line."""
    if isinstance(new, nn.Module):
        text, more, _ = repr(new).partition("\n")
        return text + ("…)" if more else "")
    name = getattr(new, "__name__", type(new).__name__)
    name = "a factory's layer" if name == "<lambda>" else name
    given = ", ".join(f"{key}={_value(value)}" for key, value in arguments.items())
    return f"{name}({given})" if given else name


def _value(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    return "…" if getattr(value, "__name__", "") == "<lambda>" else repr(value).partition("\n")[0]
