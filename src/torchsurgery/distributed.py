"""What DDP and FSDP have recorded about a model's Parameters, and which edits that forbids."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .errors import PlanError, TraceError
from .tree import Draft, every_module


def is_distributed() -> bool:
    """Whether this is one of several processes that train together."""
    return dist.is_available() and dist.is_initialized()


def refuse_new_parameters(draft: Draft, name: str, label: str, old: nn.Module, new: nn.Module) -> None:
    """Raise if `new` brings or drops Parameters where FSDP or DDP has recorded those of `old`.

    DDP's reducer waits for the gradients of the Parameters that it was built with, and never sees others; FSDP2 neither
    gathers nor synchronises what came after `fully_shard`, and its checkpoints save it in silence.

    Raises:
        PlanError: naming the layer and the way out.
    """
    if set(map(id, old.parameters())) == set(map(id, new.parameters())):
        return
    above = [draft.root, *(module for module, _ in draft.ancestors(name))]
    sharded = [module for module in (old, *above) if is_sharded(type(module))]
    if sharded and not _is_whole_unit(old, new):
        raise PlanError(
            f"cannot put other Parameters into {label}: it belongs to an FSDP unit ({type(sharded[0]).__name__}), "
            "which would neither gather nor synchronise them.",
            name=name,
            way_out="change the model before fully_shard(model), or give a new unit that fully_shard was called on",
        )
    if wrapper := _ddp_around(above):
        raise PlanError(
            f"cannot put other Parameters into {label}: {wrapper} has built its reducer with the old ones.",
            name=name,
            way_out="change the model first, then wrap it:  ts.replace(net, …); DistributedDataParallel(net)",
        )


def refuse_wrapped(model: nn.Module, modules: Iterable[nn.Module] | None = None) -> None:
    """Raise on what can't be run with other tensors than its own: FSDP's hooks, and DDP's reducer, have recorded them.

    Laid in for a trace, such tensors would be what FSDP gathers and shards from then on.

    Args:
        model: Any module.
        modules: All its modules, if they are known.

    Raises:
        TraceError: naming the module and the way out.
    """
    for name, module in model.named_modules() if is_wrapped(model, modules) else ():
        kind = type(module)
        label = f"{name} ({kind.__name__})" if name else kind.__name__
        if is_sharded(kind):
            raise TraceError(
                f"{label} is sharded by FSDP, which can't be run with stand-ins for its Parameters.",
                "so it can be neither traced nor measured, pruned, widened or given other ends.",
                name=name,
                got=module,
                way_out="trace or prune first, then wrap:  ts.prune(net, …); fully_shard(net)",
            )
        if isinstance(module, DistributedDataParallel):
            raise TraceError(
                f"{label} has built its reducer with the model's Parameters, and can't be run with stand-ins for them.",
                "so it can be neither traced nor measured, pruned, widened or given other ends.",
                name=name,
                got=module,
                way_out="trace or prune first, then wrap:  ts.prune(net, …); DistributedDataParallel(net)",
            )


def is_wrapped(model: nn.Module, modules: Iterable[nn.Module] | None = None) -> bool:
    """Whether there is something in a model that `refuse_wrapped` refuses."""
    kinds = set(map(type, every_module(model) if modules is None else modules))
    return any(is_sharded(kind) or issubclass(kind, DistributedDataParallel) for kind in kinds)


def is_sharded(kind: type) -> bool:
    """Whether a class is that of a module on which `fully_shard` or FSDP was called."""
    return any(base.__name__ in ("FSDPModule", "FullyShardedDataParallel") for base in kind.__mro__)


def _is_whole_unit(old: nn.Module, new: nn.Module) -> bool:
    """A block that was a unit of its own may give way to another one."""
    return is_sharded(type(old)) and is_sharded(type(new))


def recount_buffers(model: nn.Module) -> None:
    """Have DDP look up the buffers anew: it would broadcast those that it found when the model had others, or fail."""
    if not is_distributed():
        return
    modules = set(model.modules())
    for wrapper in _wrappers():
        if {wrapper, wrapper._modules.get("module")} & modules or model in wrapper.modules():
            wrapper._assign_modules_buffers()  # type: ignore[no-untyped-call]


def _wrappers() -> Iterator[DistributedDataParallel]:
    for thing in gc.get_objects():
        # isinstance() would ask proxies for their class and wake them.
        if issubclass(type(thing), DistributedDataParallel):
            yield thing


def _ddp_around(modules: list[nn.Module]) -> str | None:
    """The class name of a DDP wrapper that holds one of `modules`, even where the user has passed `ddp.module`."""
    if any(isinstance(module, DistributedDataParallel) for module in modules):
        return "DistributedDataParallel"
    wanted = {id(module) for module in modules}
    for wrapper in _wrappers():
        if id(wrapper._modules.get("module")) in wanted:
            return "DistributedDataParallel"
    return None
