"""From a plan to what is done: with optimizers and averages, for good or for the time of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..changes import Step
from ..planning.widths import changes_width
from ..recipes import Operation
from ..rehearsing import rehearsal
from ..surgery import Average, Surgery, perform
from ..training import carry_optimizers, recognised
from ..tree import Draft
from .averages import alike
from .base import Planning


class Applying(Planning):
    """Apply, and be in force for a while."""

    def apply(self, *, optimizer: Any = None, ema: Any = None, check: Any = None) -> Surgery:
        """Do it, all or nothing.

        Args:
            optimizer: One or several, whose Parameters and state are carried along.
            ema: A `torch.optim.swa_utils.AveragedModel` of this model, to be changed alike.
            check: Inputs for `ts.check`; when it fails, everything is taken back. False takes a layer that gives
                another shape at its word; what takes it must then be changed before the model runs again.

        Returns:
            The surgery that was done; `surgery.undo()` takes it back.

        Raises:
            PlanError: if the model is no longer what it was when the plan was made, or can't be run once a layer
                gives another shape (tried without computing, where the model's inputs are known or can be told).
            VerificationError: if the check fails. Nothing has changed then.
        """
        return self._applied(optimizer, ema, check)

    def _applied(self, optimizer: Any, ema: Any, check: Any, anew: bool = True) -> Surgery:
        tells = check is None and not self.keeps_states
        confirm = rehearsal(self.draft.model, self.changes, self.example_inputs) if tells else None
        return self._done(self.operations, optimizer, ema, None if check is False else check, confirm, anew)

    def _done(
        self,
        operations: tuple[Operation, ...] | None,
        optimizer: Any = None,
        ema: Any = None,
        check: Any = None,
        confirm: Callable[[], None] | None = None,
        anew: bool = True,
    ) -> Surgery:
        model, changes = self.draft.model, self.changes
        further: list[Step] = []
        if optimizer is not None and self.keeps_states:
            recognised(optimizer, model.parameters)
        elif optimizer is not None:
            further += carry_optimizers(optimizer, changes, Draft(model).parameters(), self.draft.parameters())
        average: Average | None = None
        if ema is not None:
            twin = alike(self, ema)
            average = Average(twin.draft.model, twin.planned, None if operations is None else twin.operations)
        widths = not self.keeps_states and any(changes_width(change.old, change.new) for change in changes)
        sizes = None if self.keeps_states else (self.before, self.after)
        return perform(model, self.planned, further, sizes, widths, check, confirm, operations, average, anew)

    @contextmanager
    def in_force(self) -> Iterator[nn.Module]:
        """The model as it will be, for a run; afterwards it is what it was.

        Example:
            >>> with ts.plan(model).remove("layer4").in_force() as altered:
            ...     altered.layer4
            Identity()
        """
        with self._in_force() as model:
            yield model

    @contextmanager
    def _in_force(self, anew: bool = True) -> Iterator[nn.Module]:
        done = self._done(None, anew=anew) if self.planned else None
        try:
            yield self.draft.model
        finally:
            if done is not None:
                done.undo()


def at_once(plan: Applying, *, optimizer: Any = None, ema: Any = None, check: Any = None) -> Surgery:
    """What `apply` does, of a plan made this very moment: no tensor can have changed since, so none is computed again.

    Args:
        plan: With one edit; a second one may compute from what the first has computed.
        optimizer: See `Applying.apply`.
        ema: See there.
        check: See there.
    """
    return plan._applied(optimizer, ema, check, anew=False)
