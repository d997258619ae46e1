"""The verbs that put layers in other layers' places, in one line: plan one edit and apply it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..edits import New
from ..plans import plan
from ..selection import Target
from ..surgery import Surgery


def replace(
    model: nn.Module,
    target: Target,
    new: New,
    /,
    *,
    share: bool = False,
    carry: bool | None = None,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
    **arguments: Any,
) -> Surgery:
    """Put another layer in the place of each that `target` selects: in place, all or nothing.

    Args:
        model: The model; it is changed in place.
        target: See `select`.
        new: A class, an instance or a factory; see `Plan.replace`.
        share: Put one instance into all places instead of copies.
        carry: See `Plan.replace`.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.
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
    return (
        plan(model)
        .replace(target, new, share=share, carry=carry, **arguments)
        .apply(optimizer=optimizer, ema=ema, check=check)
    )


def insert(
    model: nn.Module,
    new: New,
    /,
    *,
    after: Target | None = None,
    before: Target | None = None,
    share: bool = False,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
    **arguments: Any,
) -> Surgery:
    """Put a layer after, or before, each that the target selects: in place, all or nothing.

    Args:
        model: The model; it is changed in place.
        new: An instance, a class with its arguments, or a factory; see `Plan.insert`.
        after: Target behind which it comes.
        before: Target ahead of which it comes.
        share: Put one instance into all places instead of copies.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.
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
    return (
        plan(model)
        .insert(new, after=after, before=before, share=share, **arguments)
        .apply(optimizer=optimizer, ema=ema, check=check)
    )


def remove(
    model: nn.Module, target: Target, /, *, optimizer: Any = None, ema: Any = None, check: Any = None
) -> Surgery:
    """Take out each layer that `target` selects: in place, all or nothing; see `Plan.remove`.

    Args:
        model: The model; it is changed in place.
        target: See `select`.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

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
    return plan(model).remove(target).apply(optimizer=optimizer, ema=ema, check=check)


def wrap(
    model: nn.Module,
    target: Target,
    wrapper: Any,
    /,
    *,
    optimizer: Any = None,
    ema: Any = None,
    check: Any = None,
    **arguments: Any,
) -> Surgery:
    """Put `wrapper(layer, **arguments)` in the place of each layer that `target` selects; see `Plan.wrap`.

    Args:
        model: The model; it is changed in place.
        target: See `select`.
        wrapper: A class or a factory that takes the layer first.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.
        **arguments: For the wrapper.

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
    return plan(model).wrap(target, wrapper, **arguments).apply(optimizer=optimizer, ema=ema, check=check)


def calls_to_layers(
    model: nn.Module, target: Target, /, *, optimizer: Any = None, ema: Any = None, check: Any = None
) -> Surgery:
    """Make layers of the function calls that `target` selects: in place, all or nothing; see `Plan.calls_to_layers`.

    Args:
        model: The model; it is changed in place.
        target: A function, such as `F.relu`, or a selection of calls.
        optimizer: One or several, whose Parameters and state are carried along.
        ema: An averaged copy of the model, to be changed alike.
        check: Inputs for `ts.check`; when it fails, nothing has changed. See `Plan.apply`.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back.

    Raises:
        SelectionError: if the function isn't called.
        PlanError: if a call can't be a layer. Nothing has changed then.

    Example:
        >>> import torchvision, torch.nn.functional as F
        >>> net = torchvision.models.densenet121()
        >>> ts.calls_to_layers(net, (F.relu, F.adaptive_avg_pool2d))
        Surgery on DenseNet: 2 layers made of a call, 1 layer adjusted · params 7,978,856 → 7,978,856 · undo() ...
        >>> net.relu
        ReLU(inplace=True)
    """
    return plan(model).calls_to_layers(target).apply(optimizer=optimizer, ema=ema, check=check)
