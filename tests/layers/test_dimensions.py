import pytest
import torch
from torch import nn
from turning import turned

from torchsurgery.errors import ConfigError
from torchsurgery.layers.dimensions import Axes, axes_of_layer, over


@pytest.mark.parametrize(
    ("old", "n", "words"),
    [
        (nn.FractionalMaxPool2d(2, output_size=3), 1, "no FractionalMaxPool2d over 1 axis"),
        (nn.AdaptiveAvgPool2d(7), 1, "leaves 7 places"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3)), 3, "parametrized"),
    ],
)
def test_what_can_not_follow(old, n, words):
    with pytest.raises(ConfigError, match=words):
        over(old, Axes(n))


def test_a_forward_of_ones_own():
    class Noisy(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + torch.randn(())

    class Plain(nn.Conv2d):
        def __init__(self, width):
            super().__init__(width, width, 3, padding=1)

    with pytest.raises(ConfigError, match="a forward of its own"):
        over(Noisy(2, 2, 3), Axes(3))
    assert type(turned(Plain(4), Axes(3))[1]) is nn.Conv3d


def test_every_class_of_torch_that_names_its_axes_is_known():
    named = [cls for name, cls in vars(nn).items() if isinstance(cls, type) and name[-2:] in ("1d", "2d", "3d")]
    lazy = {cls for cls in named if cls.__name__.startswith("Lazy")}
    known = {cls for cls in named if axes_of_layer(cls) == int(cls.__name__[-2])}
    others = {"NLLLoss2d", "UpsamplingNearest2d", "UpsamplingBilinear2d", "Softmax2d", "CrossMapLRN2d"}
    assert {cls.__name__ for cls in set(named) - known - lazy} == others
