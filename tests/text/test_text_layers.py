"""Layers in one line."""

import pytest
import torchvision
from torch import nn

from torchsurgery.text import layer, short


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.ReLU(), "ReLU()"),
        (nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), "Conv2d(3, 64, 7, stride=2, padding=3, bias=False)"),
        (nn.Conv2d(3, 8, (1, 3)), "Conv2d(3, 8, (1, 3))"),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4)"),
        (nn.LeakyReLU(0.123456789), "LeakyReLU(negative_slope=0.1235)"),
        (nn.Sequential(nn.ReLU(), nn.ReLU(), nn.Dropout()), "Sequential(2 × ReLU, Dropout)"),
    ],
    ids=lambda thing: thing if isinstance(thing, str) else "",
)
def test_layer(module, words):
    assert layer(module) == words


def test_a_layer_whose_arguments_are_not_known():
    class Secret(nn.Module):
        def __init__(self, secret):
            super().__init__()
            self.derived = secret * 2

        def extra_repr(self):
            return "secret"

    assert layer(Secret(3)) == "Secret(secret)"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.ReLU(inplace=True), ""),
        (nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), "3, 64, k7, s2"),
        (nn.Conv2d(32, 32, (1, 3), groups=32, dilation=2), "32, 32, k1×3, d2, g32"),
        (nn.ConvTranspose3d(4, 2, 3, (1, 2, 2)), "4, 2, k3, s1×2×2"),
        (nn.BatchNorm2d(64), "64"),
        (nn.LayerNorm((8, 8)), "8"),
        (nn.MaxPool2d(3, 2), "k3, s2"),
        (nn.AdaptiveAvgPool2d((1, 1)), "1"),
        (nn.Linear(512, 1000, bias=False), "512, 1000"),
        (nn.Sequential(nn.ReLU(), nn.ReLU()), "×2 ReLU"),
        (nn.ModuleList([nn.ReLU()]), "×1 ReLU"),
        (nn.Sequential(nn.ReLU(), nn.GELU()), ""),
        (nn.Sequential(), ""),
        (torchvision.models.resnet.BasicBlock(4, 4), ""),
    ],
    ids=lambda thing: thing if isinstance(thing, str) else "",
)
def test_short(module, words):
    assert short(module) == words


def test_nothing_is_said_in_short_of_a_layer_whose_arguments_are_not_known():
    class Secret(nn.Module):
        def __init__(self, secret):
            super().__init__()
            self.derived = secret * 2

    assert short(Secret(3)) == ""
