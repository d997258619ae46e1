"""Optimizers that go on with an altered model: each new Parameter in the place of the one that it comes from.

What is carried keeps its state; where entries only move (a kernel laid into a larger one), momentum moves with them;
what is computed otherwise or initialised begins anew. Frozen Parameters are never added.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .changes import Change, Restore
from .errors import PlanError
from .origins import Computed, Initialised, evaluate


@dataclass(frozen=True, slots=True)
class Successor:
    """A Parameter that comes after another one: `origin` says what its momentum is made of."""

    new: nn.Parameter
    origin: Computed | Initialised


@dataclass(frozen=True, slots=True)
class CarryOptimizer:
    """The step that brings one optimizer up to date.

    Attributes:
        optimizer: The optimizer.
        groups: Its Parameters after, one list a group.
        names: Their names, where the optimizer keeps names.
        successors: The id of an old Parameter → what comes after it.
    """

    optimizer: Optimizer
    groups: tuple[tuple[nn.Parameter, ...], ...]
    names: tuple[tuple[str, ...], ...]
    successors: Mapping[int, Successor]

    def snapshot(self) -> Restore:
        groups = [(group, list(group["params"]), group.get("param_names")) for group in self.optimizer.param_groups]
        state, kept = self.optimizer.state, dict(self.optimizer.state)

        def restore() -> None:
            for group, params, names in groups:
                group["params"][:] = params
                if names is not None:
                    group["param_names"] = names
            state.clear()
            state.update(kept)

        return restore

    def apply(self) -> None:
        state = self.optimizer.state
        old = {id(p): p for group in self.optimizer.param_groups for p in group["params"]}
        new = {id(p) for params in self.groups for p in params}
        for group, params, names in zip(self.optimizer.param_groups, self.groups, self.names, strict=True):
            group["params"][:] = params
            if "param_names" in group:
                group["param_names"] = list(names)
        for key, parameter in old.items():
            if key in new:
                continue
            entries = state.pop(parameter, None)
            successor = self.successors.get(key)
            if not entries or successor is None or id(successor.new) not in new:
                continue
            if carried := _carried_state(entries, parameter, successor.origin):
                state[successor.new] = carried


def carry_optimizers(
    optimizers: Any, changes: Sequence[Change], before: Mapping[str, nn.Parameter], after: Mapping[str, nn.Parameter]
) -> list[CarryOptimizer]:
    """The steps that bring optimizers from a model's old Parameters to its new ones.

    Args:
        optimizers: One or several, schedulers' and wrappers' `.optimizer` included.
        changes: What is done to the model.
        before: The model's Parameters as they are, by name.
        after: The model's Parameters as they will be, by name.

    Raises:
        PlanError: if something given is no optimizer, has no Parameter of the model, or a state that can't follow.
    """
    given = recognised(optimizers, before.values)
    homes = {id(p): (i, j) for i, o in enumerate(given) for j, g in enumerate(o.param_groups) for p in g["params"]}
    own = {id(p) for p in before.values()}
    successors = _successors(changes, before, after)
    for optimizer in given:
        _refuse_unknown_state(optimizer, successors, before)
    joining = _joining(homes, successors, before, after)
    names = {id(p): name for name, p in after.items()}
    return [_step(i, optimizer, successors, joining, own, names) for i, optimizer in enumerate(given)]


def recognised(optimizers: Any, parameters: Callable[[], Iterable[nn.Parameter]]) -> list[Optimizer]:
    """The optimizers that are given, if each is one that can follow and has some of the model's `parameters()`.

    Where no Parameter comes or goes, that is all there is to do.

    Raises:
        PlanError: if something given is no optimizer, has none of the Parameters, or a state that can't follow.
    """
    given = [_unwrapped(item) for item in (optimizers if isinstance(optimizers, list | tuple) else [optimizers])]
    for optimizer in given:
        _refuse_stranger(optimizer, parameters())
    return given


def _step(
    index: int,
    optimizer: Optimizer,
    successors: Mapping[int, Successor],
    joining: Mapping[tuple[int, int], list[nn.Parameter]],
    own: set[int],
    names: Mapping[int, str],
) -> CarryOptimizer:
    groups = []
    for j, group in enumerate(optimizer.param_groups):
        stay = list(_staying(group["params"], successors, own, names))
        groups.append(tuple(dict.fromkeys(stay + joining.get((index, j), []))))
    called = [dict(zip(map(id, g["params"]), g.get("param_names", ()), strict=False)) for g in optimizer.param_groups]
    labels = tuple(
        tuple(names.get(id(p), known.get(id(p), "")) for p in params)
        for params, known in zip(groups, called, strict=True)
    )
    return CarryOptimizer(optimizer, tuple(groups), labels, successors)


def _staying(
    params: Iterable[nn.Parameter], successors: Mapping[int, Successor], own: set[int], names: Mapping[int, str]
) -> Iterator[nn.Parameter]:
    """A group's Parameters after: those still there, successors in the place of those that are not."""
    for parameter in params:
        if id(parameter) in names or id(parameter) not in own:
            yield parameter
        elif (successor := successors.get(id(parameter))) is not None and successor.new.requires_grad:
            yield successor.new


