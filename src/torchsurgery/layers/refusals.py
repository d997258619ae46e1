"""Layers that can't be converted at all, whatever to, and why."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import ConfigError


def refuse(old: nn.Module, new: type[nn.Module]) -> None:
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
            f"{type(old).__name__} can't be converted to {new.__name__}: a lazy layer has no sizes to carry weights into.",
            way_out=f"use the class that it becomes: {new.__name__.removeprefix('Lazy')}",
        )


@lru_cache(maxsize=4096)
def class_refusal(cls: type) -> tuple[str, str] | None:
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
        tensor = next(iter(old._modules["parametrizations"]._modules), "weight")  # type: ignore[union-attr]
        line = f"torch.nn.utils.parametrize.remove_parametrizations(layer, {tensor!r})"
        return f"its {tensor} is parametrized", f"make it plain first:  {line}"
    for hook in old._forward_pre_hooks.values():
        if (line := _PLAIN_AGAIN.get((type(hook).__module__, type(hook).__name__.removesuffix("Norm")))) or (
            type(hook).__module__ == "torch.nn.utils.prune" and (line := "torch.nn.utils.prune.remove(layer, {name!r})")
        ):
            name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", "weight")
            owner = type(hook).__name__
            return f"a hook ({owner}) makes its {name}", "make it plain first:  " + line.format(name=name)
    return None


_PLAIN_AGAIN = {
    ("torch.nn.utils.weight_norm", "Weight"): "torch.nn.utils.remove_weight_norm(layer, {name!r})",
    ("torch.nn.utils.spectral_norm", "Spectral"): "torch.nn.utils.remove_spectral_norm(layer, {name!r})",
}


def own_forward(old: nn.Module, base: type, new: type) -> ConfigError:
    return ConfigError(
        f"{type(old).__name__} can't be converted to {new.__name__} as if it were a {base.__name__}.",
        f"{type(old).__name__} has a forward of its own, and what that does would be lost.",
        expected=base,
        got=type(old),
        way_out=f"register what it comes to:  @ts.conversion({type(old).__name__}, {new.__name__})",
    )
