import itertools

import pytest
import torch
from holding import converted, hold
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.padding import CONSTANT, PADS, ZERO


def axes_of(cls):
    return int(cls.__name__[-2])


@given(st.sampled_from(PADS), st.sampled_from(PADS), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_every_pair_holds_what_it_states(old, new, padding):
    constant = old in CONSTANT and old not in ZERO
    layer = old(tuple(padding[: 2 * axes_of(old)]), *([1.5] if constant else []))
    x = torch.randn(2, 3, *[6] * axes_of(old), dtype=torch.float64)
    conversion, other = converted(layer, new)
    assert conversion.fidelity in (Fidelity.EXACT, Fidelity.APPROXIMATE)
    if axes_of(new) == axes_of(old):
        hold(layer, new, x)
        y, z = layer(x), other(x)
        assert y.shape == z.shape
        middle = tuple(slice(2, 4) for _ in range(axes_of(old)))
        assert torch.equal(y[(..., *middle)], z[(..., *middle)])
        same = torch.equal(y, z)
        assert same or conversion.remarks[0].startswith("the border is ")


def test_the_same_in_other_words():
    assert converted(nn.ZeroPad2d(1), nn.ConstantPad2d)[0].fidelity is Fidelity.EXACT
    assert converted(nn.ConstantPad2d(1, 0.0), nn.ZeroPad2d)[0].fidelity is Fidelity.EXACT
    conversion, _ = converted(nn.ConstantPad2d(1, 3.0), nn.ZeroPad2d)
    assert conversion.remarks == ("the border is zeros, not 3",) and conversion.dropped == ("value=3.0",)
    assert converted(nn.ReflectionPad2d(0), nn.CircularPad2d)[0].fidelity is Fidelity.EXACT


def test_other_axes():
    assert like(nn.ZeroPad1d((1, 2)), nn.ZeroPad3d).padding == (1, 2, 0, 0, 0, 0)
    conversion, new = converted(nn.ZeroPad2d((1, 2, 3, 4)), nn.ZeroPad1d)
    assert new.padding == (1, 2) and conversion.remarks == ("the border along the axis that goes, goes",)


def test_a_border_that_is_given():
    conversion, new = converted(nn.ZeroPad2d(1), nn.ReflectionPad2d, padding=2)
    assert new.padding == (2, 2, 2, 2) and conversion.remarks == ("the output has another shape",)
    with pytest.raises(ConfigError, match="has 4 sides"):
        convert(nn.ZeroPad2d(1), nn.ReflectionPad2d, {"padding": (1, 1)})
    assert len(list(itertools.product(PADS, PADS))) == 225
