"""The front end of a model: which layers its input goes into, read off a run by going forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.utils._pytree import tree_map

from ..edits import Resize
from ..errors import PlanError
from ..flow import Flow, Node, follow, named_inputs
from ..layers.ends import (
    keeps_channels_apart,
    mixes,
    why_fixed,
    width_in,
)
from ..recipes.ways import converter
from .telling import CHANNELS, Unclear, attributes_told, by_hand, confirmed

Fill: TypeAlias = Literal["zeros", "repeat"]
_MIXING = frozenset(
    ["convolution", "mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "embedding", "einsum", "native_layer_norm"]
)


@dataclass
class _Entry:
    """What an input goes into: by name, how many channels each layer has for one of the input's."""

    takers: dict[str, int] = field(default_factory=dict)
    between: dict[str, int] = field(default_factory=dict)


def inputs_resized(
    model: nn.Module, flow: Flow, channels: int, fill: Fill, given: Any
) -> tuple[Resize, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The edit that lets a model take `channels`, and example inputs of that many.

    Raises:
        PlanError: if the way from the input is not clear, or there are several inputs.
    """
    entries: dict[str, tuple[_Entry, int, int]] = {}
    reasons: list[str] = []
    for node in (node for node in flow.nodes if node.kind == "input" and node.shapes[0]):
        try:
            axis, entry = _entry(flow, node)
            entries[node.name] = (entry, axis, node.shapes[0][axis])
        except Unclear as reason:
            reasons.append(f"{node.name}: {reason}")
    if len(entries) != 1:
        raise _no_single_input(model, entries, reasons)
    ((name, (entry, axis, old)),) = entries.items()
    asked = f"set inputs {old} → {channels} {'channels' if len(entry.takers) else ''}".rstrip()
    edit = Resize(asked, dict(_entry_converters(entry, channels, fill)), tuple(_told(model, entry, old, channels)))
    return edit, _widened(model, flow, name, axis, channels)


def _entry(flow: Flow, start: Node) -> tuple[int, _Entry]:
    """The axis of the channels, and what they go into; axis 1 is tried first, then the last."""
    rank = len(start.shapes[0])
    axes = (1, rank - 1) if rank > 2 else (rank - 1,)
    failed: list[Unclear] = []
    for axis in axes:
        try:
            return axis, _followed_in(flow, start, axis)
        except Unclear as reason:
            failed.append(reason)
    raise failed[0]


def _followed_in(flow: Flow, start: Node, axis: int) -> _Entry:
    old, entry = start.shapes[0][axis], _Entry()
    todo, seen = [start], {start}
    while todo:
        node = todo.pop()
        for taker in flow.consumers(node):
            if taker in seen or not (taker.shapes or taker.kind == "output"):
                continue
            seen.add(taker)
            if _passes_channels(flow, node, taker, axis, old, entry):
                todo.append(taker)
    _refuse_other_calls(flow, (*entry.takers, *entry.between), seen)
    if not entry.takers:
        raise Unclear("no layer takes its channels")
    return entry


def _passes_channels(flow: Flow, node: Node, taker: Node, axis: int, old: int, entry: _Entry) -> bool:
    """Note what a node is to the channels; answers whether they go on behind it."""
    width = node.shapes[0][axis]
    if taker.kind == "output":
        raise Unclear("it is given back as it is")
    layer = taker.module
    if layer is None:
        if taker.name in _MIXING or not _keeps_axis(taker, axis, width, len(node.shapes[0])):
            raise Unclear(f"{taker.name} in {taker.within or 'the forward'} changes its channels")
        return True
    if mixes(layer) and why_fixed(layer) is None and width_in(layer) == width and _reads(layer, taker, axis, node):
        entry.takers[taker.name] = width // old
        return False
    if keeps_channels_apart(layer) and why_fixed(layer) is None and width_in(layer) == width:
        entry.between[taker.name] = width // old
        return True
    if not any(True for _ in layer.parameters()) and _keeps_axis(taker, axis, width, len(node.shapes[0])):
        return True
    raise Unclear(f"{taker.name} ({type(layer).__name__}) takes it, whose width can't be set")


def _keeps_axis(node: Node, axis: int, width: int, rank: int) -> bool:
    return len(node.shapes[0]) == rank and node.shapes[0][axis] == width


def _reads(layer: nn.Module, taker: Node, axis: int, node: Node) -> bool:
    """Whether a layer reads its channels from this axis, and from this node only."""
    rank = len(node.shapes[0])
    return len(taker.inputs) == 1 and axis == (rank - 1 if isinstance(layer, nn.Linear) else 1)


def _refuse_other_calls(flow: Flow, names: Sequence[str], seen: set[Node]) -> None:
    for node in flow.nodes:
        if node.kind == "layer" and node.name in names and node not in seen:
            raise Unclear(f"{node.name} is called elsewhere, too")


def _entry_converters(entry: _Entry, channels: int, fill: Fill) -> Iterator[tuple[str, Callable[..., Any]]]:
    # Behind a layer that keeps channels apart the old ones can't be summed: it sees the first only.
    how = "first" if entry.between else fill
    for name, times in entry.between.items():
        yield name, converter("other channels", "channels", {"channels": channels * times})
    for name, times in entry.takers.items():
        way = {"channels": channels * times, "fill": fill if channels > 1 else how}
        yield name, converter("other inputs", "inputs", way)


def _told(model: nn.Module, entry: _Entry, old: int, new: int) -> Iterator[tuple[str, str, Any]]:
    yield from attributes_told(model, (*entry.takers, *entry.between), CHANNELS, old, new)


def _widened(
    model: nn.Module, flow: Flow, name: str, axis: int, channels: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of the run, one with other channels: the first of the old ones over and over."""
    tensor = dict(named_inputs(model, flow.args, flow.kwargs))[name]
    index = torch.arange(channels, device=tensor.device) % tensor.shape[axis]
    with torch.no_grad():
        other = tensor.index_select(axis, index)
    args, kwargs = tree_map(lambda item: other if item is tensor else item, (flow.args, dict(flow.kwargs)))
    return tuple(args), dict(kwargs)


def confirm_inputs(model: nn.Module, example: tuple[tuple[Any, ...], dict[str, Any]], edit: Resize) -> None:
    """Run the altered model.

    Raises:
        PlanError: if it can't be run.
    """
    confirmed(model, edit, lambda: follow(model, *example))


def _no_single_input(model: nn.Module, entries: Mapping[str, Any], reasons: Sequence[str]) -> PlanError:
    name = type(model).__name__
    way_out = by_hand(list(model.named_modules()), "in_features", "in_channels", 4)
    if not entries:
        return PlanError(f"it isn't clear which layers of {name} take its channels.", *reasons[:6], way_out=way_out)
    rows = [f"{key}: {', '.join(entry.takers)}" for key, (entry, _, _) in entries.items()]
    return PlanError(f"{name} has {len(entries)} inputs with channels.", *rows, got=list(entries), way_out=way_out)
