"""Trace a model: one pass without computing tells which channels of which layers are one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..collecting import collection_paused
from ..distributed import refuse_wrapped
from ..errors import TraceError
from ..inputs import arguments_of
from ..tree import refuse_no_model
from .answers.groups import Coupling
from .constraints.integers import Widths
from .cuts.cut import Numbers, widths_of
from .running.passes import Passes
from .running.protocols import follow_protocols
from .running.siblings import follow_siblings
from .solving.rows import rows_of
from .solving.solver import solve


def trace(model: nn.Module, example_inputs: Any, *, outputs: Callable[[Any], Any] | None = None) -> Coupling:
    """Find out which channels of which layers belong together, in one pass without computing anything.

    Args:
        model: Any module, in train or eval, on any device, on meta too. It is left as it was: no hook, buffer, cache or
            random number differs afterwards.
        example_inputs: What the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.
            Their values don't matter, except those of whole numbers.
        outputs: What of the model's answer must keep its shape, as a function of the answer: `lambda out: out.logits`.
            All of it by default.

    Returns:
        The coupling: `.groups`, `.group(name)`, and why what is frozen is so.

    Raises:
        TraceError: if the model fails on these inputs; it names the module, and the model's own error is its cause. Or
            if it is sharded by FSDP or wrapped in DDP already.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> print(ts.trace(net, torch.randn(1, 3, 16, 16)).group("0"))
        3 modules change together: 2 that give these channels
        (0, 1)
        and 1 that take them (3).
          0 → batch_norm (1) → 1
    """
    refuse_no_model(model)
    with collection_paused():
        names, aliases = _names(model)
        refuse_wrapped(model, names)
        _refuse_untraceable(names)
        return _traced(Passes(model, names, arguments_of(example_inputs), outputs), aliases)


def _traced(passes: Passes, aliases: Mapping[str, str], instead: Widths | None = None) -> Coupling:
    """The coupling of a model as it is, or as if some tensors and integers were others."""
    record = passes.first(instead)
    modes = passes.further(record)
    alike = follow_siblings(passes.model, record)
    follow_protocols(passes.names, record)
    unseen = tuple(record.unseen())
    record.freeze_untouched()
    rows = rows_of(record)
    classes = solve(
        record.ledger,
        {row.split.number: row.product for row in rows},
        [(row.split.row, row.reason) for row in rows if row.reason is not None],
    )

    def again(numbers: Numbers) -> Coupling:
        return _traced(passes, aliases, widths_of(record, numbers))

    kind = type(passes.model).__name__
    return Coupling(record, classes, unseen, modes, kind, aliases, alike, rows, None if record.computed else again)


def _refuse_untraceable(names: Mapping[nn.Module, str]) -> None:
    """Raise on what shows nobody its operations, or isn't there yet."""
    kinds = set(map(type, names))
    scripted = {kind for kind in kinds if any(base.__module__.startswith("torch.jit") for base in kind.__mro__)}
    for module, name in names.items():
        if scripted and type(module) in scripted:
            raise TraceError(
                f"{_label(module, name)} is TorchScript, which doesn't show its operations.",
                name=name,
                way_out="change the model before it is scripted:  ts.prune(model, …); torch.jit.script(model)",
            )
        tensors = (*module._parameters.values(), *module._buffers.values())
        if any(tensor is not None and is_lazy(tensor) for tensor in tensors):
            raise TraceError(
                f"{_label(module, name)} is lazy, and has seen no input yet that would tell its sizes.",
                name=name,
                way_out="run the model once before:  model(x)",
            )


def _label(module: nn.Module, name: str) -> str:
    return f"{name} ({type(module).__name__})" if name else type(module).__name__


def _names(model: nn.Module) -> tuple[dict[nn.Module, str], dict[str, str]]:
    """Each module with its first name, and the other names of shared ones.

    In the order of `named_modules(remove_duplicate=False)`, which takes several times as long.
    """
    names: dict[nn.Module, str] = {}
    aliases: dict[str, str] = {}
    todo: list[tuple[str, nn.Module]] = [("", model)]
    while todo:
        name, module = todo.pop()
        first = names.setdefault(module, name)
        if first != name:
            aliases[name] = first
        if module._modules:
            prefix = f"{name}." if name else ""
            todo += [(prefix + key, child) for key, child in reversed(module._modules.items()) if child is not None]
    return names, aliases
