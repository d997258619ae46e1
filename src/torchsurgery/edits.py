"""What a user asks for, as data. An edit does nothing and knows no model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from .origins import Entries
from .selection import Place, Selection, Target

# What may be given for a new layer: a class, an instance, or a factory of the old layer (and of its name).
New: TypeAlias = "type[nn.Module] | nn.Module | Callable[..., nn.Module]"


@dataclass(frozen=True, slots=True)
class Replace:
    """Put another layer where `target` is; see `Plan.replace`. `left`: names of layers that stay as they are → why."""

    target: Target
    new: New
    arguments: Mapping[str, Any] = field(default_factory=dict)
    share: bool = False
    carry: bool | None = None
    left: Mapping[str, str] = field(default_factory=dict)

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


class Taking(NamedTuple):
    """A layer that takes norms beside it over; each by its full name.

    Attributes:
        layer: A convolution or linear layer.
        before: The norm that it is fed by, or None.
        after: The norm that it feeds, or None.
    """

    layer: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """Let layers do what norms beside them do; see `Plan.fold`.

    Attributes:
        takings: Which layer takes which norms.
        left: Norms that stay → why.
    """

    takings: tuple[Taking, ...]
    left: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        norms = sum(name is not None for taking in self.takings for name in taking[1:])
        return f"fold {norms} norm{'s' * (norms != 1)} into the layers beside"


@dataclass(frozen=True, slots=True)
class Resize:
    """Give the layers at one end of a model another number of channels; see `Plan.set_inputs`, `Plan.set_outputs`.

    Attributes:
        asked: What the user asked for, in words.
        converters: By the full name of each layer, from the layer and its name to what it comes to.
        attributes: (Module, attribute, value): what else tells the number.
    """

    asked: str
    converters: Mapping[str, Callable[[nn.Module, str], Any]]
    attributes: Sequence[tuple[str, str, Any]] = ()

    def describe(self) -> str:
        return self.asked


class Tied(NamedTuple):
    """Channels that come and go together, and the layers that have them.

    Attributes:
        channels: How many there are.
        gone: How many of them go; below zero, how many come.
        giving: The layers that give them, normalisations included.
        taking: The layers that take them.
        paths: Ways from the first layer to others: its name, the operations between, the other's name.
    """

    channels: int
    gone: int
    giving: tuple[str, ...]
    taking: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Recut:
    """Make tensors of some of their entries, in all layers that hang together.

    Attributes:
        asked: What the user asked for, in words.
        layers: Names of the layers that were asked for; the others follow.
        kept: Parameter or buffer → axis → the old entries that it has then, in order; of a convolution in groups one
            list a group, where they differ (`origins.Entries`). What isn't named stays whole.
        attributes: ((module, attribute), the integer that it becomes), …
        caches: (module, attribute) of dictionaries of tensors that the forward fills, which begin empty.
        left: Names of layers that stay as they are → why.
        mixing: Operations because of which the rest is computed otherwise.
        ties: Which layers hang together, and by what.
    """

    asked: str
    layers: tuple[str, ...]
    kept: Mapping[str, Mapping[int, Entries]]
    attributes: Sequence[tuple[tuple[str, str], int]] = ()
    caches: Sequence[tuple[str, str]] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    mixing: tuple[str, ...] = ()
    ties: tuple[Tied, ...] = ()


@dataclass(frozen=True, slots=True)
class Prune(Recut):
    """Take entries out; see `Plan.prune`. `mixing` is told against a model in which they are zero."""

    def describe(self) -> str:
        return f"prune {self.asked}"


@dataclass(frozen=True, slots=True)
class Widen(Recut):
    """Have entries several times; see `Plan.widen`. `mixing` is told against the model as it was.

    Attributes:
        shares: Parameter or buffer → axis → what each entry is multiplied by, as it is summed over.
        noise: The standard deviation, relative to the tensor's, of what tells the shares of one entry apart.
        seed: Where that begins.
        added: Parameter or buffer → the axis at whose end entries come that are no copies, and how many.
        rows: What they begin as in a table, (entries, width); None, and in all else, for the mean of the old ones.
    """

    shares: Mapping[str, Mapping[int, tuple[float, ...]]] = field(default_factory=dict)
    noise: float = 0.0
    seed: int = 0
    added: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rows: Tensor | None = None

    def describe(self) -> str:
        return f"widen {self.asked}" + (f"  approximately: {', '.join(self.mixing)}" if self.mixing else "")


@dataclass(frozen=True, slots=True)
class CallsToLayers:
    """Make layers of function calls; see `Plan.calls_to_layers`.

    Attributes:
        target: A function, or a selection of calls.
        beyond: What else is to be told of the function, as no layer can be put there.
    """

    target: Target
    beyond: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"make layers of calls: {target_in_words(self.target)}"


Edit: TypeAlias = "Replace | Insert | Remove | Wrap | Fold | Resize | Prune | Widen | CallsToLayers"


def takes_name(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Whether a factory, besides these arguments, takes the old layer's name after the old layer."""
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    free = [p for p in positional[1:] if p.name not in arguments and (p.default is p.empty or p.name == "name")]
    return bool(free)


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
    if isinstance(target, FunctionType | BuiltinFunctionType | MethodDescriptorType):
        return f"{target.__name__}()"
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
