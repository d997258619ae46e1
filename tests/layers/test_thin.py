import pytest
import torch
from holding import converted, hold, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.thin import LOW_RANK, SEPARABLE

DOUBLE = {"dtype": torch.float64}
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SCHEMES = [*zip(CONVS, LOW_RANK, strict=True), *zip(CONVS, SEPARABLE, strict=True), (nn.Conv2d, ts.AsymmetricConv2d)]


@st.composite
def pairs(draw):
    old, new = draw(st.sampled_from(SCHEMES))
    axes = CONVS.index(old) + 1

    def each(values):
        return tuple(draw(st.sampled_from(values)) for _ in range(axes))

    stride, padding, mode = each([1, 2]), each([0, 1]), draw(st.sampled_from(["zeros", "circular", "reflect"]))
    if draw(st.integers(0, 3)) == 0:
        stride, padding = (1,) * axes, "same"
    bias = draw(st.booleans())
    sizes = draw(st.integers(1, 3)), draw(st.integers(1, 5)), each([1, 2, 3])
    return old(*sizes, stride, padding, each([1, 2]), 1, bias, mode, **DOUBLE), new


@settings(max_examples=80)
@given(pairs(), st.integers(1, 12))
def test_convolutions_in_two_and_in_one_again(pair, rank):
    old, new = pair
    x = torch.randn(2, old.in_channels, *[7] * (old.weight.dim() - 2), **DOUBLE)
    conversion, two = hold(old, new, x, rank=rank)
    assert type(two) is new and two.rank == rank and two(x).shape == old(x).shape and not conversion.dropped
    matrices = {"thin": 1, "depthwise": old.in_channels, "asymmetric": 1}[new.scheme]
    assert (conversion.fidelity is Fidelity.EXACT) or (0 <= conversion.error <= 1 and matrices)
    back, one = hold(two, type(old), x)
    assert back.fidelity is Fidelity.EXACT and torch.allclose(one(x), two(x), rtol=1e-10, atol=1e-10)
    if conversion.fidelity is Fidelity.EXACT:
        assert torch.allclose(one.weight, old.weight, rtol=1e-10, atol=1e-10)
    again = new(**ts.config_of(two)).double()
    again.load_state_dict(two.state_dict())
    assert torch.allclose(again(x), two(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("old", "new"), SCHEMES)
@pytest.mark.parametrize("rank", [1, 2])
def test_the_error_of_convolutions_is_the_measured_one(old, new, rank):
    layer = old(6, 12, 3, bias=False, **DOUBLE)
    conversion, two = converted(layer, new, rank=rank)
    length = {1: 4000, 2: 60, 3: 18}[CONVS.index(old) + 1]
    x = torch.randn(4, 6, *[length] * (CONVS.index(old) + 1), **DOUBLE)
    assert relative(layer, two, x) == pytest.approx(conversion.error, rel=0.04)


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.booleans())
def test_low_rank_linear(inputs, outputs, rank, bias):
    old = nn.Linear(inputs, outputs, bias, **DOUBLE)
    conversion, new = hold(old, ts.LowRankLinear, torch.randn(5, inputs, **DOUBLE), rank=rank)
    assert (conversion.fidelity is Fidelity.EXACT) == (rank >= min(inputs, outputs))
    assert (new[1].bias is None) == (not bias) and new[0].out_features == rank
    values = torch.linalg.svdvals(old.weight)
    if rank < len(values):
        error = torch.linalg.matrix_norm(old.weight - new[1].weight @ new[0].weight, 2)
        assert torch.isclose(error, values[rank])
    back, one = hold(new, nn.Linear, torch.randn(5, inputs, **DOUBLE))
    assert back.fidelity is Fidelity.EXACT and torch.allclose(one.weight, new[1].weight @ new[0].weight)


def test_the_error_of_a_low_rank_is_the_measured_one():
    old = nn.Linear(64, 48, bias=False, **DOUBLE)
    conversion, new = converted(old, ts.LowRankLinear, rank=12)
    assert relative(old, new, torch.randn(20_000, 64, **DOUBLE)) == pytest.approx(conversion.error, rel=0.03)
    assert conversion.origins["0.weight"].what == "truncated SVD, rank 12"


def test_dtype_meta_and_frozen():
    new = like(nn.Conv2d(8, 4, 3, dtype=torch.bfloat16).requires_grad_(False), ts.LowRankConv2d, rank=2)
    assert {(p.dtype, p.requires_grad) for p in new.parameters()} == {(torch.bfloat16, False)}
    conversion, new = converted(nn.Conv2d(8, 4, 3, device="meta"), ts.SeparableConv2d)
    assert new[0].weight.is_meta and conversion.fidelity is Fidelity.APPROXIMATE and conversion.error is None
    assert like(nn.Linear(8, 4, dtype=torch.bfloat16), ts.LowRankLinear, rank=2)[0].weight.dtype is torch.bfloat16


