"""The back end of a model: which layers give its output, read off a run by going backwards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..edits import Resize
from ..errors import PlanError, TraceError
from ..flow import Flow, Node
from ..inputs import followed
from ..layers.ends import (
    keeps_channels_apart,
    mixes,
    why_fixed,
    width_out,
)
from ..recipes.ways import converter
from .telling import CLASSES, attributes_told, by_hand, confirmed


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
    told = [*attributes_told(model, tuple(converters), CLASSES, old, number), *_labels(model, number, old, keep or ())]
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
        for word in CLASSES:
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
    confirmed(model, edit, lambda: followed(model, given))


def _no_head(model: nn.Module, heads: Sequence[_Head]) -> PlanError:
    layers = [(head.call.name, head.call.module) for head in heads if head.call.module is not None]
    rows = dict.fromkeys(f"{head.output}: {head.call.name}, {head.width} channels" for head in heads)
    return PlanError(
        f"it isn't clear which layers of {type(model).__name__} tell its classes.",
        *(list(rows)[:6] or ["no linear layer or convolution gives its output"]),
        got=list(dict.fromkeys(head.call.name for head in heads)),
        way_out=by_hand(layers or list(model.named_modules())[::-1], "out_features", "out_channels", 10),
    )
