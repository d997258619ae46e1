"""Which pairs of classes have a rule that says what the one comes to as the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..errors import ConfigError
from .building import once_per_class
from .conversion import Conversion

# From a `Pair` to what it comes to.
Rule = Callable[[Any], Conversion]
Classes = type[nn.Module] | tuple[type[nn.Module], ...]
# Classes of libraries that are not imported go by their full names.
Named = Classes | tuple[str, ...]
_RULES: dict[tuple[type | str, type], Rule] = {}
_READING: set[Rule] = set()


def conversion(old: Named, new: Classes) -> Callable[[Rule], Rule]:
    """Registers a rule for turning an `old` layer into a `new` one; subclasses of both are covered.

    Args:
        old: The class, or the classes, to come from; or their full names, where they are not to be imported.
        new: The class, or the classes, to go to.

    Returns:
        A decorator for a function from a `Pair` to a `Conversion`; `pair.carry` makes the latter. The rule of the
        nearest classes wins, the old layer's first, and a later rule for the same pair replaces an earlier one.

    Example:
        >>> class FilterResponseNorm(nn.Module):
        ...     def __init__(self, channels, eps=1e-6):
        ...         super().__init__()
        ...         self.eps, self.gamma = eps, nn.Parameter(torch.ones(channels))
        >>> @ts.conversion(nn.BatchNorm2d, FilterResponseNorm)
        ... def batch_to_filter_response(pair):
        ...     return pair.carry({"channels": pair.old.num_features}, {"gamma": "weight"}, uses=["num_features"])
        >>> new = ts.like(nn.BatchNorm2d(8), FilterResponseNorm)
        >>> new.gamma.shape, new.eps
        (torch.Size([8]), 1e-05)
    """
    named: tuple[Any, ...] = (*_classes(old), *_classes(new))
    for cls in named:
        if isinstance(cls, str) and cls in _classes(old):
            continue
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise ConfigError(
                f"a conversion is between classes of layers, and {cls!r} is none.",
                way_out="@ts.conversion(nn.BatchNorm2d, MyNorm)",
            )

    def register(rule: Rule) -> Rule:
        _RULES.update({(a, b): rule for a in _classes(old) for b in _classes(new)})
        rule_for.cache_clear()  # type: ignore[attr-defined]
        return rule

    return register


def reads_itself(rule: Rule) -> Rule:
    """Marks a rule that reads what it needs off the layer: its arguments as a whole need not be recoverable."""
    _READING.add(rule)
    return rule


def needs_arguments(rule: Rule) -> bool:
    """Whether a rule has to be given the old layer's constructor arguments."""
    return rule not in _READING


def _classes(classes: Any) -> tuple[Any, ...]:
    return classes if isinstance(classes, tuple) else (classes,)


@once_per_class
def rule_for(old: type, new: type) -> tuple[Rule, type[nn.Module], type[nn.Module]] | None:
    """The rule of the nearest classes, the old layer's first, and the two classes that it was registered for."""
    for a in old.__mro__:
        for key in (a, _full_name(a)):
            for b in new.__mro__:
                if (key, b) in _RULES:
                    return _RULES[key, b], a, b
    return None


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def targets_of(old: type) -> list[type]:
    """The classes that a layer of class `old` has rules for, the nearest first."""
    return list(dict.fromkeys(b for base in old.__mro__ for a, b in _RULES if a in (base, _full_name(base))))


def registered() -> set[type]:
    """The classes that there are rules for."""
    return {old for old, _ in _RULES if isinstance(old, type)}
