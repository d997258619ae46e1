import itertools

import pytest
import torch
from holding import converted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
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
    assert "proj_size=3" in convert(nn.LSTM(4, 6, proj_size=3), nn.GRU).dropped


# --- other sizes


@st.composite
def layers(draw):
    cls = draw(st.sampled_from(LAYERS))
    projects = {"proj_size": 2} if cls is nn.LSTM and draw(st.booleans()) else {}
    count, both, bias = draw(st.integers(1, 3)), draw(st.booleans()), draw(st.booleans())
    return cls(4, 5, count, bias=bias, bidirectional=both, **projects, **DOUBLE).eval()


def halves(y, directions):
    """The output of each direction."""
    return y.chunk(directions, -1)


@settings(max_examples=60)
@given(layers(), st.integers(0, 4), st.integers(0, 3), st.booleans(), st.booleans())
def test_wider_layers_go_on_as_they_were(old, units, inputs, more_bias, both):
    projected = getattr(old, "proj_size", 0)
    sizes = {"hidden_size": 5 + units, "input_size": 4 + inputs, "bias": old.bias or more_bias}
    sizes |= {"proj_size": projected + min(units, 2)} if projected else {}
    sizes |= {"bidirectional": old.bidirectional or both}
    conversion, new = converted(old, type(old), **sizes)
    x = torch.randn(6, 2, 4, **DOUBLE)
    wide = torch.cat([x, torch.randn(6, 2, inputs, **DOUBLE)], -1)
    before = halves(output(old, x), 1 + old.bidirectional)
    after = halves(output(new, wide), 1 + new.bidirectional)
    for y, z in zip(before, after, strict=False):
        assert torch.allclose(z[..., : y.shape[-1]], y, rtol=1e-10, atol=1e-10)
    grows = units or new.bidirectional != old.bidirectional
    assert conversion.fidelity is (Fidelity.INITIALISED if grows else Fidelity.EXACT)
    assert all(p.isfinite().all() for p in new.parameters()) and not conversion.lost
    if units:
        assert new.weight_ih_l0[5].abs().max() > 0, "new units are initialised"


