import pytest
import torch
from torch import nn
from turning import images, slices, turned

from torchsurgery.layers.dimensions import ENDS, Axes

SAME = [
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((2, 3), ceil_mode=True),
    nn.AvgPool2d(2, divisor_override=3),
    nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveMaxPool2d((3, None)),
    nn.AdaptiveAvgPool2d((None, 2)),
    nn.ZeroPad2d((1, 2, 3, 1)),
    nn.ConstantPad2d(1, 2.5),
    nn.ReflectionPad2d(2),
    nn.ReplicationPad2d((0, 1, 2, 3)),
    nn.CircularPad2d(2),
    nn.Dropout2d(0.3),
    nn.BatchNorm2d(4),
    nn.InstanceNorm2d(4, affine=True),
]


@pytest.mark.parametrize("old", SAME, ids=repr)
def test_equal_slices_give_what_a_slice_gave(old):
    old, x = old.double().eval(), images()
    conversion, new = turned(old, Axes(3))
    y, z = old(x), new(slices(x, 12))
    assert torch.allclose(z[:, :, z.shape[2] // 2], y, rtol=1e-10, atol=1e-10)
    if ENDS not in conversion.remarks:
        assert torch.allclose(z, y.unsqueeze(2), rtol=1e-10, atol=1e-10)
    assert type(new).__name__ == type(old).__name__.replace("2", "3")


@pytest.mark.parametrize(
    "old", [old for old in SAME if not isinstance(old, nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d)]
)
def test_back_from_volumes(old):
    old, x = old.double().eval(), images()
    _, volume = turned(old, Axes(3))
    _, back = turned(volume, Axes(2))
    assert type(back) is type(old)
    if not getattr(old, "divisor_override", None):  # a window's count can't be told from it
        assert torch.allclose(back(x), old(x), rtol=1e-10, atol=1e-10)


def test_power_average_and_random_pools_say_so():
    conversion, new = turned(nn.LPPool2d(2, 3), Axes(3))
    assert conversion.remarks == ("sums up over 3 as many",) and new.kernel_size == 3
    conversion, new = turned(nn.FractionalMaxPool2d(2, output_size=(4, 5)), Axes(3))
    assert conversion.remarks == ("its windows are random",) and new.output_size == (4, 4, 5)
    assert turned(nn.LPPool2d(2, (3, 3)), Axes(1))[1](images(axes=1)).shape == (2, 4, 4)


def test_unpooling_takes_the_indices_of_volumes():
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    _, down = turned(pool, Axes(3))
    _, up = turned(unpool, Axes(3))
    x = torch.randn(1, 2, 4, 6, 8)
    values, indices = down(x)
    assert up(values, indices).shape == x.shape
