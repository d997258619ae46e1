"""Apply and undo, all or nothing. Nobody else runs steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from . import history, text
from .changes import Assign, Cast, Change, Follow, Placing, Planned, Refresh, Restore, Step
from .checks import check as run_check
from .collecting import collection_paused
from .distributed import recount_buffers
from .errors import SurgeryError
from .html import edits_shown, save
from .progress import each
from .recipes import Operation, Recipe
from .reports import gather
from .standing import last_placings, refuse_if_moved, refuse_if_stale
from .stats import Size, size_of
from .tree import every_module


@dataclass(slots=True)
class _State:
    """What a surgery needs to be taken back; emptied when it is."""

    restores: list[Restore]
    placed: list[tuple[Change, Placing]]
    entry: history.Entry
    of_averages: list[history.Entry]
    where: tuple[Any, Any] | None


class Average(NamedTuple):
    """What is done to an averaged copy of a model beside it, planned and as data."""

    model: nn.Module
    planned: tuple[Planned, ...]
    operations: tuple[Operation, ...] | None

    @property
    def steps(self) -> list[Step]:
        """What is to be written there."""
        return [step for item in self.planned for change in item.changes for step in change.steps]


@dataclass(frozen=True, eq=False)
class Surgery:
    """What was done to a model.

    Attributes:
        model: The altered model.
        planned: What was asked for, each edit with the changes that it came to.
    """

    model: nn.Module
    planned: tuple[Planned, ...]
    model_name: str
    _sizes: tuple[Size, Size] | None = field(repr=False)
    _state: list[_State] = field(repr=False)
    _record: history.Record | None = field(repr=False, default=None)

    @cached_property
    def recipe(self) -> Recipe:
        """What was done, as data; see `Recipe`.

        Example:
            >>> print(ts.replace(model, nn.ReLU, nn.SiLU).recipe)
            Recipe of 1 operation
              replace relu, layer1.0.relu and 7 more
        """
        return history.recipe_of_one(self._record) if self._record is not None else Recipe()

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What was done, in order."""
        return tuple(change for planned in self.planned for change in planned.changes)

    @cached_property
    def before(self) -> Size:
        """The model's size before; one that stays the same is counted when it is first asked for."""
        return self._sizes[0] if self._sizes else size_of(every_module(self.model))

    @property
    def after(self) -> Size:
        """The model's size after."""
        return self._sizes[1] if self._sizes else self.before

    @property
    def in_force(self) -> bool:
        """Whether it has not been undone."""
        return bool(self._state)

    def undo(self) -> None:
        """Take it back: the very objects that were there stand where they stood.

        Parameters that were carried keep what training has made of them; layers that come back have the mode, dtype and
        device that the model has by now. What was assigned inside a new layer since goes with that layer.

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
        state = self._to_be_undone()
        now = _whereabouts(self.model)
        try:
            _restore_all(state.restores)
        finally:  # an interrupt is raised when all is restored
            for entry in (state.entry, *state.of_averages):
                history.forget(entry)
            self._state.clear()
            _follow_model(self.changes, state.where, now)
            _forget_graphs(self.model)
            recount_buffers(self.model)

    @contextmanager
    def taken_back(self, since: int = 0) -> Iterator[nn.Module]:
        """The model as it was before, for a run; afterwards it is what it is now, whatever it has learnt since.

        Optimizers and averages stay as they are: it is not for training.

        Args:
            since: How many edits of the plan stay; by default none.

        Raises:
            SurgeryError: as `undo` does.

        Example:
            >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
            >>> done = ts.replace(net, nn.ReLU, nn.GELU)
            >>> with done.taken_back() as before:
            ...     before[1]
            ReLU()
            >>> net[1]
            GELU(approximate='none')
        """
        state = self._to_be_undone()
        now = _whereabouts(self.model)
        staying = [step for planned in self.planned[:since] for change in planned.changes for step in change.steps]
        changes = [change for planned in self.planned[since:] for change in planned.changes]
        again = [_again(step) for change in changes for step in change.steps]
        try:
            _restore_all(state.restores[len(staying) : len(staying) + len(again)])
            _follow_model(changes, state.where, now)
            _forget_graphs(self.model)
            yield self.model
        finally:
            _restore_all(again[::-1])
            _forget_graphs(self.model)
            recount_buffers(self.model)

    def report(self, path: str | PathLike[str], inputs: Any = None, *, source: str = "") -> Path:
        """Write a page that shows the model before and after: one HTML file that needs nothing else.

        The surgery is taken back for the time of a look. Where there are inputs, the model is run in both states and
        the altered one is checked: shapes, MACs, time and the difference of each layer's answer.

        Args:
            path: The file to be written.
            inputs: What the model is called with, or None.
            source: Where the model is from, for the title: "torchvision:resnet18".

        Returns:
            The file.

        Raises:
            SurgeryError: if it is undone or a later surgery is in force, or the file can't be written.
            TraceError: if the model can be run on the inputs neither before nor after.
        """
        return save(gather(self.planned, self.taken_back, lambda: nullcontext(self.model), inputs, source), path)

    def _to_be_undone(self) -> _State:
        if not self._state:
            raise SurgeryError(f"this surgery on {self.model_name} has been undone already.")
        state = self._state[0]
        if (later := history.later(state.entry)) is not None:
            raise _still_in_force(later)
        refuse_if_moved(state.placed)
        return state

    def __repr__(self) -> str:
        return text.surgery_line(self.model_name, self.changes, self.before, self.after, self.in_force)

    def _repr_html_(self) -> str:
        caption = repr(self).partition("\n")[0]
        return edits_shown(caption, self.planned, text.Side(self.before), text.Side(self.after))


def _still_in_force(later: history.Entry) -> SurgeryError:
    """Why a surgery can't be undone: another one, on the same model or on one that shares layers with it."""
    root, held = later.root(), later.surgery and later.surgery()
    name = type(root).__name__ if root is not None else "a model that is gone"
    if held is not None:
        what, way_out = repr(held).partition("\n")[0], "undo that one first, the last comes first"
    else:
        operations = later.record.operations if later.record is not None else ()
        what = f"{', '.join(map(str, operations)) or 'what was done'}: nobody holds it any more, so it can't be undone"
        way_out = "keep what each verb answers, as long as it may be undone:  done = ts.replace(model, …)"
    return SurgeryError(f"a later surgery on {name} is still in force.", what, name=name, got=held, way_out=way_out)


