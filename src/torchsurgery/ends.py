"""The two ends of a model: which layers its input goes into and which give its output, read off a run.

From the input one goes forwards, and from the output backwards, through whatever leaves the channels what they are.
What is not clear is refused, and the plan is tried out on the spot.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.utils._pytree import tree_map

from .edits import Resize
from .errors import PlanError, TraceError
from .flow import Flow, Node, follow, named_inputs
from .inputs import followed
from .layers.ends import (
    keeps_channels_apart,
    mixes,
    why_fixed,
    width_in,
    width_out,
)
from .recipes.ways import converter

Fill: TypeAlias = Literal["zeros", "repeat"]

# Under these names models tell how many channels they take, and how many classes they tell.
_CHANNELS = ("in_channels", "in_chans", "num_channels", "n_channels", "input_channels")
_CLASSES = ("num_classes", "num_labels", "n_classes", "nb_classes", "num_columns")
_MIXING = frozenset(
    ["convolution", "mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "embedding", "einsum", "native_layer_norm"]
)


def refuse_no_number(number: object, what: str, example: str) -> None:
    """Raise if what should be a number of channels is none."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise PlanError(f"{what} must be a whole number of at least 1, got {number!r}.", got=number, way_out=example)


class _Unclear(Exception):
    """Why the way from or to an end can't be followed."""


# --- inputs


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
        except _Unclear as reason:
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
    failed: list[_Unclear] = []
    for axis in axes:
        try:
            return axis, _followed_in(flow, start, axis)
        except _Unclear as reason:
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
        raise _Unclear("no layer takes its channels")
    return entry


def _passes_channels(flow: Flow, node: Node, taker: Node, axis: int, old: int, entry: _Entry) -> bool:
    """Note what a node is to the channels; answers whether they go on behind it."""
    width = node.shapes[0][axis]
    if taker.kind == "output":
        raise _Unclear("it is given back as it is")
    layer = taker.module
    if layer is None:
        if taker.name in _MIXING or not _keeps_axis(taker, axis, width, len(node.shapes[0])):
            raise _Unclear(f"{taker.name} in {taker.within or 'the forward'} changes its channels")
        return True
    if mixes(layer) and why_fixed(layer) is None and width_in(layer) == width and _reads(layer, taker, axis, node):
        entry.takers[taker.name] = width // old
        return False
    if keeps_channels_apart(layer) and why_fixed(layer) is None and width_in(layer) == width:
        entry.between[taker.name] = width // old
        return True
    if not any(True for _ in layer.parameters()) and _keeps_axis(taker, axis, width, len(node.shapes[0])):
        return True
    raise _Unclear(f"{taker.name} ({type(layer).__name__}) takes it, whose width can't be set")


def _keeps_axis(node: Node, axis: int, width: int, rank: int) -> bool:
    return len(node.shapes[0]) == rank and node.shapes[0][axis] == width


def _reads(layer: nn.Module, taker: Node, axis: int, node: Node) -> bool:
    """Whether a layer reads its channels from this axis, and from this node only."""
    rank = len(node.shapes[0])
    return len(taker.inputs) == 1 and axis == (rank - 1 if isinstance(layer, nn.Linear) else 1)


def _refuse_other_calls(flow: Flow, names: Sequence[str], seen: set[Node]) -> None:
    for node in flow.nodes:
        if node.kind == "layer" and node.name in names and node not in seen:
            raise _Unclear(f"{node.name} is called elsewhere, too")


def _entry_converters(entry: _Entry, channels: int, fill: Fill) -> Iterator[tuple[str, Callable[..., Any]]]:
    # Behind a layer that keeps channels apart the old ones can't be summed: it sees the first only.
    how = "first" if entry.between else fill
    for name, times in entry.between.items():
        yield name, converter("other channels", "channels", {"channels": channels * times})
    for name, times in entry.takers.items():
        way = {"channels": channels * times, "fill": fill if channels > 1 else how}
        yield name, converter("other inputs", "inputs", way)


