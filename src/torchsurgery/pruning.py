"""Pruning: from what a user asks for to an edit that names every entry that is kept, and its proof."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from .choosing import Amount, Wish, choose
from .coupling.answers.groups import Coupling
from .coupling.certificate import certify
from .coupling.constraints.record import layer_of
from .coupling.cuts.cut import Cut
from .coupling.cuts.ties import ties
from .coupling.solving.classes import Flags
from .coupling.tracing import trace
from .edits import Prune, target_in_words
from .errors import CouplingError, TraceError, VerificationError
from .importance import Importance, name_of
from .selection import Target, select
from .tree import Draft


class Asked(NamedTuple):
    """What the user asks for; see `Plan.prune`."""

    target: Target | None
    amount: Amount | None
    channels: Sequence[int] | None
    by: Importance
    ignore: Target | None
    round_to: int
    ranked: bool
    params: Amount | None
    macs: Amount | None
    outputs: Callable[[Any], Any] | None
    heads: bool | None = None
    min_width: Amount = 1

    def in_words(self) -> str:
        """In one line, for the plan."""
        words = ["the whole model" if self.target is None else target_in_words(self.target)]
        if self.channels is not None:
            words.append(f"{len(self.channels)} channel{'s' * (len(self.channels) != 1)}")
        if self.amount is not None:
            words.append(
                f"−{self.amount:.0%}".replace("%", " %") if isinstance(self.amount, float) else f"−{self.amount}"
            )
        for what, budget in (("params", self.params), ("MACs", self.macs)):
            if budget is not None:
                words.append(f"to {budget:.0%} of {what}" if isinstance(budget, float) else f"to {budget:,} {what}")
        if self.channels is None:
            words.append(f"by {name_of(self.by)}")
        return "  ".join(words)


_SCORES = ("l1", "l2", "bn_scale", "random", "taylor")


@dataclass(frozen=True, eq=False)
class Proof:
    """What the altered model is held against."""

    before: Coupling
    cut: Cut
    dead: Flags
    inputs: Any
    outputs: Callable[[Any], Any] | None

    def check(self, model: nn.Module) -> None:
        """Trace the altered model, and raise if it is not the old one with entries left out.

        Raises:
            VerificationError: naming what doesn't fit.
        """
        try:
            after = trace(model, self.inputs, outputs=self.outputs)
        except TraceError as error:
            raise VerificationError(
                f"{self.before.model_name} does not run any more with these channels altered.",
                str(error),
                name=error.name,
                got=error,
                way_out="a size in its code does not follow: keep this layer, with  ignore=",
            ) from error
        certify(self.before, after if self.before.rows else after.tied, self.cut, self.dead)


def refuse_senseless(asked: Asked, inputs: Any) -> None:
    """Raise on what can't be meant, before anything is traced.

    Raises:
        CouplingError: naming what was given.
    """
    example = "for example  ts.prune(model, 'layer1.*.conv1', 0.5, example_inputs=x)"
    given = [asked.amount, asked.channels, asked.params, asked.macs]
    if isinstance(asked.target, int | float):
        raise CouplingError(
            f"{asked.target!r} stands in the target's place.",
            got=asked.target,
            way_out=f"prune everything by it:  ts.prune(model, amount={asked.target!r}, example_inputs=x)",
        )
    if sum(value is not None for value in given) != 1:
        raise CouplingError("prune needs one of amount, channels=, params= and macs=.", way_out=example)
    if inputs is None:
        raise CouplingError("pruning needs example_inputs, to find out what is coupled.", way_out=example)
    if asked.channels is not None and asked.target is None:
        raise CouplingError("channels= are those of one layer, which must be named.", way_out=example)
    if type(asked.round_to) is not int or asked.round_to < 1:
        raise CouplingError(
            f"round_to must be a positive whole number, got {asked.round_to!r}.",
            got=asked.round_to,
            way_out="round_to=8",
        )
    numbers = (("amount", asked.amount), ("params", asked.params), ("macs", asked.macs), ("min_width", asked.min_width))
    for name, value in numbers:
        if value is not None:
            _refuse_number(name, value)
    if not callable(asked.by):
        raise CouplingError(
            f"by= is a function that scores channels, got {asked.by!r}.",
            got=asked.by,
            way_out=f"by=ts.importance.{asked.by if asked.by in _SCORES else 'l2'}, or one of your own",
        )
    refuse_no_choice(asked.heads)
    if asked.ranked and not isinstance(asked.amount, float):
        raise CouplingError(
            "ranked=True takes amount as a share of all channels, and no budget or number.",
            got=asked.amount,
            way_out="ts.prune(model, amount=0.5, ranked=True, example_inputs=x)",
        )


def refuse_no_choice(heads: Any) -> None:
    """Raise unless `heads` says yes, no or either."""
    if heads is not None and not isinstance(heads, bool):
        raise CouplingError(
            f"heads= is True for whole heads, False for their width, or None, got {heads!r}.",
            got=heads,
            way_out="heads=True",
        )


def _refuse_number(name: str, value: Any) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not whole and not (isinstance(value, float) and 0 < value < 1):
        raise CouplingError(
            f"{name} must be a positive whole number, or a share between 0 and 1, got {value!r}.",
            name=name,
            got=value,
            way_out=f"{name}=0.5 for half, {name}=16 for sixteen",
        )


def prepare(model: nn.Module, asked: Asked, inputs: Any) -> tuple[Proof, Prune]:
    """Trace a model and work out what goes.

    Raises:
        SelectionError: if nothing is selected.
        CouplingError: if it can't go.
        TraceError: if the model fails on these inputs.
    """
    layers = None if asked.target is None else selected(model, asked.target)
    channels = None if asked.channels is None else _channels(model, layers or (), asked.channels)
    ignore = () if asked.ignore is None else selected(model, asked.ignore)
    coupling = trace(model, inputs, outputs=asked.outputs)
    layers = None if layers is None else with_channels(coupling, layers, model)
    wish = Wish(
        layers,
        asked.amount,
        channels,
        asked.by,
        ignore,
        asked.round_to,
        asked.ranked,
        asked.params,
        asked.macs,
        heads=asked.heads,
        min_width=asked.min_width,
    )
    cut, dead, coupling = choose(coupling, wish, Draft(model).tensors())
    if not cut.kept:
        raise CouplingError(
            f"nothing of {type(model).__name__} can be pruned so.",
            "what is asked for comes to less than one channel of every group, or all of them are frozen",
            way_out="see what can change with  print(ts.trace(model, x))",
        )
    named = layers or _giving(coupling, cut)
    caches, left = tuple(dict.fromkeys(coupling.record.caches)), {**cut.left, **not_run(coupling)}
    attributes, tied = tuple(cut.attributes.items()), tuple(ties(coupling, dead))
    edit = Prune(asked.in_words(), named, cut.kept, attributes, caches, left, cut.mixing, tied)
    return Proof(coupling, cut, dead, inputs, asked.outputs), edit


def selected(model: nn.Module, target: Target) -> tuple[str, ...]:
    """The names of the layers that a target selects."""
    return tuple(place.name for place in select(model, target))


def with_channels(coupling: Coupling, layers: tuple[str, ...], model: nn.Module) -> tuple[str, ...]:
    """Those layers that have output channels: a pattern may well match a block or an activation.

    Raises:
        SelectionError: if none has.
        CouplingError: if its weights are quantized, and packed away.
    """
    found = tuple(name for name in layers if coupling.has_channels(name))
    for name in found:
        _refuse_rivals(coupling, name, model)
    if found:
        return found
    kind = type(model.get_submodule(layers[0]))
    if ".quantized." in f"{kind.__module__}.":
        raise CouplingError(
            f"cannot change the width of {layers[0]}: the weights of a quantized {kind.__name__} are packed.",
            name=layers[0],
            got=kind,
            way_out="prune or widen before the model is quantized",
        )
    coupling.place(layers[0])  # raises, as there is none
    return layers


def _refuse_rivals(coupling: Coupling, name: str, model: nn.Module) -> None:
    """Raise where a module of somebody's own has several weights, such as an adapter around a layer."""
    module = model.get_submodule(name)
    rivals = () if type(module).__module__.startswith("torch.") else coupling.rivals(name)
    if not rivals:
        return
    prefix = f"{name}." if name else ""
    inside = [f"{prefix}{path}" for path, _ in module.named_modules() if path and coupling.has_channels(prefix + path)]
    raise CouplingError(
        f"it isn't clear what the output channels of {name or 'the model'} ({type(module).__name__}) are.",
        f"{' and '.join(leaf.removeprefix(prefix) for leaf in rivals)} are weights of it that give different channels",
        name=name,
        got=rivals,
        way_out=f"name the layer inside:  {inside[0]!r}" if inside else "give each of these weights a layer of its own",
    )