def _successors(
    changes: Sequence[Change], before: Mapping[str, nn.Parameter], after: Mapping[str, nn.Parameter]
) -> dict[int, Successor]:
    """The id of each Parameter that is gone → the one that stands in its place."""
    staying = {id(p) for p in after.values()}
    found: dict[int, Successor] = {}
    for change in changes:
        old = dict(change.old.named_parameters(remove_duplicate=False))
        for name, new in change.new.named_parameters(remove_duplicate=False):
            origin = change.origins.get(name)
            source = origin.sources[0] if isinstance(origin, Computed) and origin.sources else name
            parameter = old.get(source)
            if isinstance(origin, Computed | Initialised) and parameter is not None and id(parameter) not in staying:
                found.setdefault(id(parameter), Successor(new, origin))
    # A later edit of the same plan may have replaced what an earlier one brought.
    for key, successor in list(found.items()):
        while id(successor.new) in found and successor.new is not found[id(successor.new)].new:
            successor = Successor(found[id(successor.new)].new, Initialised())
        found[key] = successor
    return found


def _joining(
    homes: Mapping[int, tuple[int, int]],
    successors: Mapping[int, Successor],
    before: Mapping[str, nn.Parameter],
    after: Mapping[str, nn.Parameter],
) -> dict[tuple[int, int], list[nn.Parameter]]:
    """New trainable Parameters that come in nobody's place, each for the group of its nearest neighbour."""
    known = {id(p) for p in before.values()} | {id(s.new) for key, s in successors.items() if key in homes}
    homes = {**homes, **{id(s.new): homes[key] for key, s in successors.items() if key in homes}}
    order = list(after.values())
    settled = [(i, homes[id(p)]) for i, p in enumerate(order) if id(p) in homes]
    places = [i for i, _ in settled]
    found: dict[tuple[int, int], list[nn.Parameter]] = {}
    for i, parameter in enumerate(order):
        if settled and id(parameter) not in known and parameter.requires_grad:
            behind = bisect_left(places, i)
            # Of two at the same distance the one before.
            near = min(settled[max(behind - 1, 0) : behind + 1], key=lambda place: abs(place[0] - i))
            found.setdefault(near[1], []).append(parameter)
    return found


def _carried_state(entries: Mapping[str, Any], old: Tensor, origin: Computed | Initialised) -> dict[str, Any] | None:
    """The optimizer's state for a successor: momentum follows where entries only move, else nothing is carried."""
    if not isinstance(origin, Computed) or not _moves(origin):
        return None
    origin, carried = origin.for_momentum(), {}
    for key, value in entries.items():
        axes = summarised_axes(key, value.shape, old.shape) if isinstance(value, Tensor) and value.dim() else None
        if axes is not None:
            carried[key] = _carried(value, axes, old, origin)
        else:
            carried[key] = value.clone() if isinstance(value, Tensor) else value
    return carried