def _told(model: nn.Module, entry: _Entry, old: int, new: int) -> Iterator[tuple[str, str, Any]]:
    yield from _attributes(model, (*entry.takers, *entry.between), _CHANNELS, old, new)


def _attributes(
    model: nn.Module, names: Sequence[str], words: Sequence[str], old: int, new: int
) -> Iterator[tuple[str, str, Any]]:
    """The attributes that tell a number, of the modules above the layers and of the model's configuration."""
    for name, module in model.named_modules():
        if any(layer.startswith(f"{name}." if name else "") and layer != name for layer in names):
            yield from ((name, word, new) for word in words if _is(vars(module).get(word), old))
    config = getattr(model, "config", None)
    for word in words if hasattr(config, "__dict__") else ():
        if _is(vars(config).get(word), old):
            yield "", f"config.{word}", new


def _is(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


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
    _confirmed(model, edit, lambda: follow(model, *example))


def _no_single_input(model: nn.Module, entries: Mapping[str, Any], reasons: Sequence[str]) -> PlanError:
    name = type(model).__name__
    way_out = "change the layer that you mean:  ts.replace(model, 'stem', nn.Conv2d, in_channels=4)"
    if not entries:
        return PlanError(f"it isn't clear which layers of {name} take its channels.", *reasons[:6], way_out=way_out)
    rows = [f"{key}: {', '.join(entry.takers)}" for key, (entry, _, _) in entries.items()]
    return PlanError(f"{name} has {len(entries)} inputs with channels.", *rows, got=list(entries), way_out=way_out)


# --- outputs


@dataclass(frozen=True)
class _Head:
    """A layer that gives an output, with the norms behind it."""

    call: Node
    norms: tuple[Node, ...]
    output: str

    @property
    def width(self) -> int:
        assert self.call.module is not None
        return width_out(self.call.module)


def flows_of(model: nn.Module, given: Any) -> tuple[Flow, ...]:
    """A run in eval, and one in train where that calls layers which eval doesn't, such as auxiliary heads."""
    flow = followed(model, given)
    if flow.uncalled:
        with suppress(TraceError):
            more = followed(model, given, train=True)
            return (flow, more) if set(more.uncalled) < set(flow.uncalled) else (flow,)
    return (flow,)


def outputs_resized(model: nn.Module, flows: Sequence[Flow], number: int, keep: Sequence[int | None] | None) -> Resize:
    """The edit that lets a model tell `number` classes.

    Raises:
        PlanError: if it isn't clear which layers tell them, or `keep` names others than there are.
    """
    heads = [(flow, head) for flow in flows for node in _answers(flow) for head in _heads(node)]
    features = any(not list(_heads(node)) for flow in flows for node in _answers(flow))
    old = _classes(model, [head for _, head in heads], features)
    _refuse_classes(model, keep, old, number)
    converters: dict[str, Callable[..., Any]] = {}
    for flow, head in [*heads, *_further(heads, old)]:
        layout = _layout(flow, head, old)
        if layout is not None and head.call.name not in converters:
            _refuse_head(flow, head)
            rows = tuple(_rows(layout, number, old, keep or ()))
            for node in (head.call, *head.norms):
                way = {"rows": rows, "why": f"{old} → {number} classes"}
                converters[node.name] = converter("other outputs", "outputs", way)
    if not converters:
        raise _no_head(model, [head for _, head in heads])
    told = [*_attributes(model, tuple(converters), _CLASSES, old, number), *_labels(model, number, old, keep or ())]
    return Resize(f"set outputs {old} → {number} classes", converters, tuple(told))


# What Hugging Face models hand out beside their answer: states for the next call, and a look inside.
_ASIDE = re.compile(r"\.(past_key_values|cache_params|mems|\w*hidden_states?|\w*attentions)\b")


def _answers(flow: Flow) -> list[Node]:
    """The outputs that answer the input, unless there are no others."""
    return [node for node in flow.outputs if not _ASIDE.search(node.name)] or list(flow.outputs)


def _heads(output: Node) -> Iterator[_Head]:
    """The nearest layers that give an output; none where it is given by a layer of another kind, as features are."""
    level: list[tuple[Node, tuple[Node, ...]]] = [(output, ())]
    seen: set[Node] = set()
    while level:
        following: list[tuple[Node, tuple[Node, ...]]] = []
        found: list[_Head] = []
        others = False
        for node, norms in level:
            for giver in node.inputs:
                if giver in seen:
                    continue
                seen.add(giver)
                layer = giver.module
                if layer is not None and mixes(layer):
                    found.append(_Head(giver, norms, output.name))
                elif layer is None or not any(True for _ in layer.parameters()):
                    following.append((giver, norms))
                elif keeps_channels_apart(layer):
                    following.append((giver, (*norms, giver)))
                else:
                    others = True
        if found or others:
            yield from found
            return
        level = following


def _further(heads: Sequence[tuple[Flow, _Head]], classes: int) -> Iterator[tuple[Flow, _Head]]:
    """Layers that tell something of each class, such as its box: beside a head, or further from the output."""
    known = {head.call.name for _, head in heads}
    flows = {id(flow): flow for flow, _ in heads}.values()
    found = [(flow, source.node) for flow in flows for output in flow.outputs for source in flow.sources(output)]
    for flow, head in heads:
        found += [(flow, node) for giver in head.call.inputs for node in flow.consumers(flow.giver(giver))]
    for flow, node in found:
        if node.module is not None and mixes(node.module) and node.name not in known:
            known.add(node.name)
            if width_out(node.module) % classes == 0 and width_out(node.module) > classes:
                yield flow, _Head(node, (), "")


def _classes(model: nn.Module, heads: Sequence[_Head], features: bool) -> int:
    """How many classes the model tells; beside features, a head must be as wide as the model says."""
    told = {value for head in heads for value in _told_by(model, head) if head.width % value == 0}
    if features:
        told &= {head.width for head in heads}
    if len(told) == 1:
        return told.pop()
    if features:
        raise _no_head(model, heads)
    widths = {head.width for head in heads}
    if len(widths) > 1:
        words = ("score", "logit", "out")
        widths = {head.width for head in heads if any(word in head.output.rpartition(".")[2] for word in words[:2])}
    if len(widths) != 1:
        raise _no_head(model, heads)
    return widths.pop()


def _told_by(model: nn.Module, head: _Head) -> Iterator[int]:
    parts = head.call.name.split(".")
    above = [model.get_submodule(".".join(parts[:i])) for i in range(len(parts))]
    for holder in (*above, getattr(model, "config", None)):
        for word in _CLASSES:
            value = getattr(holder, word, None) if holder is not None else None
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                yield value


@dataclass(frozen=True)
class _Layout:
    """A head's channels as (before, classes, after)."""

    before: int
    after: int


def _layout(flow: Flow, head: _Head, classes: int) -> _Layout | None:
    """How a head's channels are made of classes; None where they aren't."""
    times, rest = divmod(head.width, classes)
    if rest:
        return None
    if times == 1:
        return _Layout(1, 1)
    todo, seen = [head.call], {head.call}
    while todo:
        for node in flow.consumers(todo.pop(0)):
            if node in seen or node.kind != "operation" or not node.shapes:
                continue
            seen.add(node)
            pairs = set(zip(node.shapes[0], node.shapes[0][1:], strict=False))
            if (classes, times) in pairs or (times, classes) in pairs:
                return _Layout(1, times) if (classes, times) in pairs else _Layout(times, 1)
            todo.append(node)
    return None


def _rows(layout: _Layout, new: int, old: int, keep: Sequence[int | None]) -> Iterator[int | None]:
    """For each new channel of a head the old one."""
    for before in range(layout.before):
        for i in range(new):
            kept = keep[i] if i < len(keep) else None
            for after in range(layout.after):
                yield None if kept is None else (before * old + kept) * layout.after + after


def _labels(model: nn.Module, new: int, old: int, keep: Sequence[int | None]) -> Iterator[tuple[str, str, Any]]:
    """What a configuration of transformers says of its classes."""
    labels = vars(getattr(model, "config", object)).get("id2label")
    if not isinstance(labels, dict) or len(labels) != old:
        return
    kept = dict(enumerate(keep))
    names = {i: str(labels[row]) for i, row in kept.items() if row is not None}
    taken = set(names.values())
    fresh = (label for label in map("LABEL_{}".format, itertools.count()) if label not in taken)
    names = {i: names[i] if i in names else next(fresh) for i in range(new)}
    yield "", "config.id2label", names
    yield "", "config.label2id", {label: i for i, label in names.items()}


def _refuse_classes(model: nn.Module, keep: Sequence[Any] | None, old: int, new: int) -> None:
    wrong = [row for row in keep or () if row is not None and not (isinstance(row, int) and 0 <= row < old)]
    if wrong or len(keep or ()) > new:
        raise PlanError(
            f"keep={list(keep or ())!r} doesn't fit {type(model).__name__}, of {old} classes, as one of {new}.",
            f"expected at most {new} numbers from 0 to {old - 1}, got {wrong or len(keep or ())}",
            expected=range(old),
            got=keep,
            way_out=f"ts.set_outputs(model, {new}, keep={list(range(min(new, old, 3)))})",
        )


def _refuse_head(flow: Flow, head: _Head) -> None:
    layer = head.call.module
    assert layer is not None
    reason = why_fixed(layer) or ("has groups" if getattr(layer, "groups", 1) != 1 else None)
    calls = set(flow.calls(layer))
    tensors = [tensor for tensor in layer._parameters.values() if tensor is not None]
    if any(not calls.issuperset(flow.readers.get(id(tensor), ())) for tensor in tensors):
        reason = "shares its weight with another layer"
    if reason is not None:
        raise PlanError(
            f"cannot set the outputs of {head.call.name} ({type(layer).__name__}): it {reason}.",
            name=head.call.name,
            got=layer,
            way_out=f"put another layer there:  ts.replace(model, {head.call.name!r}, lambda old: nn.Linear(…))",
        )


def confirm_outputs(model: nn.Module, given: Any, edit: Resize) -> None:
    """Run the altered model.

    Raises:
        PlanError: if it can't be run.
    """
    _confirmed(model, edit, lambda: followed(model, given))


def _confirmed(model: nn.Module, edit: Resize, run: Callable[[], object]) -> None:
    try:
        run()
    except TraceError as error:
        first, *rest = str(error).split("\n")
        layers = ", ".join(edit.converters)
        raise PlanError(
            f"cannot {edit.asked} of {type(model).__name__}: with {layers} changed it can't be run.",
            *(line.strip() for line in (first, *rest[:1])),
            name=error.name,
            got=list(edit.converters),
            way_out="something else in its code tells the number; change that, too, before:  ts.plan(model).replace(…)",
        ) from error


def _no_head(model: nn.Module, heads: Sequence[_Head]) -> PlanError:
    rows = dict.fromkeys(f"{head.output}: {head.call.name}, {head.width} channels" for head in heads)
    return PlanError(
        f"it isn't clear which layers of {type(model).__name__} tell its classes.",
        *(list(rows)[:6] or ["no linear layer or convolution gives its output"]),
        got=list(dict.fromkeys(head.call.name for head in heads)),
        way_out="change the layer that you mean:  ts.replace(model, 'head', lambda old: nn.Linear(512, 10))",
    )
