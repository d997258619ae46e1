"""Trace a model: one pass without computing tells which channels of which layers are one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map

from ..collecting import collection_paused
from ..distributed import refuse_wrapped
from ..errors import TraceError
from ..inputs import Arguments, arguments_of
from ..tree import refuse_no_model
from .answers.groups import Coupling, layer_of
from .constraints.atoms import NOWHERE, Where
from .constraints.integers import Widths
from .constraints.record import Notes, Record
from .cuts.cut import Numbers, widths_of
from .running.protocols import follow_protocols
from .running.siblings import follow_siblings
from .running.substituting import run, stand_in
from .running.watching import Operations
from .solving.classes import solve
from .solving.rows import rows_of

Choice: TypeAlias = "Callable[[Any], Any] | None"
# Module → its first name, and other name → first name.
Names: TypeAlias = "tuple[dict[nn.Module, str], dict[str, str]]"


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
        return _traced(model, (names, aliases), arguments_of(example_inputs), outputs)


def _traced(
    model: nn.Module, called: Names, given: Arguments, outputs: Choice, instead: Widths | None = None
) -> Coupling:
    """The coupling of a model as it is, or as if some tensors and integers were others."""
    names, aliases = called
    record = _followed(model, names, given, outputs, instead)
    modes = ["train" if model.training else "eval"]
    # What only the other mode runs, such as an auxiliary head, needs its channels, too.
    if _unseen(record) and _other_mode(model, names, record, given, outputs):
        modes.append("eval" if model.training else "train")
    # And so does what other values would have run.
    if record.deciding and _unseen(record):
        _once_more(model, names, record, given, outputs, on_meta=not record.computed, contrary=True)
    alike = follow_siblings(model, record)
    follow_protocols(names, record)
    unseen = tuple(_unseen(record))
    _freeze_unused(record)
    rows = rows_of(record)
    classes = solve(
        record.ledger,
        {row.split.number: row.product for row in rows},
        [(row.split.row, row.reason) for row in rows if row.reason is not None],
    )

    def again(numbers: Numbers) -> Coupling:
        return _traced(model, called, given, outputs, widths_of(record, numbers))

    kind = type(model).__name__
    return Coupling(
        record, classes, unseen, tuple(modes), kind, aliases, alike, rows, None if record.computed else again
    )


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


def _names(model: nn.Module) -> Names:
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


def _unseen(record: Record) -> list[str]:
    """Layers with parameters that nothing was computed with."""
    unused = record.parameters - record.touched
    return list(dict.fromkeys(layer_of(leaf) for leaf in record.leaves if leaf in unused)) if unused else []


def _freeze_unused(record: Record) -> None:
    """Nothing is known of what a tensor needs with which nothing was computed."""
    for leaf in [leaf for leaf in record.leaves if leaf not in record.touched]:
        record.ledger.where = Where("", layer_of(leaf))
        for axis in record.leaves[leaf]:
            record.ledger.freeze(axis, "not used on these inputs")


def _followed(
    model: nn.Module, names: dict[nn.Module, str], given: Arguments, outputs: Choice, instead: Widths | None
) -> Record:
    """One pass on meta; where the model reads values, one that computes."""
    record = Record(instead=instead)
    try:
        _pass(model, names, record, given, outputs, on_meta=True)
        return record
    except Exception as on_meta:
        if instead is not None or any(p.is_meta for p in model.parameters()):
            raise _failure(model, on_meta) from on_meta
    record = Record(computed=True)
    try:
        _pass(model, names, record, given, outputs, on_meta=False)
        return record
    except Exception as error:
        raise _failure(model, error) from error


def _other_mode(
    model: nn.Module, names: dict[nn.Module, str], record: Record, given: Arguments, outputs: Choice
) -> bool:
    """Run in train what is in eval and the other way round; answers whether that showed more of the model."""
    seen = set(record.touched)
    # Batch norms in train refuse one value a channel, so that one image may be too few.
    for copies in (1, 2):
        if _once_more(model, names, record, given, outputs, on_meta=True, flipped=True, copies=copies):
            break
    return bool(record.touched - seen)


def _once_more(
    model: nn.Module, names: dict[nn.Module, str], record: Record, given: Arguments, outputs: Choice, **how: Any
) -> bool:
    """Gather what holds on another way through the model, if it shows more of it; answers whether it can be run so."""
    seen, answers, work = set(record.touched), list(record.answers), len(record.work)
    gathered = tuple(_gathered(record))
    marks = [len(one) for one in gathered]
    runs = False
    # It may not run so, as a detector without targets in train: what it would need then isn't known.
    with suppress(Exception):
        _pass(model, names, record, given, outputs, **how)
        runs = True
    if not runs or not record.touched - seen:
        for one, mark in zip(gathered, marks, strict=True):
            del one[mark:]
        record.touched &= seen
    # Budgets are of what the model answers with on these inputs.
    record.answers = answers
    del record.work[work:]
    return runs


def _gathered(record: Record) -> Iterator[list[Any]]:
    """What says something about the model: sums and products of themselves ask for nothing."""
    yield from (record.ledger.ties, record.ledger.frozen, record.balanced, record.apart, record.mixing)
    yield from (record.integers.sites, record.integers.equations)


def _pass(
    model: nn.Module,
    names: dict[nn.Module, str],
    record: Record,
    given: Arguments,
    outputs: Choice,
    *,
    on_meta: bool,
    flipped: bool = False,
    copies: int = 1,
    contrary: bool = False,
) -> None:
    def stand(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.repeat(copies, *[1] * (value.dim() - 1)) if copies > 1 and value.dim() else value
        twin = stand_in(value, on_meta)
        twin._coupling = Notes([record.ledger.fixed(n, "the model's input") for n in value.shape])  # type: ignore[attr-defined]
        return twin

    record.ledger.where = NOWHERE
    with torch.inference_mode():
        args, kwargs = tree_map(stand, given)

    def see(output: Any, operations: Operations) -> None:
        _freeze_output(outputs(output) if outputs is not None else output, record, type(model).__name__)

    run(model, names, record, (args, kwargs), on_meta, flipped, see, contrary)


def _freeze_output(output: Any, record: Record, model: str) -> None:
    """Who uses the model relies on the shape of its answer."""
    ledger = record.ledger
    for tensor in _tensors(output, set()):
        notes = getattr(tensor, "_coupling", None)
        if not isinstance(notes, Notes):
            continue
        record.answers.append(notes.axes)
        ledger.frozen += [(axis, reason) for axis, reason in notes.pending]
        ledger.where = notes.where
        for axis in notes.axes:
            ledger.freeze(axis, f"the model's output ({model}.forward returns {notes.where.module or 'it'})")


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """All tensors in an answer, caches of keys and values left out: they are as wide as the model likes."""
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, (str, bytes, int, float, nn.Module)) or value is None:
        return
    seen.add(id(value))
    if type(value).__name__.endswith("Cache"):
        return
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        parts = list(value)
    else:
        parts = list(vars(value).values()) if hasattr(value, "__dict__") else []
    for part in parts:
        yield from _tensors(part, seen)


def _failure(model: nn.Module, error: Exception) -> TraceError:
    running = getattr(error, "_running", "") or ""
    place = f"{running} of {type(model).__name__}" if running else type(model).__name__
    return TraceError(
        f"{place} fails on these inputs: {type(error).__name__}: {_short(error)}",
        name=running,
        got=error,
        way_out="give example_inputs that the model takes as it is:  model(*inputs)",
    )


def _short(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
