"""Whether a model with a layer of another shape still runs: tried on meta, where nothing is computed.

A layer that is given may give other widths or sizes than the old one, and that may be meant: a new head, a stem with a
smaller stride. Only a run tells whether the rest takes it. Where it can't be tried (no inputs are known, or the model
reads values), nothing is said: `check=` runs it for good. `check=False` takes the layer at its word.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .calls.reading import readings
from .changes import Change
from .checks.observing import blame
from .composites import Inserted
from .coupling.constraints.record import Record
from .coupling.running.substituting import kept, lay_in_tensors, plain_kernels, stand_in
from .distributed import is_wrapped
from .errors import PlanError
from .inputs import Arguments, arguments_of, guesses
from .layers.channels import shape_told

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class _Doubt(NamedTuple):
    """A change after which the model may no longer run.

    Attributes:
        change: The change.
        unread: Attributes of the old layer that are read above it, and that the new one doesn't have.
    """

    change: Change
    unread: Sequence[str]


def rehearsal(model: nn.Module, changes: Sequence[Change], example_inputs: Any = None) -> Callable[[], None] | None:
    """A function that raises if the altered model can't be run where the model as it is can; None if none is needed.

    Args:
        model: The model as it is; it is left so.
        changes: What is about to be done to it.
        example_inputs: What it is called with; by default some that it seems to take.
    """
    told = (_Doubt(change, _unread(model, change)) for change in changes)
    doubtful = [doubt for doubt in told if doubt.unread or _reshapes(doubt.change)]
    if not doubtful or is_wrapped(model):  # whose tensors can't be exchanged for a while
        return None
    given = guesses(model) if example_inputs is None else [arguments_of(example_inputs)]
    taken = next((arguments for arguments in given if _failure(model, arguments) is None), None)
    if taken is None:
        return None

    def confirm() -> None:
        error = _failure(model, taken)
        # The altered model may well take other inputs than before.
        if error is not None and not any(_failure(model, other) is None for other in guesses(model)):
            raise _broken(model, doubtful, error) from error

    return confirm


def _reshapes(change: Change) -> bool:
    """Whether what the next layer is given may have another shape than before, as far as layers tell."""
    if change.kind == "insert":
        return any(shape_told(layer) for layer in _inserted(change))
    if change.kind == "remove":  # a block may answer several things, a layer without a shape of its own does not
        return bool(change.old._modules or shape_told(change.old))
    return change.kind == "replace" and any(a != b for a, b in _told(change).values())


def _inserted(change: Change) -> list[nn.Module]:
    """The layers that come before or after the old one, with those inside of them."""
    beside = [change.new._modules.get("before"), change.new._modules.get("after")]
    return [module for layer in beside if layer is not None for module in layer.modules()]


def _unread(model: nn.Module, change: Change) -> list[str]:
    """Attributes of the old layer that the module above reads in its forward, and that the new one doesn't have."""
    # What only loses or gets channels, or follows others, has all that it had.
    if vars(change.old) is vars(change.new) or change.kind in ("prune", "widen", "follow"):
        return []
    wanted: dict[str, None] = {}
    for full_name in filter(None, change.names):
        try:
            above, name = _reader(model, full_name)
        except AttributeError:  # an earlier edit of the plan brings it
            continue
        reading = readings(type(above)).get(name)
        wanted.update(dict.fromkeys(sorted(reading.attributes, reverse=True) if reading else ()))
    return [key for key in wanted if _has(change.old, key) and not _has(change.new, key)]


def _has(layer: nn.Module, key: str) -> bool:
    return getattr(layer, key, None) is not None


def _reader(model: nn.Module, full_name: str) -> tuple[nn.Module, str]:
    """The module above a layer, and the layer's name there; what was inserted around it hands every reading on."""
    above, _, name = full_name.rpartition(".")
    module = model.get_submodule(above)
    return _reader(model, above) if above and isinstance(module, Inserted) else (module, name)


def _told(change: Change) -> dict[str, tuple[Any, Any]]:
    """What the old and the new layer say of their answers' shapes, where both say something of as many axes."""
    if vars(change.old) is vars(change.new):
        return {}
    before, after = shape_told(change.old), shape_told(change.new)
    both = {key: (value, after[key]) for key, value in before.items() if key in after}
    # Layers of another dimension come with other inputs, which this knows nothing of.
    other_axes = any(isinstance(a, tuple) and isinstance(b, tuple) and len(a) != len(b) for a, b in both.values())
    return {} if other_axes else both


def _failure(model: nn.Module, arguments: Arguments) -> Exception | None:
    """What the model raises when it runs without computing, hooks left out."""
    names = {module: name for name, module in model.named_modules()}
    with kept(names, Record()), plain_kernels(), torch.inference_mode():
        args, kwargs = tree_map(_stand_in, arguments)
        for module in names:
            module.__dict__.update((key, OrderedDict()) for key in _HOOKS)
        lay_in_tensors(Record(), names, on_meta=True)
        try:
            model(*args, **kwargs)
        except Exception as error:
            return error
    return None


def _stand_in(value: Any) -> Any:
    return stand_in(value, on_meta=True) if isinstance(value, Tensor) else value


def _broken(model: nn.Module, doubtful: Sequence[_Doubt], error: Exception) -> PlanError:
    (change, unread), others = doubtful[0], len(doubtful) - 1
    told = {key: (before, after) for key, (before, after) in _told(change).items() if before != after}
    if told:
        why = "its answer has another shape: " + ", ".join(f"{key} {a} → {b}" for key, (a, b) in told.items())
    elif unread:
        why = f"{' and '.join(unread)} of it {'is' if len(unread) == 1 else 'are'} read there, and the new one has none"
    elif change.kind == "insert":
        why = f"{', '.join(type(layer).__name__ for layer in _inserted(change)[:1])} takes or gives another shape"
    else:
        why = "what it was given goes on to the next layer"
    return PlanError(
        f"cannot {change.kind} {change.name or 'the model'} ({type(change.old).__name__})"
        f"{f' and {others} more' if others else ''} so: {type(model).__name__} no longer runs.",
        why,
        f"{_place(model, error)} fails then: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}",
        name=change.name,
        expected={key: before for key, (before, _) in told.items()} or unread,
        got={key: after for key, (_, after) in told.items()},
        way_out=_way_out(doubtful),
    )


def _place(model: nn.Module, error: Exception) -> str:
    names = {module: name for name, module in model.named_modules()}
    at = blame(error, names.keys()).module
    return f"{names[at] or 'the model'} ({type(at).__name__})" if at in names else type(model).__name__


def _way_out(doubtful: Sequence[_Doubt]) -> str:
    change, unread = doubtful[0]
    if change.kind == "insert":
        return "give one of the width that the stream has there; what layers answer is in  ts.inspect(model, x)"
    if not unread or _told(change):
        return "change what takes it in the same plan:  ts.plan(model).replace(…).replace(…).apply()"
    keys = dict.fromkeys(doubt.change.name.rpartition(".")[2] for doubt in doubtful if doubt.unread)
    patterns = ", ".join(f"'**.{key}'" for key in keys)
    left_out = f"ts.select(model, …) - ts.select(model, {patterns if len(keys) == 1 else f'({patterns})'})"
    return f"leave it out:  {left_out}  or give {type(change.new).__name__} a property {unread[0]}"
