"""A plan for the time of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import PlanError, SurgeryError
from ..plans import Plan
from ..surgery import Surgery


@contextmanager
def temporarily(plan: Plan, /, **options: Any) -> Iterator[Surgery]:
    """Apply a plan for the time of a `with` block; it is undone on exit, also on an exception.

    Args:
        plan: What to do.
        **options: As for `Plan.apply`.

    Yields:
        The surgery.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        >>> with ts.temporarily(ts.plan(net).remove(nn.ReLU)):
        ...     net[1]
        Identity()
        >>> net[1]
        ReLU()
    """
    if not isinstance(plan, Plan):
        raise PlanError(
            f"temporarily takes a plan, got {type(plan).__name__}.",
            got=plan,
            way_out="for example  with ts.temporarily(ts.plan(model).remove(nn.Dropout)): …",
        )
    done = plan.apply(**options)
    try:
        yield done
    except BaseException as err:
        if done.in_force:
            try:
                done.undo()
            except SurgeryError as refused:  # what was raised in the block matters more
                raise err from refused
        raise
    else:
        if done.in_force:
            done.undo()
