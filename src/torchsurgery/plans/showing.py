"""A plan as it is printed, and as a page, with what the model computes before and after."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import PlanError, TraceError
from ..html import edits_shown, save
from ..measuring import inspect
from ..reports import gather
from ..text import PlanView, Side, plan_text
from .applying import Applying


class Showing(Applying):
    """Both sides of a plan in numbers, its text and its page."""

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
        except (TraceError, PlanError):  # or it has been applied since, and the model is no longer as it was
            return before, after
        return replace(before, macs=now.macs, output=now.output), replace(after, macs=later.macs, output=later.output)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return edits_shown(repr(self), self.planned, *self.sides)

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

    def report(self, path: str | PathLike[str], inputs: Any = None, *, source: str = "") -> Path:
        """Write a page that shows the model as it is and as it will be: one HTML file that needs nothing else.

        The model is altered for the time of a look and then is what it was. Where there are inputs, it is run in both
        states and the altered one is checked: shapes, MACs, time and the difference of each layer's answer.

        Args:
            path: The file to be written.
            inputs: What the model is called with; by default the plan's example inputs.
            source: Where the model is from, for the title: "torchvision:resnet18".

        Returns:
            The file.

        Raises:
            PlanError: if the model is no longer what it was when the plan was made.
            TraceError: if the model can be run on the inputs neither before nor after.
            SurgeryError: if the file can't be written.
        """
        given = self.example_inputs if inputs is None else inputs
        found = gather(self.planned, lambda: nullcontext(self.draft.model), self.in_force, given, source)
        return save(found, path)