def perform(
    model: nn.Module,
    planned: Sequence[Planned],
    further: Iterable[Step],
    sizes: tuple[Size, Size] | None,
    widths_changed: bool = False,
    check: Any = None,
    confirm: Callable[[], None] | None = None,
    operations: tuple[Operation, ...] | None = None,
    average: Average | None = None,
    anew: bool = True,
) -> Surgery:
    """Run the steps of what is planned and then `further` ones; on any failure or interrupt the model is as it was.

    Args:
        model: The model that they are about.
        planned: What to do.
        further: Steps that follow, on optimizers.
        sizes: The model's size before and after; None where it stays the same.
        widths_changed: Whether a layer gives another width than before.
        check: Inputs for `ts.check`, or None.
        confirm: Raises if the altered model is not to stay so.
        operations: The changes as data; None where they are for a run only, and nothing is to be remembered of them.
        average: What is done to an averaged copy after that.
        anew: Whether the model may have changed since the changes were planned: tensors computed from old ones are
            computed once more then.

    Raises:
        PlanError: if the model is no longer what it was when the changes were planned.
        VerificationError: if the check fails.
    """
    restores: list[Restore] = []
    entry: history.Entry | None = None
    of_averages: list[history.Entry] = []
    state: list[_State] = []
    with ExitStack() as quiet:
        quiet.enter_context(collection_paused())
        changes = [change for item in planned for change in item.changes]
        if anew:
            refuse_if_stale(model, changes)
        placed = last_placings(changes)
        steps = [step for change in changes for step in change.steps]
        steps += further
        steps += [] if average is None else average.steps
        recording = None if operations is None else history.Recording(model, operations, planned)
        beside = _recording_of(average) if recording is not None else None
        try:
            for step in each(steps, "applying"):
                if isinstance(step, Refresh) and not anew:
                    restores.append(_as_it_is)
                else:
                    restores.append(step.snapshot())
                    step.apply()
            record = None if recording is None else recording.done()
            surgery = Surgery(model, tuple(planned), type(model).__name__, sizes, state, record)
            following = [change.standing for change in changes if change.kind == "follow"]
            cut = [change.standing for change in changes if change.kind in ("prune", "widen")]
            entry = history.remember(model, _brought(changes), widths_changed, record, surgery, following, cut)
            if beside is not None:
                of_averages.append(history.remember(beside.model, (), widths_changed, beside.done()))
            state.append(_State(restores, placed, entry, of_averages, _whereabouts(model)))
            quiet.close()  # what runs from here on is the user's, too
            _forget_graphs(model)
            recount_buffers(model)
            if confirm is not None:
                confirm()
            if check is not None:
                run_check(model, check)
        except BaseException:
            _restore_all(restores)
            for noted in (entry, *of_averages):
                if noted is not None:
                    history.forget(noted)
            recount_buffers(model)
            raise
    return surgery


