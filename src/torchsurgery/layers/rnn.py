"""Constructor arguments of recurrent layers. Their constructors take `*args`, and a projection is for the LSTM only."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule

_SIZES = ("input_size", "hidden_size")
# The references tell a scripted layer that its weights were replaced; nothing else reads them.
_STALE = (*_SIZES, "_flat_weight_refs")


def _recurrent(layer: nn.RNNBase) -> dict[str, Any]:
    projected = layer._parameters.get("weight_hr_l0")
    hidden = layer.weight_hh_l0 if projected is None else projected
    return {
        "input_size": layer.weight_ih_l0.shape[1],  # type: ignore[index]
        "hidden_size": hidden.shape[1],  # type: ignore[index]
        "num_layers": layer.num_layers,
        "bias": layer.bias,
        "batch_first": layer.batch_first,
        "dropout": layer.dropout,
        "bidirectional": layer.bidirectional,
    }


@config_rule(nn.RNNBase, stale=_STALE)
def _base(layer: nn.RNNBase) -> dict[str, Any]:
    return {"mode": layer.mode, **_recurrent(layer), "proj_size": layer.proj_size}


@config_rule(nn.RNN, stale=_STALE)
def _rnn(layer: nn.RNN) -> dict[str, Any]:
    return _recurrent(layer) | {"nonlinearity": layer.nonlinearity}


@config_rule(nn.LSTM, stale=_STALE)
def _lstm(layer: nn.LSTM) -> dict[str, Any]:
    return _recurrent(layer) | {"proj_size": layer.proj_size}


config_rule(nn.GRU, stale=_STALE)(_recurrent)


# --- cells


def _cell(layer: nn.RNNCellBase) -> dict[str, Any]:
    return {
        "input_size": layer.weight_ih.shape[1],
        "hidden_size": layer.weight_hh.shape[1],
        "bias": layer._parameters["bias_ih"] is not None,
    }


for _class in (nn.LSTMCell, nn.GRUCell):
    config_rule(_class, stale=(*_SIZES, "bias"))(_cell)


@config_rule(nn.RNNCell, stale=(*_SIZES, "bias"))
def _rnn_cell(layer: nn.RNNCell) -> dict[str, Any]:
    return _cell(layer) | {"nonlinearity": layer.nonlinearity}


@config_rule(nn.RNNCellBase, stale=(*_SIZES, "bias"))
def _cell_base(layer: nn.RNNCellBase) -> dict[str, Any]:
    rows, hidden = layer.weight_hh.shape
    return _cell(layer) | {"num_chunks": rows // hidden}
