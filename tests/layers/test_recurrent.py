import itertools

import pytest
import torch
from holding import converted
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.recurrent import CELLS, LAYERS

DOUBLE = {"dtype": torch.float64}


def output(layer, x):
    return layer(x)[0]


@given(st.sampled_from(LAYERS), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_the_same_kind(cls, layers, bias, first, both):
    old = cls(
        4, 5, layers, bias=bias, batch_first=first, dropout=0.3 * (layers > 1), bidirectional=both, **DOUBLE
    ).eval()
    x = torch.randn(6, 6, 4, **DOUBLE)
    conversion, new = converted(old, cls)
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(output(old, x), output(new, x))
    conversion, new = converted(old, cls, dropout=0.0)
    assert torch.equal(output(old, x), output(new, x))
    assert conversion.fidelity is (Fidelity.EXACT_IN_EVAL if layers > 1 else Fidelity.EXACT)
    conversion, new = converted(old, cls, batch_first=not first)
    assert "time and batch are the other way round" in conversion.remarks
    assert torch.allclose(output(new, x.transpose(0, 1)).transpose(0, 1), output(old, x), rtol=1e-10, atol=1e-10)


@given(st.sampled_from(LAYERS), st.booleans())
def test_a_second_direction_leaves_the_first(cls, bias):
    old = cls(4, 5, bias=bias, **DOUBLE)
    conversion, new = converted(old, cls, bidirectional=True)
    x = torch.randn(6, 2, 4, **DOUBLE)
    assert conversion.fidelity is Fidelity.INITIALISED and new.weight_ih_l0 is old.weight_ih_l0
    assert conversion.remarks == ("the forward half of the output is exact",)
    assert torch.allclose(output(new, x)[..., :5], output(old, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(LAYERS, 2)))
def test_other_kinds_are_begun_anew(old, new):
    conversion, layer = converted(old(4, 5, 2, dropout=0.1, batch_first=True), new)
    assert conversion.fidelity is Fidelity.INITIALISED and (layer.num_layers, layer.batch_first) == (2, True)
    assert conversion.remarks == (f"{new.__name__} has other gates than {old.__name__}",)
    assert layer(torch.randn(2, 3, 4))[0].shape == (2, 3, 5)


@given(st.sampled_from(range(3)), st.booleans())
def test_a_layer_is_its_cell_step_after_step(kind, bias):
    old = LAYERS[kind](4, 5, bias=bias, **DOUBLE)
    conversion, cell = converted(old, CELLS[kind])
    assert conversion.fidelity is Fidelity.EXACT and cell.weight_ih is old.weight_ih_l0
    x, state, steps = torch.randn(6, 2, 4, **DOUBLE), None, []
    for step in x:
        state = cell(step, state)
        steps.append(state[0] if isinstance(state, tuple) else state)
    assert torch.allclose(torch.stack(steps), output(old, x), rtol=1e-10, atol=1e-10)
    conversion, back = converted(cell, LAYERS[kind])
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(output(back, x), output(old, x))


def test_what_is_no_cell():
    with pytest.raises(ConfigError, match="several, or projects"):
        convert(nn.LSTM(4, 5, 2), nn.LSTMCell)
    assert convert(nn.LSTM(4, 5), nn.GRUCell).fidelity is Fidelity.INITIALISED
    assert convert(nn.LSTMCell(4, 5), nn.GRU).fidelity is Fidelity.INITIALISED
    assert convert(nn.LSTMCell(4, 5), nn.GRUCell).fidelity is Fidelity.INITIALISED
    assert convert(nn.LSTMCell(4, 5), nn.LSTMCell).fidelity is Fidelity.EXACT


def test_arguments_of_their_own():
    old = nn.RNN(4, 5, nonlinearity="relu")
    assert like(old, nn.RNN).nonlinearity == "relu" and like(old, nn.RNNCell).nonlinearity == "relu"
    changed = convert(old, nn.RNN, {"nonlinearity": "tanh"})
    assert changed.fidelity is Fidelity.APPROXIMATE
    assert like(nn.LSTM(4, 6, proj_size=3), nn.LSTM).proj_size == 3
    assert convert(nn.LSTM(4, 5), nn.LSTM, {"hidden_size": 8}).fidelity is Fidelity.INITIALISED
    assert "proj_size=3" in convert(nn.LSTM(4, 6, proj_size=3), nn.GRU).dropped
