"""Convolutions and sampling: what goes with what."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE


def test_depthwise_and_grouped():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 2, 1)
    )
    coupling = ts.trace(net, IMAGE)
    # whole groups, or of each of the four some of the two channels that it takes, and of the three that it gives
    assert sorted(len(family) for family in coupling.families.lists) == [2, 2, 2, 2, 3, 3, 3, 3, 4]
    assert sorted(len(family) for family in coupling.tied.families.lists) == [2, 3, 4]
    assert coupling.group("0").modules == coupling.group("1").modules


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
