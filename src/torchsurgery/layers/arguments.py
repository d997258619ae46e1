"""The arguments of a layer to come: which names there are, where values come from, which values can't be."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..errors import ConfigError
from .building import signature_of

Check = Callable[[nn.Module, type[nn.Module], Mapping[str, Any]], None]
_CHECKS: dict[type, Check] = {}
_SAMPLES: dict[type, Mapping[str, str]] = {}


def argument_check(*classes: type[nn.Module], **samples: str) -> Callable[[Check], Check]:
    """Registers what refuses bad arguments of these classes before anything is built.

    Args:
        classes: The classes, and all their subclasses.
        samples: For arguments that often have to be given: code of a value that works, for error messages.
    """

    def register(check: Check) -> Check:
        for cls in classes:
            _CHECKS[cls], _SAMPLES[cls] = check, samples
        return check

    return register


@dataclass(frozen=True, slots=True)
class Divisor:
    """See `divisor`."""

    limit: int

    def __call__(self, old: nn.Module) -> int:
        found = [getattr(old, name) for name in _CHANNELS if isinstance(getattr(old, name, None), int)]
        if not found:
            raise ConfigError(
                f"ts.divisor({self.limit}) needs a layer with channels, and {type(old).__name__} has none.",
                way_out="give the number itself, or a function of the layer:  lambda old: 8",
            )
        return next(n for n in range(min(self.limit, *found), 0, -1) if math.gcd(*found) % n == 0)

    def __repr__(self) -> str:
        return f"divisor({self.limit})"


_CHANNELS = ("num_features", "num_channels", "in_channels", "out_channels", "in_features", "out_features")


def divisor(limit: int) -> Divisor:
    """An argument that is the largest divisor of the old layer's channels not above `limit`.

    Where a layer has several counts of channels, such as a convolution, it divides them all.

    Example:
        >>> ts.like(nn.BatchNorm2d(48), nn.GroupNorm, num_groups=ts.divisor(32)).num_groups
        24
    """
    if not is_whole(limit, 1):
        raise ConfigError(
            f"ts.divisor needs a whole number of at least 1, and got {limit!r}.", got=limit, way_out="ts.divisor(32)"
        )
    return Divisor(limit)


def resolved(old: nn.Module, new: type[nn.Module], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The overrides with their names checked and functions of the old layer called."""
    signature = signature_of(new)
    for name in overrides:
        if name not in signature.names and (not signature.takes_any or name in ("device", "dtype")):
            raise _unknown(name, new, signature.names)
    return {name: _value(old, new, name, value) for name, value in overrides.items()}


def _value(old: nn.Module, new: type[nn.Module], name: str, value: Any) -> Any:
    if isinstance(value, np.integer):
        return int(value)
    is_function = callable(value) and not isinstance(value, type | nn.Module)
    if not is_function or callable(signature_of(new).defaults.get(name)):
        return value
    try:
        return value(old)
    except ConfigError:
        raise
    except Exception as err:
        raise ConfigError(
            f"{new.__name__}'s {name} can't be worked out for {label(old)}: {type(err).__name__}: {err}",
            way_out=f"{name} may be a value or a function of the old layer:  {name}=lambda old: ...",
        ) from err


def _unknown(name: str, new: type, names: Sequence[str]) -> ConfigError:
    if name in ("device", "dtype"):
        return ConfigError(
            f"{name} is not for {new.__name__} to set: it follows the old layer's tensors.",
            way_out="move the model, before or after:  model.to(torch.bfloat16)",
        )
    if name in ("optimizer", "ema", "check", "example_inputs"):
        return ConfigError(
            f"{new.__name__} has no argument {name!r}: it is for a plan.",
            got=name,
            way_out="ts.plan(model, example_inputs=x).replace(…).apply(optimizer=optimizer, check=x)",
        )
    close = difflib.get_close_matches(name, names, 3, 0.5)
    return ConfigError(
        f"{new.__name__} has no argument {name!r}.",
        f"it takes {', '.join(names)}." if names else "it takes no arguments.",
        expected=tuple(names),
        got=name,
        way_out=f"did you mean {' or '.join(close)}?" if close else None,
    )


def arguments(
    old: nn.Module,
    new: type[nn.Module],
    source: Mapping[str, Any],
    asked: Collection[str] = (),
    others: Callable[[], Sequence[str]] = tuple,
) -> dict[str, Any]:
    """Those of `source` that the constructor of `new` takes.

    Args:
        old: The layer that the values come from.
        new: The class to be configured.
        source: Values by name.
        asked: Names that the caller gave, which go to a constructor that takes any.
        others: Tells names of classes that are nearer to the old layer, for the error.

    Raises:
        ConfigError: if it needs more; names them, with a line that works.
    """
    signature = signature_of(new)
    missing = [name for name in signature.required if name not in source]
    if missing:
        raise _missing(old, new, missing, others())
    names = (*signature.names, *(name for name in asked if name not in signature.names))
    return {name: source[name] for name in names if name in source}


def _missing(old: nn.Module, new: type[nn.Module], missing: Sequence[str], near: Sequence[str]) -> ConfigError:
    samples = next((_SAMPLES[base] for base in new.__mro__ if base in _SAMPLES), {})
    line = ", ".join(f"{name}={samples.get(name, '...')}" for name in missing)
    more = " and others" if len(near) > 6 else ""
    return ConfigError(
        f"{new.__name__} needs {', '.join(missing)}, and {label(old)} has nothing that means the same.",
        *([f"{type(old).__name__} converts to {', '.join(near[:6])}{more}."] if near else []),
        expected=tuple(missing),
        way_out=f"give {'it' if len(missing) == 1 else 'them'}:  ts.like(old, {in_code(new)}, {line})",
    )


def check_arguments(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """Refuses arguments of `new` that its family knows to be bad."""
    check = next((_CHECKS[base] for base in new.__mro__ if base in _CHECKS), None)
    if check is not None:
        check(old, new, config)


def is_whole(value: Any, least: int) -> bool:
    """Whether it is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def label(old: nn.Module) -> str:
    """The layer in a few words."""
    text = type(old).__name__
    with contextlib.suppress(Exception):  # a user's repr may raise
        text = text if old._modules or len(repr(old)) > 80 else repr(old)
    return text


def in_code(cls: type) -> str:
    """The class as one writes it."""
    return f"nn.{cls.__name__}" if cls.__module__.startswith("torch.nn.") else cls.__name__
