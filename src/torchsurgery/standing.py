"""Whether what a plan was made for, and what it has put there, still stands where it stood."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

from torch import nn

from . import text
from .changes import Add, Become, Change, Placing, Put, Refresh, Retype
from .errors import PlanError, SurgeryError
from .layers.assembling import sources_of
from .layers.building import tensors_of
from .origins import Same
from .tree import every_module

# Written as a tuple, since a union would be made anew for each of thousands of steps.
_PLACINGS = (Retype, Become, Put, Add)


def _placings(changes: Sequence[Change]) -> Iterator[tuple[Change, Retype | Become | Put | Add]]:
    for change in changes:
        for step in change.steps:
            if isinstance(step, _PLACINGS):
                yield change, step


def last_placings(changes: Sequence[Change]) -> list[tuple[Change, Placing]]:
    """What will have been put where: of two steps with one target the later one counts."""
    return list({step.target: (change, step) for change, step in _placings(changes)}.values())


def refuse_if_stale(model: nn.Module, changes: Sequence[Change]) -> None:
    """Raise if the model no longer holds what it held when the plan was made."""
    written: set[Hashable] = set()
    there = every_module(model)
    for change, step in _placings(changes):
        owner = step.module if isinstance(step, (Retype, Become)) else step.owner
        if owner not in there:
            there |= {module for other in changes for module in other.new.modules()}  # what the plan itself has brought
        target = step.target
        if owner not in there or (target not in written and not step.fits()):
            raise PlanError(
                f"{change.name or 'the model'} is no longer the layer that the plan was made for.",
                f"expected {text.layer(change.old)}",
                name=change.name,
                expected=change.old,
                way_out="make the plan anew:  ts.plan(model)",
            )
        written.add(target)
    for change in changes:
        if change.origins and (name := _rebound(change)):
            raise PlanError(
                f"{f'{change.name}.{name}'.lstrip('.')} is no longer the tensor that the plan was made for.",
                name=change.name,
                expected=name,
                way_out="make the plan anew:  ts.plan(model)",
            )


def _rebound(change: Change) -> str | None:
    """A tensor that was to be carried, where the old layer has been assigned another one since."""
    old, new = sources_of(change.old, change.beside), tensors_of(change.new)
    for name, origin in change.origins.items():
        if isinstance(origin, Same) and old.get(origin.source) is not new.get(name):
            return origin.source
    refreshed = (step for step in change.steps if isinstance(step, Refresh))
    sources = ((name, step.sources[name]) for step in refreshed for name in step.origin.sources)
    return next((name for name, tensor in sources if old.get(name) is not tensor), None)


def refuse_if_moved(placed: Iterable[tuple[Change, Placing]]) -> None:
    """Raise if the model was changed by other means since, so that restoring would mix the two."""
    for change, step in placed:
        if not step.stands():
            raise SurgeryError(
                f"{change.name or 'the model'} was changed since by other means than this library.",
                f"expected {text.layer(change.new)}",
                name=change.name,
                expected=change.new,
                way_out="put back what the surgery had left there, then undo",
            )
