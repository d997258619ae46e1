"""Apply and undo, all or nothing. Nobody else runs steps."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from . import history, text
from .changes import Become, Change, Placing, Put, Restore, Retype, Step
from .checks import check as run_check
from .errors import PlanError, SurgeryError
from .stats import Size


@dataclass(slots=True)
class _State:
    """What a surgery needs to be taken back; emptied when it is."""

    restores: list[Restore]
    entry: history.Entry
    where: tuple[Any, Any] | None


@dataclass(frozen=True, eq=False)
class Surgery:
    """What was done to a model.

    Attributes:
        model: The altered model.
        changes: What was done, in order.
        before: The model's size before.
        after: The model's size after.
    """

    model: nn.Module
    changes: tuple[Change, ...]
    before: Size
    after: Size
    model_name: str
    _state: list[_State] = field(repr=False)

    @property
    def in_force(self) -> bool:
        """Whether it has not been undone."""
        return bool(self._state)

    def undo(self) -> None:
        """Take it back: the very objects that were there stand where they stood.

        Parameters that were carried keep what training has made of them; layers that come back have the mode, dtype and
        device that the model has by now.

        Raises:
            SurgeryError: if it is undone already, a later surgery is still in force, or the model was changed since by
                other means. Nothing has changed then.

        Example:
            >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
            >>> done = ts.replace(net, nn.ReLU, nn.GELU)
            >>> done.undo()
            >>> net[1]
            ReLU()
        """
        if not self._state:
            raise SurgeryError(f"this surgery on {self.model_name} has been undone already.")
        state = self._state[0]
        if not history.is_last(self.model, state.entry):
            raise SurgeryError(
                f"a later surgery on {self.model_name} is still in force.",
                way_out="undo that one first, the last comes first",
            )
        _refuse_if_moved(self.changes)
        _restore_all(state.restores)
        history.forget(self.model, state.entry)
        _follow_model(self.model, self.changes, state.where)
        self._state.clear()
        _forget_graphs(self.model)

    def __repr__(self) -> str:
        return text.surgery_line(self.model_name, self.changes, self.before, self.after, self.in_force)


def perform(
    model: nn.Module,
    changes: Sequence[Change],
    further: Iterable[Step],
    sizes: tuple[Size, Size],
    widths_changed: bool = False,
    check: Any = None,
) -> Surgery:
    """Run the steps of `changes` and then `further` ones; on any failure or interrupt the model is as it was.

    Args:
        model: The model that they are about.
        changes: What to do.
        further: Steps that follow, on optimizers and averaged copies.
        sizes: The model's size before and after.
        widths_changed: Whether a layer gives another width than before.
        check: Inputs for `ts.check`, or None.

    Raises:
        PlanError: if the model is no longer what it was when the changes were planned.
        VerificationError: if the check fails.
    """
    _refuse_if_stale(changes)
    steps = [step for change in changes for step in change.steps]
    steps += further
    restores: list[Restore] = []
    where = _whereabouts(model)
    entry: history.Entry | None = None
    try:
        for step in steps:
            restores.append(step.snapshot())
            step.apply()
        entry = history.remember(model, _brought(model, changes), widths_changed)
        _forget_graphs(model)
        if check is not None:
            run_check(model, check, layers=history.altered(model))
    except BaseException:
        _restore_all(restores)
        if entry is not None:
            history.forget(model, entry)
        raise
    return Surgery(model, tuple(changes), *sizes, type(model).__name__, [_State(restores, entry, where)])


def _brought(model: nn.Module, changes: Sequence[Change]) -> list[nn.Module]:
    """The new layers as they are in the model now."""
    there = set(model.modules())
    own = (change for change in changes if change.kind != "follow")
    return [layer for change in own for layer in (change.standing, change.new) if layer in there]


def _restore_all(restores: Sequence[Restore]) -> None:
    """Restore in reverse order. An interrupt meanwhile is raised when all is done: restoring may be repeated."""
    interrupted: BaseException | None = None
    for restore in reversed(restores):
        while True:
            try:
                restore()
            except (KeyboardInterrupt, MemoryError) as err:
                if interrupted is not None and type(interrupted) is type(err) and isinstance(err, MemoryError):
                    raise
                interrupted = err
                continue
            break
    if interrupted is not None:
        raise interrupted


def _placings(changes: Sequence[Change]) -> Iterator[tuple[Change, Placing]]:
    for change in changes:
        for step in change.steps:
            if isinstance(step, Retype | Become | Put):
                yield change, step


def _refuse_if_stale(changes: Sequence[Change]) -> None:
    """Raise if the model no longer holds what it held when the plan was made."""
    seen: set[Hashable] = set()
    for change, step in _placings(changes):
        if step.target not in seen and not step.fits():
            raise PlanError(
                f"{change.name or 'the model'} is no longer the layer that the plan was made for.",
                f"expected {text.layer(change.old)}",
                name=change.name,
                expected=change.old,
                way_out="make the plan anew:  ts.plan(model)",
            )
        seen.add(step.target)


def _refuse_if_moved(changes: Sequence[Change]) -> None:
    """Raise if the model was changed by other means since, so that restoring would mix the two."""
    last = {step.target: (change, step) for change, step in _placings(changes)}
    for change, step in last.values():
        if not step.stands():
            raise SurgeryError(
                f"{change.name or 'the model'} was changed since by other means than this library.",
                f"expected {text.layer(change.new)}",
                name=change.name,
                expected=change.new,
                way_out="put back what the surgery had left there, then undo",
            )


def _whereabouts(model: nn.Module) -> tuple[Any, Any] | None:
    """Dtype and device of the model, by its first floating-point Parameter."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return None if first is None else (first.dtype, first.device)


def _follow_model(model: nn.Module, changes: Sequence[Change], then: tuple[Any, Any] | None) -> None:
    """Bring layers that were out of the model to where it has gone meanwhile."""
    now = _whereabouts(model)
    if then is None or now is None or then == now:
        return
    for change in changes:
        for tensor in (*change.old.parameters(), *change.old.buffers()):
            if tensor.device != now[1] or (tensor.dtype == then[0] and then[0] != now[0]):
                tensor.data = tensor.data.to(now[1], now[0] if tensor.dtype == then[0] else tensor.dtype)


def _forget_graphs(model: nn.Module) -> None:
    """Have torch.compile compile anew, where it has compiled something of this model."""
    if "torch._dynamo" in sys.modules and any(_is_compiled(module) for module in model.modules()):
        torch.compiler.reset()


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None or type(module).__name__ == "OptimizedModule"
