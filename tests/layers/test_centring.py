import pytest
import torch
from holding import hold
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert

DOUBLE = {"dtype": torch.float64}


@given(st.booleans(), st.booleans(), st.sampled_from([1e-5, 1e-2]))
def test_a_centred_linear_layer_needs_no_mean_taken_off(bias, affine, eps):
    old = nn.Sequential(nn.Linear(4, 6, bias, **DOUBLE), nn.LayerNorm(6, eps, affine, **DOUBLE))
    if affine:
        nn.init.normal_(old[1].weight)
    conversion, new = hold(old, nn.RMSNorm, torch.randn(5, 4, **DOUBLE))
    assert conversion.fidelity is Fidelity.EXACT and type(new[1]) is nn.RMSNorm and new[1].eps == eps
    assert new[0].weight.mean(0).abs().max() < 1e-12 and (new[0].bias is None) == (not bias)


def test_a_shift_is_said_to_go():
    old = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))
    nn.init.normal_(old[1].bias)
    assert convert(old, nn.RMSNorm).remarks == ("the shift of the norm goes",)


@pytest.mark.parametrize(
    "old",
    [
        nn.Sequential(nn.Linear(4, 6)),
        nn.Sequential(nn.Linear(4, 6), nn.LayerNorm((2, 6))),
        nn.Sequential(nn.ReLU(), nn.LayerNorm(6)),
    ],
)
def test_other_pairs(old):
    with pytest.raises(ts.ConfigError, match="not a Linear and a LayerNorm"):
        convert(old, nn.RMSNorm)


def test_in_a_model():
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    before = net(x)
    ts.replace(net, "0", nn.RMSNorm)
    assert torch.allclose(net(x), before, atol=1e-6) and type(net[0][1]) is nn.RMSNorm
