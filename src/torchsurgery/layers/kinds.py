"""Layers that no constructor call makes: scripted, traced, compiled, quantised, parametrised, wrapped."""

from __future__ import annotations

from torch import jit, nn

from .comparing import Differs

# By name, so that none of these has to be imported to be recognised.
_FOREIGN = {
    "torch.fx.graph_module.GraphModule": ("a traced graph", "take the module that was traced"),
    "torch._dynamo.eval_frame.OptimizedModule": ("compiled", "take the module inside:  compiled._orig_mod"),
    "torch.nn.parallel.distributed.DistributedDataParallel": (
        "a wrapper for processes",
        "ts.config_of(wrapped.module)",
    ),
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": (
        "a wrapper for processes",
        "ts.config_of(wrapped.module)",
    ),
}
_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.quantizable", "torch.ao.nn.intrinsic", "torch.ao.nn.qat")
_KNOWN: dict[type, tuple[str, str] | None] = {}


def refuse_foreign(module: nn.Module) -> None:
    """Raises Differs for a layer that isn't made by calling its class."""
    cls = type(module)
    if cls not in _KNOWN:
        _KNOWN[cls] = _foreign(cls)
    found = _KNOWN[cls]
    if found is not None:
        raise Differs(f"it is {found[0]}", found[1])
    if "parametrizations" in module._modules:
        names = ", ".join(module._modules["parametrizations"]._modules)  # type: ignore[union-attr]
        way_out = f"torch.nn.utils.parametrize.remove_parametrizations(layer, {names.split(', ')[0]!r})"
        raise Differs(f"it is parametrised: {names} is computed, and {cls.__name__} is a generated class", way_out)


def _foreign(cls: type[nn.Module]) -> tuple[str, str] | None:
    if issubclass(cls, jit.ScriptModule):
        return "a ScriptModule", "take the module that was scripted"
    for base in cls.__mro__:
        if base.__module__.startswith(_QUANTISED):
            return "quantised", "take the layer from before it was quantised"
        if (found := _FOREIGN.get(f"{base.__module__}.{base.__qualname__}")) is not None:
            return found
    return None
