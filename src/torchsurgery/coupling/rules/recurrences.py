"""Rules of recurrent layers, whose gates are rows of one weight."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..constraints.atoms import Axis
from .call import Call
from .registry import serves

_GATES = {"lstm": 4, "gru": 3}


@serves("lstm gru rnn_tanh rnn_relu")
def recurrent(call: Call) -> None:
    """Gates (gates · hidden, in), one set of weights for each layer and direction; of packed sequences, too."""
    x, params, given = call.args[0], call.arg("params"), call.arg("hx")
    states = list(given) if isinstance(given, (list, tuple)) else [given]
    biases, layers = bool(call.arg("has_biases")), int(call.arg("num_layers"))
    directions = 2 if call.arg("bidirectional") else 1
    axes, per = call.axes(x), len(params) // (layers * directions)
    width, hidden = axes[-1], call.ledger.fresh(_hidden_size(call, params))
    for layer in range(layers):
        outs = []
        for direction in range(directions):
            at = (layer * directions + direction) * per
            outs.append(_cell(call, params[at : at + per], biases, width, hidden))
        width = np.concatenate(outs)
    for state, axis in zip(states, (outs[0], hidden), strict=False):
        call.tie(call.axes(state)[-1], axis)
    first, *others = call.outs
    call.give(first, [*axes[:-1], width])
    for tensor, axis in zip(others, (outs[0], hidden), strict=False):
        call.give(tensor, [*(call.fixed(n, "layers and batch") for n in tensor.shape[:-1]), axis])


@serves("_pack_padded_sequence")
def pack(call: Call) -> None:
    """(length, N, …) → (entries that count, …), and how many there are at each place."""
    axes = call.axes(call.args[0])
    for axis in axes[:2]:
        call.freeze(axis, "packed by lengths")
    data, sizes = call.outs
    call.give(data, [call.fixed(len(data), "packed by lengths"), *axes[2:]])
    call.give(sizes, [call.fixed(len(sizes), "packed by lengths")])


@serves("_pad_packed_sequence")
def pad_packed(call: Call) -> None:
    """And back."""
    padded, lengths = call.outs
    there = [call.fixed(size, "packed by lengths") for size in padded.shape[:2]]
    call.give(padded, [*there, *call.axes(call.args[0])[1:]])
    call.give(lengths, [call.fixed(len(lengths), "packed by lengths")])


def _cell(call: Call, params: Any, biases: bool, width: Axis, hidden: Axis) -> Axis:
    """One layer in one direction; all of them have one hidden size, so their hidden units are tied by number."""
    gates = _GATES.get(call.name, 1)
    taken, back, *rest = (call.axes(p) for p in params)
    call.sums(call.args[0], width, params[0], taken[1])
    sizes = (gates, len(taken[0]) // gates)
    call.tie(taken[1], width)
    call.role(taken[1], "in")
    for axis in (taken[0], back[0], *(b[0] for b in rest[: 2 * biases])):
        number, units = call.ledger.split(axis, sizes)
        call.freeze(number, "the gates of a recurrent layer")
        call.tie(units, hidden)
        call.role(axis, "out")
        call.record.counted[id(axis)] = units
    projections = rest[2 * biases :]
    out = projections[0][0] if projections else hidden
    if projections:
        call.tie(projections[0][1], hidden)
        call.sums(call.args[0], hidden, params[-1], projections[0][1])
        call.role(projections[0][1], "in")
        call.freeze(out, "projected in a recurrent layer")
        # PyTorch tells a layer with a projection from one without by the two widths.
        call.record.apart.append((hidden, len(out), "as many hidden units as they are projected to can't be"))
    call.tie(back[1], out)
    call.sums(call.args[0], out, params[1], back[1])
    call.role(back[1], "in")
    return out


def _hidden_size(call: Call, params: Any) -> int:
    return int(params[0].shape[0]) // _GATES.get(call.name, 1)
