import pytest
import torch
from torch import nn
from turning import images, slices

from torchsurgery.errors import ConfigError
from torchsurgery.layers.assembling import build
from torchsurgery.layers.dimensions import CONSTANT, Axes, axes_of_layer, sets_axes, settled_for


@pytest.mark.parametrize(
    ("old", "words"),
    [
        (nn.PixelShuffle(2), "no counterpart"),
        (nn.Unfold(3), "no counterpart"),
        (nn.Softmax(2), "works along an axis"),
        (nn.GLU(-3), "works along an axis"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "bicubic"),
        (nn.Flatten(1, 2), "written for 2 axes"),
        (nn.Unflatten(1, (2, 2)), "fixes the axes"),
        (nn.LayerNorm((4, 8, 8)), "weights for 3 axes"),
    ],
)
def test_layers_of_any_number_of_axes_that_are_set_for_one(old, words):
    with pytest.raises(ConfigError, match=words):
        settled_for(old, 2, Axes(3))


def test_layers_that_stay():
    for old in (
        nn.Flatten(),
        nn.Flatten(2),
        nn.ReLU(),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.Linear(2, 2),
        nn.Softmax(-1),
    ):
        assert settled_for(old, 2, Axes(3)) is None and axes_of_layer(type(old)) is None
    assert build(settled_for(nn.Flatten(1, 3), 2, Axes(3)), nn.Flatten()).end_dim == -1
    assert sets_axes(nn.Conv2d) and not sets_axes(nn.BatchNorm2d)


# --- upsampling


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "area"])
def test_upsampling(mode):
    align = True if mode == "bilinear" else None
    old, x = nn.Upsample(scale_factor=2, mode=mode, align_corners=align), images(size=5)
    conversion = settled_for(old, 2, Axes(3))
    new = build(conversion, old)
    y, z = old(x), new(slices(x, 6))
    assert z.shape[2] == 12 and torch.allclose(z, y.unsqueeze(2), rtol=1e-10, atol=1e-10)
    assert conversion.remarks == (CONSTANT,) and new.align_corners is align
    flat = build(settled_for(old, 2, Axes(3, strided=False)), old)
    assert flat(slices(x, 6)).shape[2] == 6
    assert build(settled_for(old, 2, Axes(1)), old)(images(axes=1)).shape == (2, 4, 24)
    with pytest.raises(ConfigError, match="does not tell the length"):
        settled_for(nn.Upsample(size=(8, 8), mode=mode), 2, Axes(3, strided=False))
    assert settled_for(nn.Upsample(size=(8, 9), mode=mode), 2, Axes(3)).config["size"] == (8, 8, 9)


def test_old_upsampling_classes_and_softmax():
    for old in (nn.UpsamplingNearest2d(scale_factor=2), nn.UpsamplingBilinear2d(scale_factor=2), nn.Softmax2d()):
        x = images(size=5)
        z = build(settled_for(old, 2, Axes(3)), old)(slices(x, 6))
        assert torch.allclose(z[:, :, 3], old(x), rtol=1e-10, atol=1e-10)
