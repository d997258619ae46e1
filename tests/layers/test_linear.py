import pytest
import torch
from holding import converted, difference, hold, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.linear import LowRankLinear, factors

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
    conversion, narrow = converted(nn.Linear(4, 6), nn.Linear, in_features=3)
    assert conversion.fidelity is Fidelity.INITIALISED and conversion.lost == ("weight",)
    assert narrow.weight.shape == (6, 3)
    for bad in (-1, 2.0, True):
        with pytest.raises(ConfigError, match="whole number"):
            convert(old, nn.Linear, {"out_features": bad})


# --- low rank


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9), st.booleans())
def test_low_rank(inputs, outputs, rank, bias):
    old = nn.Linear(inputs, outputs, bias, dtype=torch.float64)
    conversion, new = converted(old, LowRankLinear, rank=rank)
    assert (conversion.fidelity is Fidelity.EXACT) == (rank >= min(inputs, outputs))
    assert (new[1].bias is None) == (not bias) and new[0].out_features == rank
    if conversion.fidelity is Fidelity.EXACT:
        assert difference(old, new, torch.randn(5, inputs, dtype=torch.float64)) < 1e-10
    values = torch.linalg.svdvals(old.weight)
    if rank < len(values):
        error = torch.linalg.matrix_norm(old.weight - new[1].weight @ new[0].weight, 2)
        assert torch.isclose(error, values[rank])


def test_the_error_of_a_low_rank_is_the_measured_one():
    old = nn.Linear(64, 48, bias=False, dtype=torch.float64)
    conversion, new = converted(old, LowRankLinear, rank=12)
    assert relative(old, new, torch.randn(20_000, 64, dtype=torch.float64)) == pytest.approx(conversion.error, rel=0.03)
    assert conversion.origins["0.weight"].what == "truncated SVD, rank 12"


def test_low_rank_carries_dtype_and_needs_a_rank():
    new = like(nn.Linear(8, 4, dtype=torch.bfloat16), LowRankLinear, rank=2)
    assert {p.dtype for p in new.parameters()} == {torch.bfloat16} and len(list(new.children())) == 2
    with pytest.raises(ConfigError, match=r"rank=8"):
        convert(nn.Linear(8, 4), LowRankLinear)
    assert convert(nn.Linear(8, 4), LowRankLinear, {"rank": 2, "in_features": 9}).fidelity is Fidelity.INITIALISED
    assert like(nn.Linear(8, 4, device="meta"), LowRankLinear, rank=2)[0].weight.is_meta
    first, second = factors(torch.eye(3), 2)
    assert first.shape == (3, 2) and second.shape == (2, 3)
    assert convert(nn.Linear(8, 4), LowRankLinear, {"rank": 4, "bias": False}).fidelity is Fidelity.APPROXIMATE
