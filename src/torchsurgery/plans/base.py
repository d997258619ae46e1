"""What every plan is: edits laid over a draft of a model, and what comes of them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from .. import history, text
from ..changes import Change, Planned
from ..collecting import collection_paused
from ..edits import Edit, Insert, Recut, Remove, Replace, Wrap
from ..planning.compiling import compile_edit
from ..planning.exposing import calls_first
from ..planning.widths import changes_width
from ..randomness import random_state_kept
from ..recipes import Operation
from ..recipes.recording import recorded
from ..stats import Size, size_of
from ..tree import Draft, every_module, uncompiled

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Planning:
    """Edits of a model in order, with what they come to; the verbs of `Plan` append to it."""

    model: nn.Module
    planned: tuple[Planned, ...] = ()
    example_inputs: Any = None
    draft: Draft = field(repr=False, default_factory=lambda: Draft(nn.Identity()))

    def __post_init__(self) -> None:
        if not self.planned:
            object.__setattr__(self, "draft", Draft(uncompiled(self.model)))

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What was asked for, in order."""
        return tuple(planned.edit for planned in self.planned)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in the order in which they are made."""
        return tuple(change for planned in self.planned for change in planned.changes)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The edits as data, every target by the names that it came to."""
        with collection_paused():
            return tuple(map(recorded, self.planned))

    @cached_property
    def before(self) -> Size:
        """The model's size as it is."""
        return size_of(every_module(self.draft.model))

    @cached_property
    def after(self) -> Size:
        """The model's size as it will be."""
        return self.before if self.keeps_states else size_of(self.draft.spots(), self.draft.entries)

    @cached_property
    def keeps_states(self) -> bool:
        """Whether every layer goes on with the state that it has, and only its class is another."""
        return all(vars(change.old) is vars(change.new) for change in self.changes)

    def __repr__(self) -> str:
        return text.plan_line(self.draft.model, self.planned, self.before, self.after)

    def then(self, edit: Edit) -> Self:
        """This plan with an edit appended that is there as data; the verbs come to this.

        Args:
            edit: See `torchsurgery.edits`.

        Raises:
            SelectionError: if nothing is selected.
            PlanError: if it can't be done.

        Example:
            >>> from torchsurgery.edits import Remove
            >>> ts.plan(nn.Sequential(nn.Linear(4, 8), nn.Dropout())).then(Remove("1"))
            Plan: 1 edit, 0 follow-ups · 1 of 3 modules · params 40 → 40
        """
        if isinstance(edit, Replace | Insert | Remove | Wrap):
            exposing, edit = calls_first(self.draft, edit)
            if exposing is not None:
                return self.then(exposing).then(edit)
        draft = self.draft.copy()
        # A cut draws no numbers, or from a generator of its own.
        with nullcontext() if isinstance(edit, Recut) else random_state_kept(), collection_paused():
            planned = compile_edit(draft, edit, self._widths_changed())
        return type(self)(self.model, (*self.planned, planned), self.example_inputs, draft)

    def _widths_changed(self) -> bool:
        return history.widths_changed(self.draft.model) or any(changes_width(c.old, c.new) for c in self.changes)
