"""The verbs in one line: plan one edit and apply it; and a plan for the time of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .edits import New
from .plans import Plan, plan
from .selection import Target
from .surgery import Surgery


def replace(
    model: nn.Module,
    target: Target,
    new: New,
    /,
    *,
    share: bool = False,
    carry: bool | None = None,
    **arguments: Any,
) -> Surgery:
    """Put another layer in the place of each that `target` selects: in place, all or nothing.

    Args:
        model: The model; it is changed in place.
        target: See `select`.
        new: A class, an instance or a factory; see `Plan.replace`.
        share: Put one instance into all places instead of copies.
        carry: See `Plan.replace`.
        **arguments: For the constructor or the factory: values, or functions of the old layer.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if nothing is selected.
        PlanError: if it can't be done. Nothing has changed then.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        >>> ts.replace(net, nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        Surgery on Sequential: 1 layer replaced · params 480 → 480 · undo() takes it back
        >>> net[1].num_groups, net[1].num_channels
        (8, 16)
    """
    return plan(model).replace(target, new, share=share, carry=carry, **arguments).apply()


def insert(
    model: nn.Module,
    new: New,
    /,
    *,
    after: Target | None = None,
    before: Target | None = None,
    share: bool = False,
    **arguments: Any,
) -> Surgery:
    """Put a layer after, or before, each that the target selects: in place, all or nothing.

    Args:
        model: The model; it is changed in place.
        new: An instance, a class with its arguments, or a factory; see `Plan.insert`.
        after: Target behind which it comes.
        before: Target ahead of which it comes.
        share: Put one instance into all places instead of copies.
        **arguments: For the class or the factory.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if nothing is selected.
        PlanError: if it can't be done. Nothing has changed then.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        >>> ts.insert(net, nn.Dropout(0.1), after=nn.ReLU)
        Surgery on Sequential: 1 layer with one inserted · params 20 → 20 · undo() takes it back
    """
    return plan(model).insert(new, after=after, before=before, share=share, **arguments).apply()


def remove(model: nn.Module, target: Target, /) -> Surgery:
    """Take out each layer that `target` selects: in place, all or nothing; see `Plan.remove`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if nothing is selected.
        PlanError: if it can't be done. Nothing has changed then.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
        >>> ts.remove(net, nn.Dropout)
        Surgery on Sequential: 1 layer removed · params 20 → 20 · undo() takes it back
    """
    return plan(model).remove(target).apply()


def wrap(model: nn.Module, target: Target, wrapper: Any, /, **arguments: Any) -> Surgery:
    """Put `wrapper(layer, **arguments)` in the place of each layer that `target` selects; see `Plan.wrap`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if nothing is selected.
        PlanError: if it can't be done. Nothing has changed then.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        >>> ts.wrap(net, nn.Linear, nn.Sequential)
        Surgery on Sequential: 1 layer wrapped · params 20 → 20 · undo() takes it back
        >>> list(net.state_dict())
        ['0.0.weight', '0.0.bias']
    """
    return plan(model).wrap(target, wrapper, **arguments).apply()


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
    done = plan.apply(**options)
    try:
        yield done
    finally:
        if done.in_force:
            done.undo()
