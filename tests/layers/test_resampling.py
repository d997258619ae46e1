import pytest
import torch
from holding import converted, difference, hold
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert
from torchsurgery.layers.padded import PADDED

DOUBLE = {"dtype": torch.float64}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@given(st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_upsampling_is_a_transposed_convolution(axes, factor, linear):
    old = nn.Upsample(scale_factor=factor, mode=LINEAR[axes] if linear else "nearest")
    x = torch.randn(2, 3, *[5] * axes, **DOUBLE)
    conversion, new = hold(old, TRANSPOSED[axes], x, in_channels=3)
    assert new.groups == 3 and new.bias is None and old(x).shape == new(x).shape
    assert (conversion.fidelity is Fidelity.EXACT) == (not linear or factor == 1)
    inside = tuple(slice(factor, -factor) for _ in range(axes))
    assert torch.allclose(old(x)[(..., *inside)], new(x)[(..., *inside)], rtol=1e-10, atol=1e-10)


def test_taps_by_hand():
    _, new = converted(nn.Upsample(scale_factor=2, mode="linear"), nn.ConvTranspose1d, in_channels=1)
    assert new.weight.flatten().tolist() == [0.25, 0.75, 0.75, 0.25]
    assert (new.kernel_size, new.stride, new.padding) == ((4,), (2,), (1,))


@pytest.mark.parametrize(
    "old",
    [
        nn.Upsample(size=4),
        nn.Upsample(scale_factor=1.5),
        nn.Upsample(scale_factor=(2, 3)),
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    ],
    ids=repr,
)
def test_what_no_transposed_convolution_does(old):
    with pytest.raises(ConfigError, match="can't be made a ConvTranspose2d"):
        convert(old, nn.ConvTranspose2d, {"in_channels": 3})


def test_the_channels_have_to_be_given():
    with pytest.raises(ConfigError, match="in_channels"):
        convert(nn.Upsample(scale_factor=2), nn.ConvTranspose2d)
    other = convert(nn.Upsample(scale_factor=2), nn.ConvTranspose2d, {"in_channels": 3, "out_channels": 6})
    assert other.fidelity is Fidelity.INITIALISED


@given(st.integers(1, 4), st.sampled_from([1, 2]), st.booleans())
def test_shuffles(factor, groups, bias):
    old = nn.ConvTranspose2d(4, 6, factor, factor, groups=groups, bias=bias, **DOUBLE)
    x = torch.randn(2, 4, 5, 3, **DOUBLE)
    conversion, new = hold(old, nn.PixelShuffle, x)
    assert conversion.fidelity is Fidelity.EXACT and type(new) is nn.Sequential and difference(old, new, x) < 1e-10
    old = nn.Conv2d(4, 6, factor, factor, groups=groups, bias=bias, **DOUBLE)
    x = torch.randn(2, 4, 5 * factor, 3 * factor, **DOUBLE)
    conversion, new = hold(old, nn.PixelUnshuffle, x)
    assert conversion.fidelity is Fidelity.EXACT and difference(old, new, x) < 1e-10


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (nn.Conv2d(4, 4, 3, 2), nn.PixelUnshuffle),
        (nn.Conv2d(4, 4, 2, 2, padding=1), nn.PixelUnshuffle),
        (nn.Conv2d(4, 4, (2, 1), (2, 1)), nn.PixelUnshuffle),
        (nn.Conv2d(4, 4, 2, 2, dilation=2), nn.PixelUnshuffle),
        (PADDED[1](4, 4, 2, ((0, 1), (0, 1)), 2), nn.PixelUnshuffle),
        (nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.PixelShuffle),
        (nn.ConvTranspose2d(4, 4, 2, 2, output_padding=1), nn.PixelShuffle),
    ],
    ids=repr,
)
def test_patches_that_overlap_are_no_shuffle(old, new):
    with pytest.raises(ConfigError, match="must be one"):
        convert(old, new)


@given(st.integers(1, 3), st.integers(1, 4))
def test_back_to_upsampling(axes, factor):
    old, x = nn.Upsample(scale_factor=factor), torch.randn(2, 3, *[5] * axes, **DOUBLE)
    there = converted(old, TRANSPOSED[axes], reference=x, in_channels=3)[1]
    conversion, back = converted(there, nn.Upsample, reference=x)
    assert conversion.fidelity is Fidelity.EXACT and torch.allclose(back(x), old(x))
    there.weight.data[0].mul_(2)
    assert convert(there, nn.Upsample).fidelity is Fidelity.INITIALISED


@given(st.integers(1, 3), st.integers(1, 3))
def test_shuffles_are_convolutions_with_a_single_one(factor, channels):
    few, many = torch.randn(2, channels, 6, 6, **DOUBLE), torch.randn(2, channels * factor**2, 2, 3, **DOUBLE)
    conversion, conv = converted(nn.PixelUnshuffle(factor), nn.Conv2d, reference=few, in_channels=channels)
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(conv(few), nn.PixelUnshuffle(factor)(few))
    conversion, up = converted(nn.PixelShuffle(factor), nn.ConvTranspose2d, reference=few, in_channels=many.shape[1])
    assert conversion.fidelity is Fidelity.EXACT and torch.equal(up(many), nn.PixelShuffle(factor)(many))


def test_factors_carry():
    conversion, new = converted(nn.Upsample(scale_factor=2), nn.PixelShuffle)
    assert conversion.fidelity is Fidelity.INITIALISED and new.upscale_factor == 2
    assert conversion.remarks == ("a shuffle trades 4 channels for one",)
    assert converted(nn.PixelShuffle(3), nn.Upsample)[1].scale_factor == 3.0
    assert converted(nn.PixelShuffle(3), nn.PixelUnshuffle)[1].downscale_factor == 3
