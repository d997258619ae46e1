"""All that a report shows of a model before and after its edits, as finished data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import torch
from torch import nn

from ..changes import Planned
from ..checks import Checks, check
from ..coupling.cuts.ties import ties_of
from ..coupling.tracing import trace
from ..edits import Recut
from ..errors import TraceError, VerificationError
from ..inputs import arguments_of
from ..measuring import Stats, inspect, without_run
from .pairing import Pair, paired
from .running import Run, State, run_both


@dataclass(frozen=True, eq=False)
class Report:
    """A model before and after its edits.

    Attributes:
        model_name: The class of the model before.
        source: Where the model is from, in the user's words; may be empty.
        planned: The edits, each with the changes that it comes to.
        before: Its modules before, in numbers.
        after: Its modules after.
        tree: All modules, before and after; the model itself is the root.
        failures: Why the model can't be run before, and after; empty where it can, and where it wasn't tried.
        runs: What runs before and after tell, or None where there were not both.
        checks: Whether the altered model holds, or None where it was not run.
        when: When it was gathered.
        torch_version: PyTorch's version.
    """

    model_name: str
    source: str
    planned: tuple[Planned, ...]
    before: Stats
    after: Stats
    tree: Pair
    failures: tuple[str, str]
    runs: tuple[Run, Run] | None
    checks: Checks | None
    when: datetime
    torch_version: str


def gather(
    planned: Sequence[Planned],
    before: State,
    after: State,
    inputs: Any = None,
    source: str = "",
    checks: Checks | None = None,
) -> Report:
    """Look at a model in both states; where there are inputs, run it in both and check it.

    Args:
        planned: The edits between the two states.
        before: Enters the model as it was before them.
        after: Enters the model as it is after them.
        inputs: What the model is called with, or None.
        source: Where the model is from, in the user's words.
        checks: What is known of the altered model already; by default it is checked.

    Raises:
        TraceError: if the model can be run on these inputs neither before nor after.
    """
    with before() as model:
        name, (earlier, failed_before) = type(model).__name__, _inspected(model, inputs)
        planned = planned if inputs is None or failed_before else [_tied(item, model, inputs) for item in planned]
    with after() as model:
        later, failed_after = _inspected(model, inputs)
        if checks is None and inputs is not None and not failed_after:
            checks = _checked(model, inputs)
    if failed_before and failed_after:
        raise failed_after
    runs = None
    if inputs is not None and not (failed_before or failed_after) and "meta" not in (earlier.device, later.device):
        runs = run_both(before, after, arguments_of(inputs))
    return Report(
        name,
        source,
        tuple(planned),
        earlier,
        later,
        paired(planned, earlier, later),
        (_in_words(failed_before), _in_words(failed_after)),
        runs,
        checks,
        datetime.now(timezone.utc),
        torch.__version__,
    )


def _tied(item: Planned, model: nn.Module, inputs: Any) -> Planned:
    """An edit that was read from a file, with what hangs together, as far as the model before all edits tells."""
    if not isinstance(item.edit, Recut) or item.edit.ties:
        return item
    with suppress(TraceError):
        return replace(item, edit=replace(item.edit, ties=tuple(ties_of(trace(model, inputs), item.edit.kept))))
    return item


def _inspected(model: nn.Module, inputs: Any) -> tuple[Stats, TraceError | None]:
    if inputs is None:
        return without_run(model), None
    try:
        return inspect(model, inputs), None
    except TraceError as error:
        return without_run(model), error


def _in_words(error: TraceError | None) -> str:
    return "" if error is None else str(error).partition("\n")[0]


def _checked(model: nn.Module, inputs: Any) -> Checks | None:
    try:
        return check(model, inputs)
    except VerificationError as error:
        with suppress(AttributeError):
            found: Checks | None = error.checks
        return found