def _carried(value: Tensor, axes: tuple[int, ...], old: Tensor, origin: Computed) -> Tensor:
    """One tensor of a state, of the Parameter's shape but for the axes that it summarises."""
    (source,), kept = origin.sources, value.dim() == old.dim()
    whole = value if kept else value.reshape([1 if axis in axes else size for axis, size in enumerate(old.shape)])
    whole = evaluate(origin, {source: whole.expand(old.shape)})
    for axis in axes:  # along which all entries are the same, but for zeros where something new came
        whole = whole.gather(axis, whole.abs().argmax(axis, keepdim=True))
    return whole if kept else whole.squeeze(axes)


def summarised_axes(key: str, shape: Sequence[int], whole: Sequence[int]) -> tuple[int, ...] | None:
    """The axes of a Parameter that one tensor of its state has not, as in Adafactor's factored moments.

    Args:
        key: What the optimizer calls it: of axes of the same size a "row" lacks the last, a "col" the one before.
        shape: Its shape, with 1 for these axes or without them.
        whole: The Parameter's shape.

    Returns:
        The axes, in order; None if the shape doesn't come from the Parameter's, or from more than one choice of axes.
    """
    meant = {axis for word, axis in (("row", len(whole) - 1), ("col", len(whole) - 2)) if word in key.lower()}
    if len(shape) == len(whole):
        sizes = enumerate(zip(shape, whole, strict=True))
        axes = tuple(axis for axis, (own, size) in sizes if own != size or (own == 1 and axis in meant))
        return axes if all(shape[axis] == 1 for axis in axes) else None
    choices = [
        axes
        for axes in combinations(range(len(whole)), len(whole) - len(shape))
        if [size for axis, size in enumerate(whole) if axis not in axes] == list(shape)
    ]
    found = choices if len(choices) < 2 else [axes for axes in choices if set(axes) == meant]
    return found[0] if len(found) == 1 else None


def _refuse_unknown_state(
    optimizer: Optimizer, successors: Mapping[int, Successor], before: Mapping[str, nn.Parameter]
) -> None:
    """Raise if a state that has to move with its Parameter holds something of another shape."""
    for name, parameter in before.items():
        successor = successors.get(id(parameter))
        if successor is None or not _moves(successor.origin):
            continue
        for key, value in optimizer.state.get(parameter, {}).items():
            for tensor in _tensors_in(value):
                alone = tensor is value and summarised_axes(key, tensor.shape, parameter.shape) is not None
                if tensor.numel() > 1 and not alone:
                    raise _unknown_state(optimizer, name, parameter, key, tensor)


def _unknown_state(optimizer: Optimizer, name: str, parameter: Tensor, key: str, tensor: Tensor) -> PlanError:
    kind = type(optimizer).__name__
    return PlanError(
        f"{kind} keeps {key!r} of {name}, which can't follow a change of its shape.",
        f"expected {tuple(parameter.shape)}, or the same with axes of 1 or without them",
        f"got {tuple(tensor.shape)}{'' if tensor is optimizer.state[parameter][key] else ' inside of something else'}",
        name=name,
        expected=tuple(parameter.shape),
        got=tuple(tensor.shape),
        way_out=f"leave out optimizer=, and make a new one after the change:  {kind}(model.parameters())",
    )


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(item)


def _moves(origin: Computed | Initialised) -> bool:
    """Whether momentum moves with the entries."""
    return isinstance(origin, Computed) and origin.per_entry and len(origin.sources) == 1


def _unwrapped(item: Any) -> Optimizer:
    seen = item
    while not isinstance(seen, Optimizer) and hasattr(seen, "optimizer"):
        seen = seen.optimizer
    if isinstance(seen, Optimizer):
        return seen
    raise PlanError(
        f"optimizer= takes optimizers of torch.optim, got {type(item).__name__}.",
        got=item,
        way_out="for example  plan.apply(optimizer=torch.optim.AdamW(model.parameters()))",
    )


def _refuse_stranger(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    name = type(optimizer).__name__
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in parameters):
        raise PlanError(
            f"this {name} holds no Parameter of the model that is to be changed.",
            got=optimizer,
            way_out="give the optimizer that was made of model.parameters()",
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise PlanError(
            "LBFGS keeps the history of all Parameters in one flat vector, which can't follow a change of one layer.",
            got=optimizer,
            way_out="make a new one after the change:  torch.optim.LBFGS(model.parameters())",
        )
