"""What each module of a model has and computes: counted in one run on stand-ins, which computes nothing.

running  the run, and what each module did in it · table  the answer
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .. import text
from ..checks.observing import tensors_in
from ..distributed import refuse_wrapped
from ..errors import TraceError
from ..inputs import Arguments, arguments_of, guesses
from ..stats import Cost, Row, own_size
from ..tree import refuse_no_model
from .running import Watch, run
from .table import Stats as Stats


def inspect(model: nn.Module, example_inputs: Any = None) -> Stats:
    """What a model consists of and what it computes, module by module.

    It is run once in eval, on the meta device where its code allows that: nothing is computed then. Afterwards it is
    what it was. Parameters are `sum(p.numel() for p in model.parameters())`; multiply-adds are half of what
    `torch.utils.flop_counter.FlopCounterMode` counts, fused kernels left aside.

    Args:
        model: Any module, on any device.
        example_inputs: What it is called with: a tensor, a tuple of positional or a dict of keyword arguments. By
            default what its configuration or its first layer asks for.

    Returns:
        One row for each module; printed, it is a tree. What several modules share is counted once, with the first.

    Raises:
        TraceError: if the model fails on these inputs, or none are found that it takes, or it is sharded by FSDP or
            wrapped in DDP already.

    Example:
        >>> stats = ts.inspect(model, torch.zeros(1, 3, 224, 224))
        >>> stats.params, stats.macs, stats["layer1"].output
        (11689512, 1814073344, ((1, 64, 56, 56),))
    """
    refuse_no_model(model)
    if example_inputs is not None:
        return _measured(model, arguments_of(example_inputs))
    arguments, watch = _found(model)
    return _table(model, arguments, watch)


def found_inputs(model: nn.Module) -> Any:
    """Inputs that a model takes, as far as a run on stand-ins can tell: a tensor, or named ones.

    Args:
        model: Any module.

    Raises:
        TraceError: if none are found.

    Example:
        >>> found_inputs(nn.Linear(3, 2)).shape
        torch.Size([2, 3])
    """
    (args, kwargs), _ = _found(model)
    return kwargs or (args[0] if len(args) == 1 else args)


def _found(model: nn.Module) -> tuple[Arguments, Watch]:
    refuse_wrapped(model)
    tried: list[TraceError] = []
    for arguments in guesses(model):
        try:
            return arguments, run(model, arguments)
        except TraceError as error:
            tried.append(error)
    name = type(model).__name__
    raise TraceError(
        f"no inputs were found that {name} takes; {len(tried)} were tried.",
        *dict.fromkeys(str(error).partition("\n")[0] for error in tried[-3:]),
        name="",
        way_out="give some:  ts.inspect(model, torch.randn(1, 3, 224, 224))",
    )


def without_run(model: nn.Module) -> Stats:
    """What a model consists of, where it can't be run: no shapes and no multiply-adds.

    Args:
        model: Any module.
    """
    return Stats(tuple(_rows(model, Watch({}, FlopCounterMode(display=False)))), (), _device(model))


def _measured(model: nn.Module, arguments: Arguments) -> Stats:
    return _table(model, arguments, run(model, arguments))


def _table(model: nn.Module, arguments: Arguments, watch: Watch) -> Stats:
    inputs = tuple((tuple(t.shape), str(t.dtype).removeprefix("torch.")) for t in tensors_in(arguments))
    return Stats(tuple(_rows(model, watch)), inputs, _device(model))


def _device(model: nn.Module) -> str:
    tensor = next(itertools.chain(model.parameters(), model.buffers()), None)
    return str(tensor.device) if tensor is not None else "cpu"


def _rows(model: nn.Module, watch: Watch) -> Iterator[Row]:
    """One row for each module, with what lies inside added up."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    counted: set[int] = set()
    own = {module: _own(module, watch, counted) for module in names}
    total = dict(own)
    by_name = {known[0]: module for module, known in names.items()}
    for module, (first, *_) in reversed(names.items()):
        if first:
            above = by_name[first.rpartition(".")[0]]
            total[above] = total[above] + total[module]
    for module, known in names.items():
        yield Row(
            tuple(known),
            type(module).__name__,
            text.short(module),
            watch.outputs.get(module, ()),
            watch.calls[module],
            own[module],
            total[module],
        )


def _own(module: nn.Module, watch: Watch, counted: set[int]) -> Cost:
    size, trainable = own_size(module, counted)
    return Cost(size.params, trainable, size.bytes, watch.macs[module])
