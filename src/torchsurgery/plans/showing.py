"""A plan as it is printed, with what the model computes before and after."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from ..errors import TraceError
from ..measuring import inspect
from ..text import PlanView, Side, plan_text
from .applying import Applying


class Showing(Applying):
    """Both sides of a plan in numbers, and its text."""

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """The model before and after; with what it computes, where the plan has inputs that it takes."""
        before, after = Side(self.before), Side(self.after)
        if self.example_inputs is None:
            return before, after
        try:
            now = inspect(self.draft.model, self.example_inputs)
            with self.in_force() as model:
                later = inspect(model, self.example_inputs)
        except TraceError:
            return before, after
        return replace(before, macs=now.macs, output=now.output), replace(after, macs=later.macs, output=later.output)

    def __str__(self) -> str:
        return self.text()

    def text(self, view: PlanView | None = None) -> str:
        """The plan as it is printed: each edit with its layers, the totals, and what to know before it is applied.

        Args:
            view: What it is called, and whether long lists are shown whole.

        Example:
            >>> print(ts.plan(nn.Sequential(nn.Linear(4, 8), nn.ReLU())).remove("1").text())
            plan Sequential   dry run: the model is not changed
            ...
        """
        return plan_text(self.draft.model, self.planned, *self.sides, view or PlanView())
