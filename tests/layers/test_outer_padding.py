import pytest
import torch
from holding import converted, hold
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.conv import CONVS
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.padded import PaddedConv2d
from torchsurgery.layers.padding import CIRCULAR, REFLECTION, REPLICATION, ZERO

KINDS = {"zeros": ZERO, "reflect": REFLECTION, "replicate": REPLICATION, "circular": CIRCULAR}
DOUBLE = {"dtype": torch.float64}


@settings(max_examples=60)
@given(
    st.integers(0, 2),
    st.sampled_from(list(KINDS)),
    st.sampled_from([0, 1, 2, "same"]),
    st.integers(1, 4),
    st.booleans(),
)
def test_apart_and_together_again(axes, mode, padding, kernel, bias):
    old = CONVS[axes](2, 4, kernel, 1, padding, groups=2, bias=bias, padding_mode=mode, **DOUBLE)
    x = torch.randn(2, 2, *[6] * (axes + 1), **DOUBLE)
    conversion, two = hold(old, KINDS[mode][axes], x)
    assert conversion.fidelity is Fidelity.EXACT and two[1].weight is old.weight and not any(two[1].padding)
    back, one = hold(two, CONVS[axes], x)
    assert back.fidelity is Fidelity.EXACT and one.weight is old.weight and one.padding_mode == mode


def test_another_border_is_said():
    old = nn.Conv2d(2, 4, 3, padding=1)
    conversion, _ = converted(old, nn.ReflectionPad2d)
    assert conversion.fidelity is Fidelity.APPROXIMATE and conversion.remarks == ("the border is reflect, not zeros",)
    assert convert(nn.Conv2d(2, 4, 3), nn.ReflectionPad2d).fidelity is Fidelity.EXACT


def test_pads_that_differ():
    old = PaddedConv2d(2, 4, 2, ((0, 1), (1, 2)), **DOUBLE)
    x = torch.randn(1, 2, 5, 5, **DOUBLE)
    assert torch.allclose(like(old, nn.ZeroPad2d)(x), old(x))
    two = nn.Sequential(nn.ReplicationPad2d((1, 0, 2, 2)), nn.Conv2d(2, 4, 3, **DOUBLE))
    one = like(two, nn.Conv2d)
    assert type(one) is PaddedConv2d and torch.allclose(one(x), two(x))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (nn.Conv2d(2, 4, 3), nn.ZeroPad3d),
        (nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 4, 3, padding=1)), nn.Conv2d),
        (nn.Sequential(nn.ZeroPad1d(1), nn.Conv2d(2, 4, 3)), nn.Conv2d),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(2, 4, 3)), nn.Conv2d),
        (nn.Sequential(nn.Conv2d(2, 4, 3)), nn.Conv2d),
        (nn.Sequential(), nn.Conv2d),
    ],
    ids=repr,
)
def test_what_is_refused(old, new):
    with pytest.raises(ts.ConfigError, match="can't be made a"):
        convert(old, new)


def test_same_is_half_the_kernel():
    old = nn.Conv2d(2, 4, 3, padding="same", dilation=2, **DOUBLE)
    conversion, new = hold(old, nn.Conv2d, torch.randn(1, 2, 7, 7, **DOUBLE), padding=2)
    assert conversion.fidelity is Fidelity.EXACT and new.weight is old.weight