def _as_it_is() -> None:
    """What restores after a step that was not needed."""


def _recording_of(average: Average | None) -> history.Recording | None:
    if average is None or average.operations is None:
        return None
    return history.Recording(average.model, average.operations, average.planned)


def _brought(changes: Sequence[Change]) -> Iterator[nn.Module]:
    """The new layers; of several in one place, all: which of them are in the model is for those to ask who need it."""
    changed_again = {change.old for change in changes}
    for change in changes:
        if change.kind != "follow":
            yield change.standing
            if change.new in changed_again:  # what is around it now was put there, and it goes on inside
                yield change.new


def _again(step: Step) -> Restore:
    """How to come back from the restored to what is there now: by the step itself, or to the values it wrote by now."""
    return step.snapshot() if isinstance(step, (Assign, Cast, Follow, Refresh)) else step.apply


def _restore_all(restores: Sequence[Restore]) -> None:
    """Restore in reverse order. An interrupt meanwhile is raised when all is done: restoring may be repeated."""
    interrupted: BaseException | None = None
    while True:
        try:
            for restore in reversed(restores):
                restore()
        except (KeyboardInterrupt, MemoryError) as err:
            if isinstance(err, MemoryError) and isinstance(interrupted, MemoryError):
                raise
            interrupted = err
            continue
        break
    if interrupted is not None:
        raise interrupted


def _whereabouts(model: nn.Module) -> tuple[Any, Any] | None:
    """Dtype and device of the model, by its first floating-point Parameter."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return None if first is None else (first.dtype, first.device)


def _follow_model(changes: Sequence[Change], then: tuple[Any, Any] | None, now: tuple[Any, Any] | None) -> None:
    """Bring layers that were out of the model to where it has gone since then."""
    if then is None or now is None or then == now:
        return
    for change in changes:
        for tensor in (*change.old.parameters(), *change.old.buffers()):
            dtype = now[0] if tensor.dtype == then[0] else tensor.dtype
            device = now[1] if tensor.device == then[1] else tensor.device
            # What is on the meta device has no values to be brought along, and none can go there.
            if (tensor.dtype, tensor.device) != (dtype, device) and "meta" not in (tensor.device.type, device.type):
                tensor.data = tensor.data.to(device, dtype)


def _forget_graphs(model: nn.Module) -> None:
    """Have torch.compile compile anew, where it has compiled something of this model."""
    if _has_compiled() and any(map(_is_compiled, every_module(model))):
        torch.compiler.reset()


def _has_compiled() -> bool:
    """Whether torch.compile has been used at all: where it was not, an undo need not look at every module."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(dynamo, "cached_backends", None)
    return dynamo is not None and (backends is None or any(backend is not None for backend in backends.values()))


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None or type(module).__name__ == "OptimizedModule"
