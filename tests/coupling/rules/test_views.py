"""The same entries in another arrangement."""

from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE, members


def test_flatten_into_linear_repeats_each_channel():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    group = ts.trace(net, IMAGE).group("0")
    assert len(group) == 4
    assert members(group)["2.weight", 1] == tuple(range(144))
