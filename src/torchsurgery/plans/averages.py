"""The same edits for an averaged copy of a model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from ..calls.places import functions_in, with_calls
from ..changes import Change
from ..edits import CallsToLayers, Edit, Fold, Insert, Recut, Replace, Resize
from ..errors import PlanError
from ..layers.building import tensors_of
from ..layers.functional import Function
from ..origins import Grown, Initialised
from ..selection import Selection, resolve
from .base import Planning


def alike(original: Planning, averaged: nn.Module) -> Planning:
    """The same edits for an averaged copy of the model, begun with the same new weights."""
    target = getattr(averaged, "module", averaged)
    if not isinstance(target, nn.Module) or type(target) is not type(original.draft.model) or target is averaged:
        raise PlanError(
            f"ema= must be an average of this {type(original.draft.model).__name__}, got {type(averaged).__name__}.",
            got=averaged,
            way_out="give the AveragedModel that was made of it:  torch.optim.swa_utils.AveragedModel(model)",
        )
    twin = type(original)(target)
    for planned in original.planned:
        names = {name for change in planned.changes if change.kind != "follow" for name in change.names}
        seen = with_calls(twin.draft, _functions(planned.edit))
        places = tuple(p for p in resolve(seen, ("**",), {}, None, False) if names.intersection(p.names))
        if missing := sorted(names.difference(*(p.names for p in places))):
            raise PlanError(
                f"ema= must be an average of this very model, and has no {', '.join(missing)}.",
                got=averaged,
                way_out="give the AveragedModel that was made of it:  torch.optim.swa_utils.AveragedModel(model)",
            )
        if isinstance(planned.edit, Fold | Recut | Resize):
            twin = twin.then(planned.edit)
            continue
        edit = replace(planned.edit, target=Selection(twin.draft.model, places))
        if isinstance(edit, Replace | Insert) and isinstance(edit.new, nn.Module):
            edit = replace(edit, new=copy.deepcopy(edit.new))
        twin = twin.then(edit)
    for change, other in zip(original.changes, twin.changes, strict=True):
        _begin_alike(change, other)
    return twin


def _functions(edit: Edit) -> Iterator[Function]:
    if isinstance(edit, CallsToLayers):
        yield from functions_in(edit.target)


def _begin_alike(change: Change, other: Change) -> None:
    """Give what was initialised in the copy's new layer the values that it has in the model's."""
    values = tensors_of(change.new)
    for name, tensor in tensors_of(other.new).items():
        ours, theirs = change.origins.get(name), other.origins.get(name)
        if isinstance(theirs, Initialised):
            tensor.data.copy_(values[name].data)
        elif isinstance(ours, Grown) and isinstance(theirs, Grown):
            # What is among it is put there when the plan is applied.
            theirs.drawn[:] = ours.drawn
