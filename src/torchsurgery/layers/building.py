"""Layer objects from a class and its constructor arguments: without memory, without random numbers, and cheaply.

A *skeleton* is a layer whose tensors lie on the meta device. It tells the names and shapes of a layer that does not
exist yet, and becomes that layer once every tensor in it has been put in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from ..randomness import random_state_kept

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


def once_per_class(function: _F) -> _F:
    """Remembers the answers of a function of classes."""
    return cast(_F, lru_cache(maxsize=4096)(function))


# --- signatures


@dataclass(frozen=True, slots=True)
class Signature:
    """What a class's constructor takes: `names` in order, those that are `required`, and the `defaults` of the rest."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    defaults: Mapping[str, Any]
    takes_any: bool


_DECLARED: dict[type, Signature] = {}


def declare_signature(cls: type, required: tuple[str, ...], **defaults: Any) -> None:
    """States the arguments of a class whose constructor hides them behind `*args, **kwargs`."""
    _DECLARED[cls] = Signature((*required, *defaults), required, defaults, False)
    signature_of.cache_clear()  # type: ignore[attr-defined]


@once_per_class
def signature_of(cls: type[nn.Module]) -> Signature:
    """The constructor's arguments; those behind `**kwargs` or `*args` are looked for in the base classes.

    `device` and `dtype` are left out: they follow the tensors.
    """
    found: dict[str, inspect.Parameter] = {}
    takes_any = False
    for base in cls.__mro__:
        if base in _DECLARED:
            return _merged(found, _DECLARED[base])
        if base in (nn.Module, object) or "__init__" not in base.__dict__:
            continue
        constructor = base.__dict__["__init__"]
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        if not takes_any:
            break
    return _merged(found, Signature((), (), {}, takes_any))


def _merged(found: Mapping[str, inspect.Parameter], rest: Signature) -> Signature:
    own = {name: p for name, p in found.items() if name not in ("device", "dtype")}
    required = tuple(name for name, p in own.items() if p.default is p.empty)
    defaults = {name: p.default for name, p in own.items() if p.default is not p.empty}
    further = tuple(name for name in rest.names if name not in own)
    return Signature(
        (*own, *further),
        (*required, *(name for name in rest.required if name not in own)),
        {**{name: rest.defaults[name] for name in further if name in rest.defaults}, **defaults},
        rest.takes_any,
    )


# --- constructors


_FILLING = frozenset(
    {
        *(
            getattr(nn.init, name)
            for name in ("uniform_", "normal_", "constant_", "kaiming_uniform_", "kaiming_normal_")
        ),
        *(getattr(Tensor, name) for name in ("uniform_", "normal_", "fill_", "zero_")),
    }
)


class _OnMeta(TorchFunctionMode):
    """As `torch.device("meta")`, but filling a meta tensor, which does nothing, takes no time either."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLING:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        elif func in _device_constructors() and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def skeleton(cls: type[nn.Module], config: Mapping[str, Any]) -> nn.Module:
    """A layer of class `cls` with its tensors on the meta device; the random state stays as it is.

    A constructor that doesn't run on meta runs for real.
    """
    key = _key(cls, config)
    if key is None:
        return _construct_apart(cls, config)
    template = _TEMPLATES.get(key)
    if template is None:
        template = _construct_apart(cls, config)
        if _is_plain(template):
            if len(_TEMPLATES) >= _MOST_TEMPLATES:
                _TEMPLATES.clear()
            _TEMPLATES[key] = template
    return _copied(template, cls) if _is_plain(template) else template


_TEMPLATES: dict[Any, nn.Module] = {}
_MOST_TEMPLATES = 1024
_SIMPLE = (int, float, bool, str, type(None))


def _key(cls: type[nn.Module], config: Mapping[str, Any]) -> Any:
    # Only torch's own constructors are known to make the same layer each time.
    if not cls.__module__.startswith("torch.nn.") or not all(_is_simple(value) for value in config.values()):
        return None
    return cls, torch.get_default_dtype(), tuple((name, type(value), value) for name, value in config.items())


def _is_simple(value: Any) -> bool:
    return isinstance(value, _SIMPLE) or (isinstance(value, tuple) and all(isinstance(v, _SIMPLE) for v in value))


def _is_plain(layer: nn.Module) -> bool:
    return not layer._modules and not any(value for name, value in vars(layer).items() if name.endswith("_hooks"))


def _copied(layer: nn.Module, cls: type[nn.Module]) -> nn.Module:
    new = cls.__new__(cls)
    state = {name: _own(value) for name, value in vars(layer).items()}
    vars(new).update(state)
    return new


def _own(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list | set) else value


def _construct_apart(cls: type[nn.Module], config: Mapping[str, Any]) -> nn.Module:
    with random_state_kept():
        try:
            with _OnMeta():
                return cls(**config)
        except Exception:
            return cls(**config)


def real(cls: type[nn.Module], config: Mapping[str, Any], device: torch.device | None) -> nn.Module:
    """A layer as its constructor initialises it, on `device`; consumes random numbers."""
    if device is None:
        return cls(**config)
    with device:
        return cls(**config)


# --- tensors


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by its name, shared ones under each of their names."""
    found: dict[str, Tensor] = {}
    for prefix, part in module.named_modules(remove_duplicate=False) if module._modules else (("", module),):
        for slots in (part._parameters, part._buffers):
            found.update({f"{prefix}.{name}" if prefix else name: t for name, t in slots.items() if t is not None})
    return found


def is_inexact(tensor: Tensor) -> bool:
    """Whether its numbers are real or complex rather than whole: those follow a layer's dtype."""
    return tensor.is_floating_point() or tensor.is_complex()


def put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Puts a tensor into the slot that `name` stands for, a parameter or a buffer as before."""
    owner, _, last = name.rpartition(".")
    part = module.get_submodule(owner) if owner else module
    slots: dict[str, Tensor | None] = part._parameters if last in part._parameters else part._buffers  # type: ignore[assignment]
    slots[last] = tensor


def adopted(cls: type[nn.Module], old: nn.Module) -> nn.Module:
    """An object of class `cls` with the attributes, tensors and submodules of `old`, and no hooks."""
    new = cls.__new__(cls)
    state = vars(new)
    state.update(vars(old))
    for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
        state[name] = state[name].copy()
    for name in _HOOKS:
        if name in state:
            state[name] = type(state[name])()
    return new


_HOOKS = tuple(name for name, value in vars(nn.Module()).items() if name.endswith("_hooks") or "_hooks_" in name)
