import itertools

import pytest
import torch
from holding import converted, hold
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.pooling import ADAPTIVE, AVERAGE, MAX, POWER, pool_axes

WINDOWS = (*MAX, *AVERAGE, *POWER)


def made(cls):
    return cls(2, 3, 2) if cls in POWER else cls(3, 2)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(WINDOWS, WINDOWS)))
def test_the_window_carries(old, new):
    conversion, layer = converted(made(old), new)
    assert type(layer) is new and layer.kernel_size in (3, (3,)) and layer.stride in (2, (2,))
    assert conversion.fidelity is (Fidelity.EXACT if old is new else Fidelity.INITIALISED)
    x = torch.randn(2, 4, *[9] * pool_axes(new)).abs()
    assert layer(x).shape == (2, 4, *[4] * pool_axes(new))


@pytest.mark.parametrize(("old", "new"), list(itertools.product(ADAPTIVE, ADAPTIVE)))
def test_the_output_size_carries(old, new):
    conversion, layer = converted(old(2), new)
    assert layer(torch.randn(2, 4, *[9] * pool_axes(new))).shape == (2, 4, *[2] * pool_axes(new))
    assert (conversion.fidelity is Fidelity.EXACT) == (old is new)


def test_sizes_for_each_axis():
    old = nn.MaxPool2d((2, 3), stride=(1, 2), padding=(0, 1), ceil_mode=True)
    new = like(old, nn.AvgPool3d)
    assert (new.kernel_size, new.stride, new.padding, new.ceil_mode) == ((2, 2, 3), (1, 1, 2), (0, 0, 1), True)
    assert like(old, nn.AvgPool1d).kernel_size == (3,) and like(old, nn.LPPool1d).kernel_size == 3
    assert like(nn.AdaptiveAvgPool2d((None, 7)), nn.AdaptiveMaxPool2d).output_size == (None, 7)


def test_what_can_not_carry_is_said():
    conversion = convert(nn.MaxPool2d(3, 2, padding=1, dilation=2), nn.LPPool2d)
    assert conversion.remarks == (
        "LPPool2d has no padding: the output has another shape",
        "LPPool2d has no dilation: the output has another shape",
    )
    assert "padding=1" in conversion.dropped and conversion.config["norm_type"] == 2
    conversion = convert(nn.MaxPool2d(3, return_indices=True), nn.AvgPool2d)
    assert conversion.remarks == ("AvgPool2d returns no indices",)
    assert convert(nn.FractionalMaxPool2d(3, output_size=5), nn.AdaptiveMaxPool2d).config["output_size"] == (5, 5)
    assert convert(nn.MaxPool2d(3, 2, 1), nn.MaxUnpool2d).config["padding"] == 1


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), ((3,), 1, 0)])
def test_an_average_is_a_convolution(kernel, stride, padding):
    old = nn.AvgPool1d(kernel, stride, padding)
    conversion, new = hold(old, nn.Conv1d, torch.randn(2, 4, 9, dtype=torch.float64), in_channels=4)
    assert conversion.fidelity is Fidelity.EXACT and new.groups == 4 and new.bias is None


def test_an_average_that_does_not_count_the_border_is_none():
    old = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
    assert converted(old, nn.Conv2d, in_channels=4)[0].fidelity is Fidelity.APPROXIMATE
    override = nn.AvgPool2d(2, divisor_override=3)
    assert hold(override, nn.Conv2d, torch.randn(2, 4, 8, 8).double(), in_channels=4)[0].fidelity is Fidelity.EXACT
    assert converted(old, nn.Conv2d, in_channels=4, out_channels=8)[0].fidelity is Fidelity.INITIALISED
    with pytest.raises(ConfigError, match="needs in_channels, out_channels"):
        convert(old, nn.Conv2d)
    with pytest.raises(ConfigError, match="another number of axes"):
        convert(old, nn.Conv1d, {"in_channels": 4})


@pytest.mark.parametrize(
    ("old", "new", "overrides", "words"),
    [
        (nn.MaxPool2d(3), nn.AvgPool2d, {"kernel_size": (3, 3, 3)}, "2 axes"),
        (nn.MaxPool2d(3), nn.AvgPool1d, {"kernel_size": (3, 3)}, "1 axis"),
        (nn.MaxPool2d(3), nn.AvgPool2d, {"stride": 0}, "at least 1"),
        (nn.MaxPool2d(3), nn.AvgPool2d, {"padding": 2}, "half its kernel"),
        (nn.MaxPool2d(3), nn.AdaptiveAvgPool2d, {}, "needs output_size"),
        (nn.AdaptiveAvgPool2d(3), nn.AvgPool2d, {}, "kernel_size=2"),
        (nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d, {"output_size": -1}, "at least 0"),
    ],
)
def test_refusals(old, new, overrides, words):
    with pytest.raises(ConfigError, match=words):
        convert(old, new, overrides)


def test_a_stride_is_a_share():
    conversion, new = converted(nn.MaxPool2d(3, stride=2), nn.FractionalMaxPool2d)
    assert conversion.fidelity is Fidelity.INITIALISED and new.output_ratio == (0.5, 0.5) and new.kernel_size == (3, 3)
    assert new(torch.randn(1, 2, 8, 8)).shape == (1, 2, 4, 4)
    assert converted(nn.AvgPool3d(2), nn.FractionalMaxPool3d, output_size=3)[1].output_size == (3, 3, 3)
    assert converted(nn.MaxPool2d(2), nn.AdaptiveMaxPool2d, output_size=3)[1].output_size == 3
    assert converted(nn.FractionalMaxPool2d(2, output_size=3), nn.MaxPool2d)[1].kernel_size == (2, 2)
    assert converted(nn.AdaptiveAvgPool2d(1), nn.AvgPool2d, kernel_size=7)[0].fidelity is Fidelity.INITIALISED
