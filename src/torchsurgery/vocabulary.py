"""New tokens: a table that gets further rows, with the head that is tied to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from .coupling.answers.groups import Coupling
from .coupling.constraints.integers import Attribute, Unsolved, names_in
from .coupling.constraints.record import layer_of
from .coupling.cuts.tokens import Place, Tokens
from .coupling.running.attributes import is_config
from .coupling.tracing import trace
from .edits import Widen, target_in_words
from .errors import CouplingError
from .pruning import Proof, selected
from .selection import Target


class Asked(NamedTuple):
    """What the user asks for; see `Plan.widen`."""

    target: Target
    tokens: int
    rows: Tensor | None
    outputs: Callable[[Any], Any] | None


def prepare(model: nn.Module, asked: Asked, inputs: Any) -> tuple[Proof, Widen]:
    """Trace a model and work out what gets longer.

    Raises:
        SelectionError: if nothing is selected.
        CouplingError: if it can't.
        TraceError: if the model fails on these inputs.
    """
    layers = selected(model, asked.target)
    coupling = trace(model, inputs, outputs=asked.outputs).tied
    further = dict(_further(model, coupling, layers, asked))
    tokens = Tokens(coupling, further)
    try:
        cut = tokens.cut()
    except Unsolved as error:
        raise CouplingError(
            f"cannot add tokens to {', '.join(layers)}: the code computes a size that can't follow: {error}.",
            name=layers[0],
            way_out="give example_inputs with which the model takes another way, or outputs= for what you use",
        ) from error
    _refuse_rows(coupling, further, asked, layers[0])
    heads = dict(_other_heads(coupling, tokens, further))
    told = {**_told(model, coupling, further), **cut.attributes}
    _refuse_config_of_both(told, heads, layers)
    added = {leaf: (dim, number) for leaf, dim, number in tokens.places()}
    words = f"{target_in_words(asked.target)}  → {asked.tokens:,} tokens"
    edit = Widen(words, layers, cut.kept, tuple(told.items()), left=heads, added=added, rows=asked.rows)
    return Proof(coupling, cut, np.zeros(coupling.classes.count, bool), inputs, asked.outputs), edit


def _further(
    model: nn.Module, coupling: Coupling, layers: tuple[str, ...], asked: Asked
) -> Iterator[tuple[Place, int]]:
    """The axis of each layer that counts tokens, and how many come."""
    for name in layers:
        is_table = isinstance(model.get_submodule(name), nn.Embedding | nn.EmbeddingBag)
        place = coupling.place(name, "in" if is_table else "out")
        now = len(coupling.leaf_axis(*place))
        if now < 2:
            raise CouplingError(f"cannot add tokens to {name}: it has {now}.", name=name, way_out="replace it")
        if (coupling.classes.of(coupling.leaf_axis(*place)) > 0).any():
            raise CouplingError(
                f"cannot add tokens to {name}: its channels count none.",
                "expected a table, or a layer that gives the model's output",
                name=name,
                way_out=f"to make it wider:  ts.widen(model, {name!r}, {asked.tokens}, example_inputs=x)",
            )
        if asked.tokens <= now:
            raise CouplingError(
                f"cannot widen {name} {now} → {asked.tokens} tokens: that is not more.",
                f"expected more than {now}, got {asked.tokens}",
                name=name,
                expected=now,
                got=asked.tokens,
                way_out=f"ts.widen(model, {name!r}, tokens={now + 8}, example_inputs=x)",
            )
        yield place, asked.tokens - now


def _refuse_rows(coupling: Coupling, further: dict[Place, int], asked: Asked, name: str) -> None:
    if asked.rows is None:
        return
    (leaf, dim), number = next(iter(further.items()))
    shape = [len(axis) for axis in coupling.record.leaves[leaf]]
    shape[dim] = number
    if list(asked.rows.shape) != shape:
        raise CouplingError(
            f"rows= are {list(asked.rows.shape)}, but {name} gets {shape}.",
            name=name,
            expected=tuple(shape),
            got=tuple(asked.rows.shape),
            way_out="one row for each new token, or none of them for the mean of the old",
        )


def _told(model: nn.Module, coupling: Coupling, further: dict[Place, int]) -> dict[Attribute, int]:
    """What tells the number by its name, in the layers above: `vocab_size`, of a module or of its config."""
    found: dict[Attribute, int] = {}
    # Where the code makes sizes of it, these tell.
    used = {name for site in coupling.record.integers.sites for name in names_in(site.expression)}
    for (leaf, dim), number in further.items():
        now = len(coupling.leaf_axis(leaf, dim))
        parts = leaf.split(".")[:-1]
        for name in (".".join(parts[:i]) for i in range(len(parts))):
            for key, state in _states(model.get_submodule(name)):
                told = Attribute(name, f"{key}vocab_size")
                if state.get("vocab_size") == now and told not in used:
                    found[told] = now + number
    return found


def _other_heads(coupling: Coupling, tokens: Tokens, further: dict[Place, int]) -> Iterator[tuple[str, str]]:
    """Layers that give outputs of the old number, and go on doing so."""
    now = {len(coupling.leaf_axis(*place)) for place in further}
    answered = [axis for axes in coupling.record.answers for axis in axes if len(axis) in now]
    for leaf, axes in coupling.record.leaves.items():
        for axis in axes:
            if len(axis) in now and tokens.count(axis) in now and any(np.isin(axis, other).all() for other in answered):
                yield layer_of(leaf), "not tied to it: select it, too, to have it tell the new tokens"


def _refuse_config_of_both(told: dict[Attribute, int], heads: dict[str, str], layers: tuple[str, ...]) -> None:
    """Raise where one number of the config stands for the table and for a head that would not follow it."""
    configs = [f"{module or 'model'}.{key}" for module, key in told if "." in key]
    if heads and configs:
        head = next(iter(heads))
        both = ", ".join(map(repr, (*layers, *heads)))
        raise CouplingError(
            f"cannot add tokens to {', '.join(layers)} alone: {head} tells as many, and is not tied to it.",
            f"{configs[0]} stands for both; with labels, the model would fail",
            name=layers[0],
            got=head,
            way_out=f"select both:  ts.widen(model, ({both}), tokens=…, example_inputs=x)",
        )


def _states(module: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", vars(module)
    for key, value in vars(module).items():
        if is_config(value):
            yield f"{key}.", vars(value)
