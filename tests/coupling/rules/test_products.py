"""Attention: what goes with what."""

import numpy as np
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Heads


def test_heads_and_their_width_are_families():
    coupling = ts.trace(Heads(), torch.zeros(2, 7, 10))
    assert sorted(map(len, coupling.families.lists)) == [4, 6]
    group = coupling.group("qkv")
    assert set(group.modules) == {"qkv", "out"}


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
