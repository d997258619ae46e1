"""Guesses at a constructor's arguments from its signature and a layer's attributes, the likeliest first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from .building import signature_of
from .comparing import Differs

Config = dict[str, Any]

_ABSENT = object()


def guesses_of(module: nn.Module, inherited: Config) -> Iterator[Config]:
    """Arguments by name from attributes; then with one of them taken otherwise."""
    signature = signature_of(type(module))
    candidates = {name: _candidates(module, name, inherited, signature.defaults) for name in signature.names}
    leftover = [value for name, value in inherited.items() if name not in signature.names]
    for name in signature.required:
        candidates[name] = candidates[name] or [*leftover, *_entries(leftover)]
        if not candidates[name]:
            raise Differs(f"its argument {name} is not kept in an attribute of that name")
    choice = {name: values[0] for name, values in candidates.items()}
    yield _present(choice)
    for name, values in candidates.items():
        yield from (_present(choice | {name: value}) for value in values[1:])
    yield from _with_dtype(module, _present(choice))


def _candidates(module: nn.Module, name: str, inherited: Config, defaults: Mapping[str, Any]) -> list[Any]:
    found = [inherited[name]] if name in inherited else []
    for attribute in (name, f"_{name}"):
        found += _attribute(module, attribute, defaults.get(name))
    if name in defaults:
        private = name.startswith("_") and any(value is defaults[name] for value in found[:1])
        found.insert(0 if private else len(found), _ABSENT)
    return found


def _attribute(module: nn.Module, name: str, default: Any) -> list[Any]:
    """What an attribute may have been as an argument: a Parameter stands for a bool, a Dropout for its p."""
    if name in module._parameters:
        parameter = module._parameters[name]
        if parameter is None:
            return [False, None]
        return [True, parameter] if isinstance(default, bool) or name == "bias" else [parameter, True]
    if name in module._modules:
        part = module._modules[name]
        rate = [part.p] if hasattr(part, "p") else []
        if isinstance(default, bool):
            return [part is not None, part]
        return [*rate, part, type(part)] if isinstance(default, float) else [part, *rate, type(part)]
    value = vars(module).get(name, module._buffers.get(name, _ABSENT))
    if value is _ABSENT and isinstance(getattr(type(module), name, None), property):
        with contextlib.suppress(Exception):
            value = getattr(module, name)
    return [] if value is _ABSENT else [value]


def _entries(values: Sequence[Any]) -> list[Any]:
    return [value[0] for value in values if isinstance(value, tuple) and len(set(value)) == 1]


def _present(choice: Config) -> Config:
    return {name: value for name, value in choice.items() if value is not _ABSENT}


def _with_dtype(module: nn.Module, config: Config) -> Iterator[Config]:
    # Device and dtype follow the tensors, unless the layer keeps them and computes with them.
    kept = {name: vars(module)[name] for name in ("device", "dtype") if name in vars(module)}
    if kept:
        yield config | kept
