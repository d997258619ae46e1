"""Convolutions, attention and sampling: what goes with what."""

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE, Heads


def test_depthwise_and_grouped():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 2, 1)
    )
    coupling = ts.trace(net, IMAGE)
    # whole groups, or of each of the four some of the two channels that it takes, and of the three that it gives
    assert sorted(len(family) for family in coupling.families.lists) == [2, 2, 2, 2, 3, 3, 3, 3, 4]
    assert sorted(len(family) for family in coupling.tied.families.lists) == [2, 3, 4]
    assert coupling.group("0").modules == coupling.group("1").modules


def test_heads_and_their_width_are_families():
    coupling = ts.trace(Heads(), torch.zeros(2, 7, 10))
    assert sorted(map(len, coupling.families.lists)) == [4, 6]
    group = coupling.group("qkv")
    assert set(group.modules) == {"qkv", "out"}


def test_weight_norm_counts_as_its_layer():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 2))
    group = ts.trace(net, torch.zeros(1, 4)).group("0")
    assert group.modules == ("0", "1")


def test_a_convolution_of_one_entry_leaves_positions_to_themselves():
    """Over three tokens, whose channels are its positions: they come and go as anywhere else."""

    class Summed(nn.Module):
        def __init__(self, kernel):
            super().__init__()
            self.stem, self.join, self.head = (
                nn.Linear(4, 8),
                nn.Conv1d(3, 1, kernel, padding=kernel // 2),
                nn.Linear(8, 2),
            )

        def forward(self, x):
            return self.head(self.join(self.stem(x))[:, 0])

    x = torch.randn(1, 3, 4)
    assert ts.trace(Summed(1), x).group("stem").taking == ("head",)
    with pytest.raises(ts.CouplingError, match="positions of a convolution"):
        ts.trace(Summed(3), x).group("stem")


def test_grids_belong_to_the_pictures_that_they_sample():
    """Deformable attention lays its heads into the batch: a head's places go with its values."""

    class Deformable(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = 4
            self.value, self.places, self.back = nn.Linear(6, 12), nn.Linear(6, 8), nn.Linear(12, 2)

        def forward(self, x):
            n, length, _ = x.shape
            value = self.value(x).view(n, length, self.heads, 3).permute(0, 2, 3, 1).reshape(n * self.heads, 3, 4, 4)
            grid = self.places(x).view(n, length, self.heads, 1, 2).permute(0, 2, 1, 3, 4).flatten(0, 1)
            found = nn.functional.grid_sample(value, grid, align_corners=False)[..., 0]
            return self.back(found.view(n, self.heads * 3, length).transpose(1, 2))

    coupling = ts.trace(Deformable(), torch.randn(2, 16, 6))
    groups = [set(group.giving) for group in coupling.groups if "places" in group.giving]
    assert groups == [{"value", "places"}]


def test_heads_of_two_scales_go_with_the_groups_between_them():
    """Queries, keys and values of 4 heads, and the same again from a convolution in 12 groups, joined to 8 heads."""

    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.dim = 2
            self.qkv, self.again = nn.Conv2d(6, 24, 1), nn.Conv2d(24, 24, 1, groups=12)
            self.back = nn.Conv2d(16, 2, 1)

        def forward(self, x):
            qkv = self.qkv(x)
            both = torch.cat([qkv, self.again(qkv)], 1).reshape(x.shape[0], -1, 3 * self.dim, 9).transpose(-1, -2)
            q, k, v = both.chunk(3, dim=-1)
            out = q.relu() @ (k.relu().transpose(-1, -2) @ v)
            return self.back(out.transpose(-1, -2).reshape(x.shape[0], -1, 3, 3))

    coupling = ts.trace(Scales(), torch.randn(1, 6, 3, 3))
    found = []
    for group in coupling.groups:
        for channel in group.channels:
            places = {(m.name, m.dim): m.indices for m in coupling._group(np.array([channel])).members}
            found.append(
                (places.get(("qkv.weight", 0)), places.get(("again.weight", 0)), places.get(("back.weight", 1)))
            )
    # Head 0 of both scales: six rows of each convolution, and two channels of each half of what is joined.
    assert (tuple(range(6)), tuple(range(6)), (0, 1, 8, 9)) in found
    assert (tuple(range(18, 24)), tuple(range(18, 24)), (6, 7, 14, 15)) in found
