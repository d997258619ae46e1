"""Layers in one line: as their constructors are called, or in short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ..calls.places import FunctionalCall
from ..errors import ConfigError
from ..layers.building import signature_of
from ..layers.config import config_of

# What is so common that a letter will do.
_LETTERS = {"kernel_size": "k", "stride": "s", "groups": "g", "dilation": "d"}


def layer(module: nn.Module) -> str:
    """A layer in one line, as its constructor is called: `Conv2d(3, 64, 7, stride=2, padding=3, bias=False)`."""
    kind = type(module)
    if isinstance(module, FunctionalCall):
        return repr(module)
    if module._modules:
        inside = Counter(type(child).__name__ for child in module.children())
        return f"{kind.__name__}({', '.join(name if n == 1 else f'{n} × {name}' for name, n in inside.items())})"
    try:
        config = config_of(module)
    except ConfigError:
        return repr(module).replace("\n", " ")
    signature = signature_of(kind)
    given = [_value(config[name]) for name in signature.required if name in config]
    given += [
        f"{name}={_value(value)}"
        for name, value in config.items()
        if name not in signature.required and _value(value) != _value(signature.defaults.get(name))
    ]
    return f"{kind.__name__}({', '.join(given)})"


def _value(value: object) -> str:
    if isinstance(value, tuple) and value and all(type(item) is int and item == value[0] for item in value):
        return repr(value[0])
    if isinstance(value, float) and len(repr(value)) > 8:
        return f"{value:.4g}"
    return repr(value)


def short(module: nn.Module) -> str:
    """How a layer is configured, in short: `3, 64, k7, s2`; `×2 BasicBlock` of what holds several of one kind.

    Args:
        module: Any module. Of one with children nothing else is said.
    """
    if module._modules:
        kinds = Counter(type(child).__name__ for child in module.children())
        (name, number), *others = kinds.items()
        return f"×{number} {name}" if not others and type(module) in _HOLDING else ""
    try:
        config = config_of(module)
    except ConfigError:
        return ""
    return ", ".join(_short_arguments(type(module), config))


_HOLDING = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _short_arguments(kind: type[nn.Module], config: Mapping[str, Any]) -> Iterator[str]:
    signature = signature_of(kind)
    for name, value in config.items():
        letter, default = _LETTERS.get(name, ""), signature.defaults.get(name)
        if name in signature.required:
            yield letter + _value(value).replace(", ", "×").strip("()") if letter else _value(value)
        elif letter and value is not None and _value(value) != _value(default):
            yield letter + _value(value).replace(", ", "×").strip("()")
