"""Batch norms held as they are: `ts.freeze_norms`."""

from __future__ import annotations

from typing import Any, overload

from torch import nn

from .edits import Replace
from .errors import ConfigError, PlanError
from .layers.frozen import held
from .layers.norm import BATCH
from .plans import Plan, plan
from .recipes.ways import converter
from .selection import Place, Selection, Target, resolve
from .surgery import Surgery


@overload
def freeze_norms(
    model: nn.Module, target: Target = ..., /, *, statistics_only: bool = ..., check: Any = ...
) -> Surgery: ...
@overload
def freeze_norms(model: Plan, target: Target = ..., /, *, statistics_only: bool = ...) -> Plan: ...
def freeze_norms(
    model: nn.Module | Plan, target: Target = BATCH, /, *, statistics_only: bool = False, check: Any = None
) -> Surgery | Plan:
    """Hold batch norms as they are: in training, they compute what they do in evaluation.

    Each becomes a `FrozenBatchNorm`, whose weight and bias are buffers: `model.train()` doesn't wake it, an optimizer
    doesn't find it, and its keys in the state dict are the same, so that checkpoints load both ways.

    Args:
        model: The model, which is changed in place; or a plan for one, which grows by what is to be done.
        target: See `select`; by default every batch norm. Those that track no statistics, or whose class has a forward
            of its own, stay; the plan says why.
        statistics_only: Whether weight and bias go on being trained.
        check: Inputs for `ts.check`; when it fails, everything is taken back.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back. For a plan, the longer plan.

    Raises:
        SelectionError: if nothing is selected.
        PlanError: if none of the norms can be held.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        >>> ts.freeze_norms(net)
        Surgery on Sequential: 1 layer replaced · params 232 → 216 · undo() takes it back
        >>> net[1]
        FrozenBatchNorm(8, eps=1e-05, trainable=False)
    """
    begun = model if isinstance(model, Plan) else plan(model)
    longer = _plan(begun, target, statistics_only)
    return longer if isinstance(model, Plan) else longer.apply(check=check)


def _plan(begun: Plan, target: Target, trainable: bool) -> Plan:
    left: dict[str, str] = {}
    places = resolve(begun.draft, (target,), {}, None, False)
    for place in places:
        try:
            held(place.module, trainable)
        except ConfigError as err:
            left[place.name] = str(err).partition("\n")[0].rstrip(".")
    chosen = tuple(Place(place.module, place.names) for place in places if place.name not in left)
    if not chosen:
        rows = [f"{name}: {why}" for name, why in list(left.items())[:8]]
        raise PlanError(
            "none of these can be frozen.", *rows, got=left, way_out="ts.freeze_norms(model, nn.BatchNorm2d)"
        )
    new = converter("FrozenBatchNorm", "frozen", {"trainable": trainable})
    return begun.then(Replace(Selection(begun.draft.model, chosen), new, left=left))
