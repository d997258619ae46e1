"""Rules of recurrent layers, whose gates are rows of one weight."""

from __future__ import annotations

from typing import Any

import numpy as np

from .atoms import Axis
from .rules import Call, serves

_GATES = {"lstm": 4, "gru": 3}


@serves("lstm gru rnn_tanh rnn_relu")
def recurrent(call: Call) -> None:
    """Gates (gates · hidden, in), one set of weights for each layer and direction."""
    x, params = call.args[0], call.arg("params")
    states = list(call.args[1]) if isinstance(call.args[1], (list, tuple)) else [call.args[1]]
    if not isinstance(params, (list, tuple)):
        raise ValueError("packed sequences are not followed")
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
    call.tie(back[1], out)
    call.sums(call.args[0], out, params[1], back[1])
    call.role(back[1], "in")
    return out


def _hidden_size(call: Call, params: Any) -> int:
    return int(params[0].shape[0]) // _GATES.get(call.name, 1)
