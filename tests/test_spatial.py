import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchsurgery.spatial import signs


def code(module, axes=2):
    return [sign.code for sign in signs(module, axes)]


def module_of(function):
    return type("Own", (nn.Module,), {"forward": function})()


def helper(x):
    return F.max_pool2d(x, 2)


WRITTEN_FOR_IMAGES = {
    "F.adaptive_avg_pool2d(x, 1)": lambda self, x: F.adaptive_avg_pool2d(x, 1),
    "nn.functional.conv2d(x, w)": lambda self, x, w: nn.functional.conv2d(x, w),
    "F.interpolate(x, scale_factor=2, mode='bilinear')": lambda self, x: F.interpolate(
        x, scale_factor=2, mode="bilinear"
    ),
    "F.pad(x, (1, 1, 1, 1))": lambda self, x: F.pad(x, (1, 1, 1, 1)),
    "x.permute(0, 2, 3, 1)": lambda self, x: x.permute(0, 2, 3, 1),
    "x.view(2, 3, 1, 1)": lambda self, x: x.view(2, 3, 1, 1),
    "x.reshape((2, 3, 1, 1))": lambda self, x: x.reshape((2, 3, 1, 1)),
    "x.mean([2, 3])": lambda self, x: x.mean([2, 3]),
    "x.amax((-2, -1), keepdim=True)": lambda self, x: x.amax((-2, -1), keepdim=True),
    "x.mean(2).mean(2)": lambda self, x: x.mean(2).mean(2),
    "x.mean(-1)": lambda self, x: x.mean(-1),
    "torch.einsum('nchw,nc->nhw', x, y)": lambda self, x, y: torch.einsum("nchw,nc->nhw", x, y),
    "rearrange(x, 'b c h w -> b (h w) c')": lambda self, x: rearrange(x, "b c h w -> b (h w) c"),  # noqa: F821
    "x.transpose(2, 3)": lambda self, x: x.transpose(2, 3),
    "x.shape[-2:]": lambda self, x: torch.zeros(x.shape[-2:]),
    "x.size(3)": lambda self, x: x * x.size(3),
    "x[:, :, ::2, ::2]": lambda self, x: x[:, :, ::2, ::2],
    "x.dim() == 4": lambda self, x: x if x.dim() == 4 else None,
    "F.max_pool2d(x, 2)": lambda self, x: helper(x),
}
WRITTEN_FOR_ANY = {
    "flatten": lambda self, x: torch.flatten(x, 1),
    "flatten from the axes on": lambda self, x: x.flatten(2).mean(2),
    "tokens": lambda self, x: torch.einsum("blc,bmc->blm", x, x).softmax(-1),
    "own layer": lambda self, x: self.conv2d(x),
    "view": lambda self, x: x.view(x.size(0), -1),
    "shape": lambda self, x: x.shape[2:],
    "nearest": lambda self, x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "channels": lambda self, x: x[:, :4] + x[:, 4:],
    "whole axes": lambda self, x: x[:, :4, :, :],
    "cat": lambda self, x: torch.cat([x, x], 1),
    "ndim": lambda self, x: x.view(x.shape[0], *[1] * (x.ndim - 1)),
}


@pytest.mark.parametrize("name", WRITTEN_FOR_IMAGES)
def test_what_is_found(name):
    assert code(module_of(WRITTEN_FOR_IMAGES[name])) == [name]


@pytest.mark.parametrize("name", WRITTEN_FOR_ANY)
def test_what_is_not(name):
    assert code(module_of(WRITTEN_FOR_ANY[name])) == []


def test_unpacking():
    class Shuffle(nn.Module):
        def forward(self, x):
            return self.shuffled(x)

        def shuffled(self, x):
            n, c, h, w = x.shape
            return x.flip(1) * n * c * h * w

    (sign,) = signs(Shuffle(), 2)  # Python 3.10 prints parentheses
    assert str(sign).replace("(n, c, h, w)", "n, c, h, w").endswith("Shuffle.shuffled has n, c, h, w = x.shape")
    assert code(Shuffle(), axes=1) == []


def test_tensors_and_attributes():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.dim, self.other = nn.Parameter(torch.ones(4, 1, 1)), (2, 3), (2, 3)

        def forward(self, x):
            return self.scale * x.mean(self.dim)

    assert [sign.code for sign in signs(Scaled(), 2)] == ["the shape (4, 1, 1)", "the value (2, 3)"]
    assert signs(nn.Conv2d(1, 1, 1), 2) == ()


def test_functions_kept_in_attributes():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.half = F.max_pool2d, functools.partial(F.avg_pool2d, kernel_size=2)

        def forward(self, x):
            return self.half(self.pool(x, 2))

    assert len(signs(Pooled(), 2)) == 2 and code(Pooled(), axes=1) == []


def test_a_forward_without_source_tells_the_names_at_least():
    space = {"nn": nn, "F": F}
    exec("class Own(nn.Module):\n    def forward(self, x):\n        return F.relu(F.max_pool2d(x, 2))", space)
    assert code(space["Own"]()) == ["max_pool2d"] and code(space["Own"](), axes=3) == []
