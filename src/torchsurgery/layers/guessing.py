"""Guesses at a constructor's arguments from its signature and a layer's attributes, the likeliest first.

A guess need not be right, since it is held to the layer. But where an argument is not found under its name, it must be
one that shows: a value that could as well be another is no answer.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .building import once_per_class, signature_of
from .comparing import Differs

Config = dict[str, Any]

_ABSENT = object()
_SCALARS = (bool, int, float, str)


@dataclass(frozen=True, slots=True)
class Guess:
    """Arguments that a layer may have been made with. `unnamed` ones were found under another name, or as a size."""

    config: Config
    unnamed: tuple[str, ...] = ()

    def counters(self) -> Iterator[tuple[str, Config]]:
        """The arguments with another value for one that was not found under its name."""
        for name in self.unnamed:
            yield name, self.config | {name: _another(self.config[name])}


def guesses_of(module: nn.Module, inherited: Config) -> Iterator[Guess]:
    """Arguments by name from attributes; then with one of them taken otherwise.

    Args:
        module: The layer.
        inherited: Arguments of a base class's constructor, which it may pass on under their names or under others.

    Raises:
        Differs: if there is no value to try for an argument.
    """
    signature, own = signature_of(type(module)), _own_names(type(module))
    candidates = {name: _candidates(module, name, inherited, signature.defaults) for name in own}
    passed_on = {name: [inherited[name], _ABSENT] for name in signature.names if name in inherited and name not in own}
    unclaimed = _unclaimed(module, {*own, *inherited})
    unnamed = tuple(name for name in own if name in signature.required and not candidates[name])
    if unnamed:
        others = [value for name, value in inherited.items() if name not in own]
        candidates |= {name: _elsewhere(module, others, unclaimed) for name in unnamed}
        passed_on = {name: passed_on[name][::-1] for name in passed_on if name in signature.required}
    for name in unnamed:
        if not candidates[name]:
            raise not_kept(name)
    for name in own:
        default = signature.defaults.get(name)
        if isinstance(default, bool) and candidates[name] == [_ABSENT]:
            candidates[name].append(not default)
        if isinstance(default, type) and candidates[name] == [_ABSENT]:
            candidates[name] += list(dict.fromkeys(type(part) for part in module._modules.values() if part is not None))
        candidates[name] += [value for value in unclaimed if default is not None and type(value) is type(default)]
    yield from _in_turn(module, candidates | passed_on, unnamed)


def not_kept(name: str) -> Differs:
    """The reason for refusing a layer that has forgotten one of its constructor's arguments."""
    return Differs(f"its argument {name} is not kept in an attribute of that name")


def _in_turn(module: nn.Module, candidates: Mapping[str, list[Any]], unnamed: tuple[str, ...]) -> Iterator[Guess]:
    choice = {name: values[0] for name, values in candidates.items()}
    yield Guess(_present(choice), unnamed)
    for name, values in candidates.items():
        yield from (Guess(_present(choice | {name: value}), unnamed) for value in values[1:])
    # Device and dtype follow the tensors, unless the layer keeps them and computes with them.
    kept = {name: vars(module)[name] for name in ("device", "dtype") if name in vars(module)}
    if kept:
        yield Guess(_present(choice) | kept, unnamed)


@once_per_class
def _own_names(cls: type[nn.Module]) -> tuple[str, ...]:
    """The arguments that the class's constructor itself names; all of them where it passes on what it is given."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return tuple(name for name in names if name not in ("device", "dtype")) or signature_of(cls).names


# --- under its name


def _candidates(module: nn.Module, name: str, inherited: Config, defaults: Mapping[str, Any]) -> list[Any]:
    found = [inherited[name]] if name in inherited else []
    for attribute in (name, f"_{name}"):
        found += _attribute(module, attribute, defaults.get(name))
    if name in defaults:
        private = name.startswith("_") and any(value is defaults[name] for value in found[:1])
        found.insert(0 if private else len(found), _ABSENT)
    return found


def _attribute(module: nn.Module, name: str, default: Any) -> list[Any]:
    """What an attribute may have been as an argument: a Parameter for a bool or a number, a Dropout for its p."""
    if name in module._parameters:
        parameter = module._parameters[name]
        if parameter is None:
            return [False, None]
        if isinstance(default, bool) or name == "bias":
            return [True, parameter]
        # A number that is learnt: what the constructor was given fills it, or what has become of that.
        numbers = _filled_with(parameter, default)
        return [*numbers, parameter] if isinstance(default, int | float) else [*numbers, parameter, True]
    if name in module._modules:
        return _part(module._modules[name], default)
    value = vars(module).get(name, module._buffers.get(name, _ABSENT))
    if value is _ABSENT and isinstance(getattr(type(module), name, None), property):
        with contextlib.suppress(Exception):
            value = getattr(module, name)
    return [] if value is _ABSENT else [value]


def _filled_with(parameter: Tensor, default: Any) -> list[int | float]:
    """The number that all entries of a tensor are, as a number of the default's kind."""
    if is_lazy(parameter) or parameter.is_meta or not parameter.numel() or parameter.is_complex():
        return []
    first = parameter.detach().flatten()[0]
    if not bool((parameter.detach() == first).all()) or (default is None and parameter.numel() > 1):
        return []
    return [round(first.item()) if type(default) is int else first.item()]


def _part(part: nn.Module | None, default: Any) -> list[Any]:
    p = getattr(part, "p", None)
    rate = [p] if isinstance(p, float) else []
    if isinstance(default, bool):
        return [part is not None, part]
    return [*rate, part, type(part)] if isinstance(default, float) else [part, *rate, type(part)]


# --- under another name


def _unclaimed(module: nn.Module, names: set[str]) -> list[Any]:
    """Numbers and words among the attributes that no argument is named after."""
    state = vars(module).items()
    return [value for name, value in state if name not in names and name != "training" and type(value) in _SCALARS][:8]


def _elsewhere(module: nn.Module, inherited: Sequence[Any], unclaimed: Sequence[Any]) -> list[Any]:
    """What an argument may have been that no attribute of its name keeps."""
    tensors = (*module._parameters.values(), *module._buffers.values())
    shapes = [tuple(t.shape) for t in tensors if t is not None and not is_lazy(t)]
    sizes = [size for shape in shapes for size in shape]
    alike = [value[0] for value in inherited if isinstance(value, tuple) and len(set(value)) == 1]
    values = (*alike, *inherited, *sizes, *unclaimed, *shapes)
    return list(dict.fromkeys(value for value in values if isinstance(value, _SCALARS) or type(value) is tuple))


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*(_another(entry) for entry in value[:1]), *value[1:])
    return value + 1 if isinstance(value, int | float) else f"another {value}"


def _present(choice: Config) -> Config:
    return {name: value for name, value in choice.items() if value is not _ABSENT}