def test_what_changes_besides():
    old = nn.Conv2d(4, 6, 3, padding=1)
    assert convert(old, ts.LowRankConv2d, {"rank": 6, "bias": False}).fidelity is Fidelity.APPROXIMATE
    assert convert(old, ts.LowRankConv2d, {"rank": 6, "stride": 2}).remarks == ("another stride",)
    assert convert(old, ts.LowRankConv2d, {"rank": 6, "out_channels": 8}).fidelity is Fidelity.INITIALISED
    assert convert(old, ts.SeparableConv2d, {"kernel_size": 5}).fidelity is Fidelity.INITIALISED
    assert convert(nn.Linear(8, 4), ts.LowRankLinear, {"rank": 2, "in_features": 9}).fidelity is Fidelity.INITIALISED
    two = like(old, ts.LowRankConv2d, rank=6)
    assert convert(two, nn.Conv2d, {"stride": 2}).remarks == ("another stride",)
    assert convert(two, nn.Conv2d, {"out_channels": 8}).fidelity is Fidelity.INITIALISED


def test_what_is_refused():
    old = nn.Conv2d(4, 6, 3)
    with pytest.raises(ts.ConfigError, match="rank=8"):
        convert(old, ts.LowRankConv2d)
    with pytest.raises(ts.ConfigError, match="rank=8"):
        convert(nn.Linear(8, 4), ts.LowRankLinear)
    for bad in (0, True, 2.5):
        with pytest.raises(ts.ConfigError, match="at least 1 for rank"):
            convert(old, ts.SeparableConv2d, {"rank": bad})
    with pytest.raises(ts.ConfigError, match="can't be made a LowRankConv2d: it is grouped") as caught:
        convert(nn.Conv2d(4, 6, 3, groups=2), ts.LowRankConv2d, {"rank": 2})
    assert "groups=1" in caught.value.way_out
    with pytest.raises(ts.ConfigError, match="kernel_size"):
        convert(old, ts.LowRankConv2d, {"rank": 2, "kernel_size": (3, 3, 3)})


def test_in_a_model_and_back():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 4)
    )
    x = torch.randn(2, 3, 4, 4)
    before = net(x)
    done = (
        ts.plan(net).replace(nn.Conv2d, ts.SeparableConv2d, rank=9).replace(nn.Linear, ts.LowRankLinear, rank=4).apply()
    )
    assert torch.allclose(net(x), before, atol=1e-5) and {c.fidelity for c in done.changes} == {Fidelity.EXACT}
    assert len(ts.select(net, ts.SeparableConv2d, rank=9)) == 2
    ts.plan(net).replace(ts.SeparableConv2d, nn.Conv2d).replace(ts.LowRankLinear, nn.Linear).apply(check=x)
    assert torch.allclose(net(x), before, atol=1e-5) and type(net[0]) is nn.Conv2d


@pytest.mark.parametrize("first", [cls for _, cls in SCHEMES if "2d" in cls.__name__])
@pytest.mark.parametrize("second", [cls for _, cls in SCHEMES if "2d" in cls.__name__])
@pytest.mark.parametrize("rank", [1, 40])
def test_among_themselves(first, second, rank):
    old = first(4, 6, 3, rank=3, padding=1, bias=False, **DOUBLE)
    x = torch.randn(4, 4, 30, 30, **DOUBLE)
    conversion, new = converted(old, second, rank=rank)
    assert type(new) is second and new.rank == rank and not conversion.lost
    off = relative(old, new, x)
    if conversion.fidelity is Fidelity.EXACT:
        assert off < 1e-10
    else:
        assert off == pytest.approx(conversion.error, rel=0.1)
    assert (conversion.fidelity is Fidelity.EXACT) == (off < 1e-10)


def test_another_rank_of_a_linear_layer():
    old = ts.LowRankLinear(20, 16, 8, **DOUBLE)
    conversion, new = converted(old, ts.LowRankLinear, rank=3)
    assert conversion.fidelity is Fidelity.APPROXIMATE and torch.equal(new[1].bias, old[1].bias)
    old[1].bias.data.zero_()
    assert relative(old, like(old, ts.LowRankLinear, rank=3), torch.randn(20_000, 20, **DOUBLE)) == pytest.approx(
        conversion.error, rel=0.05
    )
    assert convert(old, ts.LowRankLinear, {"rank": 8}).fidelity is Fidelity.EXACT


def test_complex_weights_stay_complex():
    old = nn.Linear(6, 5, dtype=torch.complex128)
    conversion, new = converted(old, ts.LowRankLinear, rank=5)
    x = torch.randn(3, 6, dtype=torch.complex128)
    assert conversion.fidelity is Fidelity.EXACT and torch.allclose(new(x), old(x))
    assert torch.allclose(like(new, nn.Linear)(x), old(x))
    assert convert(old, nn.Linear, {"in_features": 3}).error == pytest.approx(
        float(old.weight[:, 3:].detach().norm() / old.weight.detach().norm())
    )


def test_weights_that_are_not_finite_are_refused():
    old = nn.Linear(4, 4)
    nn.init.constant_(old.weight, float("nan"))
    with pytest.raises(ts.ConfigError, match="not finite"):
        convert(old, ts.LowRankLinear, {"rank": 2})
    assert convert(old, nn.Linear, {"in_features": 2}).error is None
