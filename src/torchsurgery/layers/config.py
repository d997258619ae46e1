"""A layer's constructor arguments, recovered from the layer itself.

`type(layer)(**config_of(layer))` loads the layer's state dict and computes the same. The arguments come from a rule of
the class, or, where it has none, from the constructor's signature and the layer's attributes. Either way they are a
guess that is then held to the layer: a layer built from them on the meta device must agree with it (see `comparing`).
What doesn't agree is refused, so there are no wrong answers.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import ConfigError
from .blueprints import Blueprint, key_of
from .building import signature_of
from .comparing import Differs, Fails, compare
from .fresh import construct, independent, on_meta
from .guessing import Guess, guesses_of, not_kept
from .kinds import refuse_foreign

Config = dict[str, Any]
M = TypeVar("M", bound=nn.Module)
Read = Callable[[Any], Config | Sequence[Config]]
Stale = Set[str] | Callable[[Any], Set[str]]

_NOTHING: frozenset[str] = frozenset()
_MOST_TRIES = 32
_MOST_BLUEPRINTS = 512


# --- rules


@dataclass(frozen=True, slots=True)
class Rule:
    """How the constructor's arguments of one class are read off a layer.

    Args:
        read: From the layer to the arguments, or to several guesses, the best first.
        stale: Attributes without a say in what the layer computes, such as sizes that the tensors tell better; or a
            function from the layer to these.
        trusted: Whether attributes need not agree: a user's own word.
    """

    read: Read
    stale: Stale = _NOTHING
    trusted: bool = False


_RULES: dict[type, Rule] = {}


def config_rule(cls: type[M], stale: Stale | Sequence[str] = ()) -> Callable[[Callable[[M], Any]], Callable[[M], Any]]:
    """Registers the decorated function as the `Rule` of a class; see there."""

    def register(read: Callable[[M], Any]) -> Callable[[M], Any]:
        _set_rule(cls, Rule(read, stale if callable(stale) else frozenset(stale)))
        return read

    return register


def _set_rule(cls: type[nn.Module], rule: Rule) -> None:
    _RULES[cls] = rule
    _CLASSES.clear()


@overload
def register_config(cls: type[M], read: Callable[[M], Mapping[str, Any]]) -> None: ...
@overload
def register_config(cls: type[M]) -> Callable[[Callable[[M], Mapping[str, Any]]], Callable[[M], Mapping[str, Any]]]: ...
def register_config(cls: type[M], read: Any = None) -> Any:
    """States how the constructor's arguments of a class of yours are read off a layer.

    It holds for subclasses that take over the constructor, too. A statement of yours goes before those of the library.

    Args:
        cls: The class.
        read: From a layer to its constructor's arguments. Left out, this answers a decorator.

    Raises:
        ConfigError: if `cls` is not a class of layers.

    Example:
        >>> class Gate(nn.Module):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.linear = nn.Linear(width, width)
        >>> ts.register_config(Gate, lambda gate: {"width": gate.linear.in_features})
        >>> ts.config_of(Gate(3))
        {'width': 3}
    """
    asked: object = cls
    if not (isinstance(asked, type) and issubclass(asked, nn.Module)):
        raise ConfigError(
            f"register_config takes a subclass of nn.Module, not {cls!r}.",
            way_out="ts.register_config(MyLayer, lambda layer: {...})",
        )
    if read is None:
        return lambda function: (register_config(cls, function), function)[1]
    _set_rule(cls, Rule(lambda layer: dict(read(layer)), trusted=True))
    return None


# --- what is asked


def config_of(module: nn.Module) -> dict[str, Any]:
    """The constructor's arguments of a layer.

    `type(module)(**config_of(module))`, brought to the layer's dtype and device, strictly loads its state dict and then
    computes the same in training and in evaluation. Device, dtype, mode and `requires_grad` are not arguments in this
    sense. Sizes are read off the tensors, so that an edited layer is told as it is. Tensors and layers among the values
    are copies. The layer and the random state are left as they are.

    Args:
        module: Any layer of torch.nn, or one of your own whose constructor's arguments are found in its attributes.

    Returns:
        The arguments by name. Of containers, too: `nn.ModuleList(**config_of(old))`.

    Raises:
        ConfigError: if no constructor call can be recovered that makes this layer, saying why: hooks, tensors or parts
            that the constructor doesn't make, mixed dtypes, arguments that left no trace.

    Example:
        >>> ts.config_of(nn.Linear(3, 4, bias=False))
        {'in_features': 3, 'out_features': 4, 'bias': False}
    """
    return _recovered(module, strict=True)


def arguments_of(module: nn.Module) -> dict[str, Any]:
    """As `config_of`, for a layer that is about to be replaced, where its tensors and hooks are carried as they are.

    So neither hooks nor ties, nor dtypes, devices or kinds of tensors stand in the way. Tensors and layers among the
    values are those of the layer itself: a constructor may initialise what it is given, so give it `on_meta(config)`.
    """
    return _recovered(module, strict=False)


def _recovered(module: nn.Module, strict: bool) -> Config:
    reading = _CLASSES.get(type(module))
    if reading is None or reading.constructor is not type(module).__init__:
        reading = _reading(module)
    try:
        config, fixed = reading.recover(module, strict)
        return independent(config) if strict and not fixed else config
    except Differs as difference:
        raise _refusal(module, str(difference), difference.way_out) from None
    except Exception as error:
        # A layer of a user can hold anything, and any of it may raise when looked at.
        raise _refusal(module, f"looking at it raises {type(error).__name__}: {error}", None) from error


def _refusal(module: nn.Module, reason: str, way_out: str | None) -> ConfigError:
    cls = type(module)
    if way_out is None and getattr(nn, cls.__name__, None) is cls:
        way_out = (
            f"build the new layer from the old one yourself:  ts.replace(model, nn.{cls.__name__}, lambda old: ...)"
        )
    if way_out is None:
        names = ", ".join(f"{name}=..." for name in signature_of(cls).names)
        way_out = f"state them:  ts.register_config({cls.__name__}, lambda layer: dict({names[:60]}))"
    message = f"cannot recover the constructor's arguments of this {cls.__name__}."
    return ConfigError(message, f"{' '.join(reason.split())}."[:155], way_out=way_out)


# --- one class


_CLASSES: dict[type, _Reading] = {}


def _reading(module: object) -> _Reading:
    """What is known of the class of a layer, looked up once."""
    if not isinstance(module, nn.Module):
        way_out = "ts.config_of(nn.Linear(3, 4))"
        raise ConfigError(
            f"config_of takes a layer, not {module!r}."[:150], "a layer is an nn.Module object.", way_out=way_out
        )
    reading = _CLASSES[type(module)] = _Reading(type(module))
    return reading


class _Reading:
    """How layers of one class are read, and the blueprints made so far."""

    def __init__(self, cls: type[nn.Module]) -> None:
        self.cls, self.constructor = cls, cls.__init__
        self.rule, self.owner = _rule_of(cls)
        same_constructor = cls.__init__ is self.owner.__init__  # type: ignore[misc]
        self.direct = self.rule if same_constructor else None
        self.trusted = bool(self.rule and self.rule.trusted)
        self.kept: tuple[str, ...] | None = None
        self.blueprints: dict[Any, Blueprint] = {}

    def recover(self, module: nn.Module, strict: bool) -> tuple[Config, bool]:
        refuse_foreign(module)
        config = self.as_before(module)
        if config is not None:
            return config, True
        failures: list[Differs] = []
        for guess in itertools.islice(self.guesses(module), _MOST_TRIES):
            try:
                fixed = self.hold(module, guess.config, strict)
                self.hold_against(module, guess, strict)
            except Differs as difference:
                failures.append(not_kept(guess.unnamed[0]) if guess.unnamed else difference)
            else:
                self.kept = None if self.direct or guess.unnamed else tuple(guess.config)
                return guess.config, fixed
        # A layer that was built tells more than a constructor that raised.
        told = [failure for failure in failures if not isinstance(failure, Fails)]
        raise (told or failures or [Differs("nothing is known of its arguments")])[0]

    def as_before(self, module: nn.Module) -> Config | None:
        """The arguments, if they are attributes of their names as they were in the last layer of this class."""
        state = vars(module)
        if self.kept is None or not all(name in state for name in self.kept):
            return None
        config = {name: state[name] for name in self.kept}
        key = key_of(config)
        blueprint = None if key is None else self.blueprints.get(key)
        return config if blueprint is not None and blueprint.exactly(module) else None

    def guesses(self, module: nn.Module) -> Iterator[Guess]:
        if self.direct:
            yield from map(Guess, _read(self.direct, module))
            return
        known: Sequence[Config] = [{}]
        if self.rule:
            with contextlib.suppress(Differs):
                known = _read(self.rule, module)
        for inherited in known:
            yield from guesses_of(module, inherited)

    # --- held to the layer

    def hold(self, module: nn.Module, config: Config, strict: bool) -> bool:
        key = key_of(config)
        blueprint = None if key is None else self.blueprints.get(key)
        try:
            blueprint = blueprint or self.draw(config, key)
        except Fails as failure:
            # Who states the arguments of a class knows what its constructor does not do on meta.
            if not self.trusted or isinstance(failure.__cause__, TypeError):
                raise
            return False
        if blueprint.exactly(module):
            return key is not None
        open_values = compare(module, blueprint.fresh, stale_of, strict, self.trusted)
        if open_values and not self.trusted:
            compare(module, construct(self.cls, independent(config), "cpu"), stale_of, strict)
        return key is not None

    def hold_against(self, module: nn.Module, guess: Guess, strict: bool) -> None:
        """Refuses a value that was not found under its name if another one would do as well."""
        for name, config in guess.counters():
            try:
                self.hold(module, config, strict)
            except Differs:
                continue
            raise not_kept(name)

    def draw(self, config: Config, key: Any) -> Blueprint:
        fresh = construct(self.cls, on_meta(config), "meta")
        blueprint = Blueprint(fresh, stale_of(fresh))
        if len(self.blueprints) >= _MOST_BLUEPRINTS:
            self.blueprints.clear()
        if key is not None:
            self.blueprints[key] = blueprint
        return blueprint


def _rule_of(cls: type[nn.Module]) -> tuple[Rule | None, type]:
    # A lazy layer has another constructor and no sizes yet; its attributes tell all.
    if issubclass(cls, LazyModuleMixin):
        return _RULES.get(cls), cls
    for base in cls.__mro__:
        if base in _RULES:
            return _RULES[base], base
    return None, cls


def _read(rule: Rule, module: nn.Module) -> Sequence[Config]:
    try:
        found = rule.read(module)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        if rule.trusted:
            reason = f"what was registered for it fails: {type(error).__name__}: {error}"
            raise Differs(reason, f"ts.register_config({type(module).__name__}, lambda layer: {{...}})") from error
        raise Differs(f"its parts are not as the constructor makes them ({type(error).__name__}: {error})") from error
    return [found] if isinstance(found, dict) else found


def stale_of(module: nn.Module) -> Set[str]:
    """The attributes of a layer that have no say in what it computes."""
    rule, _ = _rule_of(type(module))
    if rule is None:
        return _NOTHING
    return rule.stale(module) if callable(rule.stale) else rule.stale
