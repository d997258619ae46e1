import pytest
import torch
from holding import converted, hold
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert
from torchsurgery.origins import Initialised

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@settings(max_examples=40)
@given(st.sampled_from(CONVS), st.booleans(), st.booleans(), st.sampled_from([1, 2]))
def test_linear_and_pointwise_convolution(cls, bias, asked, groups):
    axes = CONVS.index(cls) + 1
    x = torch.randn(3, 4, *range(2, 2 + axes), dtype=torch.float64)
    old = nn.Linear(4, 6, bias, dtype=torch.float64)
    conversion, new = converted(old, cls, bias=asked)
    assert (conversion.fidelity is Fidelity.EXACT) == (asked or not bias)
    if conversion.fidelity is Fidelity.EXACT:
        assert torch.allclose(new(x).movedim(1, -1), old(x.movedim(1, -1)), rtol=1e-10, atol=1e-10)
    grouped = cls(4, 6, 1, groups=groups, bias=bias, dtype=torch.float64)
    conversion, back = converted(grouped, nn.Linear)
    assert conversion.fidelity is Fidelity.EXACT and not conversion.dropped
    assert torch.allclose(grouped(x).movedim(1, -1), back(x.movedim(1, -1)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("overrides", [{"out_channels": 5}, {"kernel_size": 3}, {"groups": 2}, {"in_channels": 8}])
def test_a_convolution_with_more_is_initialised(overrides):
    conversion, new = converted(nn.Linear(4, 6), nn.Conv2d, **overrides)
    assert conversion.fidelity is Fidelity.INITIALISED and all(p.isfinite().all() for p in new.parameters())


def test_a_convolution_that_looks_around_is_no_linear():
    for old in (nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 1, stride=2), nn.Conv2d(2, 3, 1, padding=1)):
        with pytest.raises(ConfigError, match="Conv2d can't be made a Linear"):
            convert(old, nn.Linear)
    assert convert(nn.Conv2d(2, 3, 1), nn.Linear, {"out_features": 5}).fidelity is Fidelity.INITIALISED


def test_strides_make_a_difference():
    assert converted(nn.Linear(4, 6), nn.Conv2d, stride=2)[0].fidelity is Fidelity.APPROXIMATE


def test_bias_and_features():
    old = nn.Linear(4, 6, bias=False, dtype=torch.float64)
    x = torch.randn(3, 4, dtype=torch.float64)
    conversion, new = hold(old, nn.Linear, x, bias=True)
    assert conversion.fidelity is Fidelity.EXACT and not new.bias.any() and new.weight is old.weight
    conversion, _ = converted(new, nn.Linear, bias=False)
    assert conversion.fidelity is Fidelity.APPROXIMATE and conversion.lost == ("bias",)
    for bad in (-1, 2.0, True):
        with pytest.raises(ConfigError, match="whole number"):
            convert(old, nn.Linear, {"out_features": bad})


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_other_numbers_of_features(inputs, outputs, new_in, new_out, bias):
    old = nn.Linear(inputs, outputs, bias, dtype=torch.float64)
    conversion, new = converted(old, nn.Linear, in_features=new_in, out_features=new_out)
    if new_out < outputs:
        assert conversion.fidelity is Fidelity.INITIALISED and conversion.lost[0] == "weight"
        assert conversion.origins["weight"] == Initialised(f"{outputs} → {new_out} outputs")
        assert all(
            p.requires_grad
            for p in converted(old.requires_grad_(False), nn.Linear, out_features=new_out)[1].parameters()
        )
        return
    x, kept = torch.randn(3, min(inputs, new_in), dtype=torch.float64), outputs
    if new_in == 1 < inputs:
        y, z = old(x.expand(-1, inputs)), new(x)
    else:
        y = old(torch.nn.functional.pad(x, (0, inputs - x.shape[1])))
        z = new(torch.cat([x, torch.randn(3, new_in - x.shape[1], dtype=torch.float64)], 1))
    assert torch.allclose(y[:, :kept], z[:, :kept], rtol=1e-10, atol=1e-10)
    less = Fidelity.APPROXIMATE if 1 < new_in < inputs else Fidelity.EXACT
    assert conversion.fidelity is (Fidelity.INITIALISED if new_out > outputs else less)
    assert new.weight.isfinite().all() and (new_out <= outputs or new.weight[outputs:].abs().min() > 0)


def test_the_error_of_leaving_inputs_out_is_the_measured_one():
    old = nn.Linear(64, 48, bias=False, dtype=torch.float64)
    conversion, new = converted(old, nn.Linear, in_features=40)
    x = torch.randn(20_000, 64, dtype=torch.float64)
    with torch.no_grad():
        y, z = old(x), new(x[:, :40])
    assert float((y - z).norm() / y.norm()) == pytest.approx(conversion.error, rel=0.03)
    assert conversion.remarks == ("channels 40–63 are no longer seen",)
    assert convert(nn.Linear(4, 6, device="meta"), nn.Linear, {"in_features": 3}).error is None


# --- a map that is flattened


@settings(max_examples=40)
@given(st.integers(0, 2), st.integers(1, 3), st.booleans())
def test_flatten_and_linear_are_a_convolution_over_the_whole_map(axes, channels, bias):
    sizes = (3, 2, 4)[: axes + 1]
    old = nn.Linear(channels * torch.Size(sizes).numel(), 5, bias, dtype=torch.float64)
    x = torch.randn(2, channels, *sizes, dtype=torch.float64)
    conversion, conv = converted(old, CONVS[axes], kernel_size=sizes)
    assert (
        conversion.fidelity is Fidelity.EXACT
        and conv.in_channels == channels
        and "not flattened" in conversion.remarks[0]
    )
    assert torch.allclose(conv(x).flatten(1), old(x.flatten(1)), rtol=1e-10, atol=1e-10)
    larger = torch.nn.functional.pad(x, (0, 1) * (axes + 1))
    assert torch.allclose(conv(larger)[(..., *[0] * (axes + 1))], old(x.flatten(1)), rtol=1e-10, atol=1e-10)
    conversion, back = converted(conv, nn.Linear, in_features=old.in_features)
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(back.weight, old.weight)


def test_in_a_network_the_flatten_goes_behind():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))
    x = torch.randn(2, 3, 8, 8)
    before = net(x)
    ts.plan(net).remove("1").replace("2", nn.Conv2d, kernel_size=6).insert(nn.Flatten(), after="2").apply()
    assert torch.allclose(net(x), before, atol=1e-5)
    assert net[:2](torch.randn(1, 3, 20, 20)).shape == (1, 4, 18, 18)


def test_a_grouped_convolution_over_the_whole_map():
    old = nn.Conv2d(4, 6, 3, stride=2, groups=2, dtype=torch.float64)
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    conversion, new = converted(old, nn.Linear, in_features=36)
    assert conversion.fidelity is Fidelity.EXACT
    assert torch.allclose(new(x.flatten(1)), old(x).flatten(1), rtol=1e-10, atol=1e-10)
    with pytest.raises(ConfigError, match="in_features=36"):
        convert(old, nn.Linear)
    with pytest.raises(ConfigError, match="does not look at each place"):
        convert(nn.Conv2d(4, 6, 3, padding=1), nn.Linear, {"in_features": 36})