def _channels(model: nn.Module, layers: tuple[str, ...], channels: Sequence[int]) -> tuple[int, ...]:
    """The channels asked for, if they are whole numbers, each once."""
    if len(layers) != 1:
        raise CouplingError(
            f"channels= are those of one layer, but {len(layers)} are selected.",
            f"got {', '.join(layers[:4])}",
            got=layers,
            way_out=f"ts.prune(model, {layers[0]!r}, channels=[…], example_inputs=x)",
        )
    wanted = _whole(layers[0], channels)
    twice = sorted({channel for channel in wanted if wanted.count(channel) > 1})
    if twice or not wanted:
        what = f"channel {twice[0]} is given twice" if twice else "no channel is given"
        raise CouplingError(
            f"cannot prune {layers[0]}: {what}.",
            name=layers[0],
            got=tuple(wanted),
            way_out=f"ts.prune(model, {layers[0]!r}, channels={sorted(set(wanted)) or [0]}, example_inputs=x)",
        )
    return tuple(sorted(wanted))


def _whole(layer: str, channels: Any) -> list[int]:
    """Channels as a list of whole numbers."""
    listed = channels.tolist() if hasattr(channels, "tolist") else channels
    given: list[Any] = list(listed) if isinstance(listed, Iterable) else [None]
    if not all(type(channel) is int for channel in given):
        raise CouplingError(
            f"channels= are whole numbers, got {channels!r} for {layer}.",
            name=layer,
            got=channels,
            way_out=f"ts.prune(model, {layer!r}, channels=[0, 5], example_inputs=x)",
        )
    return given


def _giving(coupling: Coupling, cut: Cut) -> tuple[str, ...]:
    """The layers that lose output channels."""
    roles, leaves = coupling.record.roles, coupling.record.leaves
    found = (leaf for leaf, axes in cut.kept.items() if any(roles.get(id(leaves[leaf][dim])) == "out" for dim in axes))
    return tuple(dict.fromkeys(map(layer_of, found)))


def not_run(coupling: Coupling) -> dict[str, str]:
    """Layers of which it isn't known what they need → why."""
    why = "not run on these inputs, so not changed along"
    if coupling.record.deciding:
        deciding = ", ".join(name or "the model" for name in list(coupling.record.deciding)[:3])
        why = f"not run on these inputs, as values in {deciding} decide, so not changed along"
    return dict.fromkeys(coupling.unseen, why)
