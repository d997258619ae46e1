"""Layers that can't be converted at all, whatever to, and why."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import ConfigError
from .building import once_per_class


def refuse(old: nn.Module, new: Any) -> None:
    """Raises if `old` is of a kind that nothing can be made of, or `new` of one that can't be made."""
    if not (isinstance(new, type) and issubclass(new, nn.Module)):
        raise ConfigError(
            f"the class to convert to must be an nn.Module, and {new!r} is not.",
            expected="a subclass of nn.Module",
            got=new,
            way_out="ts.like(old, nn.GELU)",
        )
    reason = class_refusal(type(old)) or _state_refusal(old)
    if reason:
        raise ConfigError(f"{type(old).__name__} can't be converted to {new.__name__}: {reason[0]}.", way_out=reason[1])
    if issubclass(new, LazyModuleMixin):
        raise ConfigError(
            f"{type(old).__name__} can't be converted to {new.__name__}: a lazy layer has no sizes yet.",
            way_out=f"use the class that it becomes: {new.__name__.removeprefix('Lazy')}",
        )


@once_per_class
def class_refusal(cls: type) -> tuple[str, str] | None:
    """Why layers of this class can't be converted, and the way out."""
    if issubclass(cls, torch.jit.ScriptModule):
        return "it is a ScriptModule, whose structure is compiled", "alter the model before torch.jit.script or trace"
    if ".quantized" in cls.__module__ and cls.__module__.startswith("torch."):
        return "it is quantized", "alter the model before it is quantized"
    if cls.__module__.startswith("torch._dynamo"):
        return "it is the wrapper that torch.compile makes", "alter model._orig_mod, and compile again"
    return None


def _state_refusal(old: nn.Module) -> tuple[str, str] | None:
    if isinstance(old, LazyModuleMixin) and old.has_uninitialized_params():
        return "it is lazy and has no sizes yet", "run the model once:  model(*example_inputs)"
    if "parametrizations" in old._modules:
        name = next(iter(old.get_submodule("parametrizations")._modules), "weight")
        line = f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"
        return f"its {name} is parametrized", f"make it plain first:  {line}"
    for hook in old._forward_pre_hooks.values():
        maker = type(hook).__module__.removeprefix("torch.nn.utils.")
        if maker in _MAKERS:
            made = getattr(hook, "name", None) or getattr(hook, "_tensor_name", "weight")
            line = f"torch.nn.utils.{_MAKERS[maker]}(layer, {made!r})"
            return f"a hook, {type(hook).__name__}, makes its {made}", f"make it plain first:  {line}"
    return None


_MAKERS = {"weight_norm": "remove_weight_norm", "spectral_norm": "remove_spectral_norm", "prune": "prune.remove"}


def own_forward(old: nn.Module, base: type, new: type) -> ConfigError:
    """The error for a layer that does more than the class that has the rule."""
    return ConfigError(
        f"{type(old).__name__} can't be converted to {new.__name__} as if it were a {base.__name__}.",
        f"{type(old).__name__} has a forward of its own, and what that does would be lost.",
        expected=base,
        got=type(old),
        way_out=f"register what it comes to:  @ts.conversion({type(old).__name__}, {new.__name__})",
    )
