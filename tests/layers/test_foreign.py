import pytest
import torch
from torch import nn
from turning import images, slices

from torchsurgery.layers.assembling import build
from torchsurgery.layers.dimensions import Axes
from torchsurgery.layers.foreign import ACTIVATED, ChannelLayerNorm, GlobalAverage, known_elsewhere


def test_norms_of_timm():
    timm = pytest.importorskip("timm.layers")
    old = timm.BatchNormAct2d(4).double().eval()
    new = build(known_elsewhere(old, Axes(3)), old)
    x = images()
    assert type(new) is ACTIVATED[2] and new.weight is old.weight and new.act is old.act
    assert torch.equal(new(slices(x, 3))[:, :, 1], old(x))
    assert type(build(known_elsewhere(new, Axes(1)), new)) is ACTIVATED[0]
    old = timm.LayerNorm2d(4).double()
    new = build(known_elsewhere(old, Axes(3)), old)
    assert type(new) is ChannelLayerNorm and torch.allclose(new(slices(x, 3))[:, :, 1], old(x), atol=1e-12)


def test_counterparts_are_called_as_they_are_built():
    x = torch.randn(2, 4, 3, 5, 6)
    assert torch.allclose(GlobalAverage(True)(x), x.flatten(2).mean(2), atol=1e-6)
    assert ACTIVATED[2](4)(x).min() >= 0 and GlobalAverage()(x).shape == (2, 4, 1, 1, 1)
    assert known_elsewhere(nn.ReLU(), Axes(3)) is None