@settings(max_examples=40)
@given(layers(), st.integers(1, 5), st.integers(1, 4))
def test_narrower_layers_keep_the_first_units(old, units, inputs):
    projected = {"proj_size": 1} if getattr(old, "proj_size", 0) else {}
    units = max(units, 2) if projected else units
    conversion, new = converted(old, type(old), hidden_size=units, input_size=inputs, **projected)
    kept = [gate * 5 + unit for gate in range(old.weight_ih_l0.shape[0] // 5) for unit in range(units)]
    assert torch.equal(new.weight_ih_l0, old.weight_ih_l0[kept, :inputs])
    assert new(torch.randn(3, 2, inputs, **DOUBLE))[0].shape[-1] == (1 if projected else units) * (
        1 + old.bidirectional
    )
    same = (units, inputs) == (5, 4) and not projected
    assert conversion.fidelity is (Fidelity.EXACT if same else Fidelity.APPROXIMATE)


@given(st.sampled_from(LAYERS))
def test_the_gates_of_a_wider_layer_by_hand(cls):
    old = cls(1, 1, **DOUBLE)
    new = like(old, cls, hidden_size=2)
    gates = old.weight_hh_l0.shape[0]
    assert torch.equal(new.weight_hh_l0[::2, 0], old.weight_hh_l0[:, 0]) and not new.weight_hh_l0[::2, 1].any()
    assert new.weight_hh_l0.shape == (2 * gates, 2) and new.weight_hh_l0[1::2].all()
    assert torch.equal(new.bias_ih_l0[::2], old.bias_ih_l0)


@given(st.sampled_from(LAYERS), st.integers(1, 3), st.integers(1, 3))
def test_more_layers_and_fewer(cls, before, after):
    old = cls(4, 5, before, **DOUBLE)
    conversion, new = converted(old, cls, num_layers=after)
    both = range(min(before, after))
    assert all(getattr(new, f"weight_hh_l{i}") is getattr(old, f"weight_hh_l{i}") for i in both)
    if before == after:
        assert conversion.fidelity is Fidelity.EXACT
        return
    assert conversion.fidelity is (Fidelity.INITIALISED if after > before else Fidelity.APPROXIMATE)
    assert f"the first {min(before, after)} of {max(before, after)} layers go on" in conversion.remarks


@given(st.sampled_from(LAYERS), st.booleans())
def test_one_direction_of_two(cls, bias):
    old = cls(4, 5, bias=bias, bidirectional=True, **DOUBLE)
    conversion, new = converted(old, cls, bidirectional=False)
    x = torch.randn(6, 2, 4, **DOUBLE)
    assert torch.allclose(output(new, x), output(old, x)[..., :5], rtol=1e-10, atol=1e-10)
    assert conversion.fidelity is Fidelity.APPROXIMATE and "which is exact" in conversion.remarks[0]
    deeper = convert(cls(4, 5, 2, bidirectional=True), cls, {"bidirectional": False})
    assert deeper.fidelity is Fidelity.APPROXIMATE and "exact" not in deeper.remarks[0]


def test_with_and_without_a_projection():
    for old, asked in ((nn.LSTM(4, 6), 3), (nn.LSTM(4, 6, proj_size=3), 0)):
        conversion, new = converted(old, nn.LSTM, proj_size=asked)
        assert conversion.fidelity is Fidelity.INITIALISED and new.proj_size == asked
        assert "another thing" in conversion.remarks[0]


@given(st.sampled_from(CELLS), st.integers(0, 3), st.integers(0, 2))
def test_wider_cells(cls, units, inputs):
    old = cls(4, 5, **DOUBLE)
    conversion, new = converted(old, cls, hidden_size=5 + units, input_size=4 + inputs)
    x = torch.randn(2, 4, **DOUBLE)
    y, z = old(x), new(torch.cat([x, torch.randn(2, inputs, **DOUBLE)], -1))
    y, z = (state[0] if isinstance(state, tuple) else state for state in (y, z))
    assert torch.allclose(z[:, :5], y, rtol=1e-10, atol=1e-10)
    assert conversion.fidelity is (Fidelity.INITIALISED if units else Fidelity.EXACT)


@pytest.mark.parametrize(
    ("old", "asked", "words"),
    [
        (nn.GRU(4, 5), {"hidden_size": 0}, "at least 1 for hidden_size"),
        (nn.GRU(4, 5), {"num_layers": 1.5}, "at least 1 for num_layers"),
        (nn.LSTM(4, 5), {"proj_size": 5}, "fewer features than it has units"),
        (nn.GRUCell(4, 5), {"input_size": True}, "at least 1 for input_size"),
    ],
)
def test_sizes_that_can_not_be(old, asked, words):
    with pytest.raises(ConfigError, match=words):
        convert(old, type(old), asked)


def test_a_bias_goes_or_comes_as_zero():
    old = nn.GRU(4, 5, bias=False, **DOUBLE)
    conversion, new = converted(old, nn.GRU, bias=True)
    assert conversion.fidelity is Fidelity.EXACT and not new.bias_ih_l0.any()
    conversion, _ = converted(new, nn.GRU, bias=False)
    assert conversion.fidelity is Fidelity.APPROXIMATE and "the bias goes" in conversion.remarks


def test_in_a_plan_with_an_optimizer():
    net = nn.Sequential(nn.LSTM(4, 5, 2, batch_first=True))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 4))[0].sum().backward()
    optimizer.step()
    momentum = optimizer.state[net[0].weight_hh_l1]["exp_avg"].clone()
    done = ts.plan(net).replace(nn.LSTM, nn.LSTM, hidden_size=7).apply(optimizer=optimizer)
    carried = optimizer.state[net[0].weight_hh_l1]["exp_avg"]
    assert torch.equal(carried[7:12, :5], momentum[5:10]) and not carried[12:14].any() and not carried[:, 5:].any()
    assert "the first 5 units go on, of 7" in done.changes[0].remarks
    assert net(torch.randn(2, 3, 4))[0].shape == (2, 3, 7)


def test_the_list_that_a_layer_keeps_of_its_weights_is_right_before_the_first_forward():
    for asked in ({"num_layers": 2}, {"hidden_size": 7}, {"dropout": 0.1, "num_layers": 2}, {}):
        new = like(nn.GRU(4, 5), nn.GRU, **asked)
        assert all(one is other for one, other in zip(new._flat_weights, new.parameters(), strict=True))
        assert ts.config_of(new)["hidden_size"] == new.hidden_size
