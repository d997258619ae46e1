import pytest
import torch
from holding import converted, hold
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchsurgery.layers.conv import CONVS, TRANSPOSED
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert
from torchsurgery.layers.transposing import turned_round


@settings(max_examples=60)
@given(
    st.integers(0, 2),
    st.integers(1, 4),
    st.sampled_from([0, 1, 2, "same"]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_with_stride_one_they_are_the_same(axes, kernel, padding, dilation, groups, bias):
    old = CONVS[axes](4, 6, kernel, 1, padding, dilation, groups, bias, dtype=torch.float64)
    x = torch.randn(2, 4, *[7 + axis for axis in range(axes + 1)], dtype=torch.float64)
    conversion, new = hold(old, TRANSPOSED[axes], x)
    extent = dilation * (kernel - 1)
    left = extent // 2 if padding == "same" else padding
    uneven = extent - 2 * left if padding == "same" else 0
    exact = extent >= left and uneven < max(1, dilation)
    assert (conversion.fidelity is Fidelity.EXACT) == exact
    if exact and not uneven:
        back, again = hold(new, CONVS[axes], x.repeat_interleave(3, 1)[:, :4])
        assert back.fidelity is Fidelity.EXACT and torch.equal(again.weight, old.weight)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (nn.Conv2d(4, 6, 3, stride=2), nn.ConvTranspose2d),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.ConvTranspose2d),
        (nn.Conv2d(4, 6, 3, padding=5), nn.ConvTranspose2d),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), nn.Conv2d),
    ],
)
def test_else_it_is_initialised(old, new):
    conversion, layer = converted(old, new)
    assert conversion.fidelity is Fidelity.INITIALISED and layer.kernel_size == (3, 3) and layer.stride == old.stride
    assert layer.bias is old.bias


def test_asked_for_more():
    old = nn.Conv2d(4, 6, 3, padding=1)
    assert convert(old, nn.ConvTranspose2d, {"kernel_size": 5}).fidelity is Fidelity.INITIALISED
    assert convert(old, nn.ConvTranspose2d, {"bias": False}).fidelity is Fidelity.APPROXIMATE


def test_turned_twice_is_the_same():
    weight = torch.randn(6, 2, 3, 4)
    assert torch.equal(turned_round(turned_round(weight, 2), 2), weight)
