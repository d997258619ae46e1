"""Rows of a division that may lose entries of their own, and those that may not, since it matters which is which."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import zero


class Between(nn.Module):
    """Two convolutions and something between them that divides 16 channels into 4 rows."""

    def __init__(self, between):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1)
        self.scale, self.between = nn.Parameter(torch.rand(4, 1, 1)), between

    def forward(self, x):
        h = self.a(x)
        n, _, height, width = h.shape
        return self.b(self.between(self, h.view(n, 4, h.shape[1] // 4, height, width)).flatten(1, 2))


def traced(between):
    return ts.trace(Between(between).eval(), torch.randn(2, 3, 4, 4))


LOOSE = {
    "put together again": lambda net, h: h,
    "turned": lambda net, h: h.transpose(1, 2),
    "turned and back": lambda net, h: h.transpose(1, 2).contiguous().relu().transpose(1, 2),
}
TIED = {
    "scaled place by place": lambda net, h: h * net.scale,
    "rows changed with each other": lambda net, h: h + h.flip(1),
    "multiplied with itself": lambda net, h: (
        h + (h.flatten(3).transpose(2, 3) @ h.flatten(3)).sum((1, 2, 3)).view(-1, 1, 1, 1, 1)
    ),
    "reversed": lambda net, h: h.flip(2),
    "some places only": lambda net, h: torch.cat([h[:, :, :2], h[:, :, 2:].relu()], 2),
    "one row added to all": lambda net, h: h + h.sum(1, keepdim=True),
}


@pytest.mark.parametrize("between", LOOSE.values(), ids=LOOSE)
def test_rows_of_their_own(between):
    coupling = traced(between)
    (rows,) = coupling.rows
    assert [len(part) for part in rows.parts] == [4, 4, 4, 4]
    assert [len(channels) for channels in coupling.families.lists] == [4, 4, 4, 4]
    assert [len(channels) for channels in coupling.tied.families.lists] == [4]


@pytest.mark.parametrize("between", TIED.values(), ids=TIED)
def test_rows_alike(between):
    coupling = traced(between)
    assert coupling.rows == ()
    assert coupling.tied is coupling


def test_groups_of_a_convolution_give_channels_of_their_own():
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 24, 1, groups=4), nn.BatchNorm2d(24), nn.Conv2d(24, 2, 1))
    coupling = ts.trace(net.eval(), torch.randn(2, 3, 4, 4))
    assert [len(rows.parts) for rows in coupling.rows] == [4, 4]
    # four groups, four channels that each of them takes, and six that each of them gives
    assert sorted(len(channels) for channels in coupling.families.lists) == [4, 4, 4, 4, 4, 6, 6, 6, 6]
    assert sorted(len(channels) for channels in coupling.tied.families.lists) == [4, 4, 6]


def test_each_group_loses_its_own_worst():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1, groups=2), nn.Conv2d(16, 2, 1)).double().eval()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    # the first channels of the first group are the weakest, and the last of the second
    strength = torch.cat([torch.arange(1.0, 9), torch.arange(9.0, 1, -1)])
    with torch.no_grad():
        net[1].weight.copy_(strength.view(-1, 1, 1, 1).expand(16, 4, 1, 1))
    plan = ts.plan(net, x).prune("1", 8, heads=False)
    kept = plan.planned[0].edit.kept
    assert kept["1.weight"][0] == kept["2.weight"][1] == (4, 5, 6, 7, 8, 9, 10, 11)
    zero(net, kept)
    expected = net(x)
    plan.apply()
    assert torch.allclose(net(x), expected, rtol=1e-12)


def test_a_norm_of_groups_keeps_its_groups():
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(4, 16), nn.Conv2d(16, 2, 1))
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1, 9, 1, 9, 9, 1, 9, 1, 1, 1, 9, 9, 9, 9, 1, 1]))
        for layer in (net[0], net[2]):
            layer.weight.fill_(1.0)
    plan = ts.plan(net, x).prune("0", 8, heads=False)
    assert plan.planned[0].edit.kept["1.weight"][0] == (1, 3, 4, 6, 10, 11, 12, 13)
    plan.apply()
    assert net[1].num_groups == 4 and net[1].num_channels == 8
    assert net(x).shape == (2, 2, 4, 4)


def test_named_channels_of_each_row():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 2, 1)).eval()
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ts.CouplingError, match="cannot prune channel 1 of 1 alone: it goes together with 1 more"):
        ts.prune(net, "1", channels=[1], example_inputs=x)
    ts.prune(net, "1", channels=[1, 6], example_inputs=x)
    assert net[1].weight.shape == (6, 4, 1, 1)


def test_a_shuffle_of_all_its_layers_keeps_its_rows():
    """The number of groups is an integer of the model: it stays, as the axis is put together in another order."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.groups = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1), 4

        def forward(self, x):
            return self.b(F.channel_shuffle(self.a(x), self.groups))

    net = Net()
    ts.prune(net, amount=0.5, example_inputs=torch.randn(2, 3, 4, 4))
    assert (net.a.out_channels, net.groups) == (8, 4)


def test_rows_are_scored_at_once():
    """An importance sees all channels of a layer, as it would without groups."""
    seen = []

    def by(slices):
        seen.append(len(slices[0].weight))
        return ts.importance.l2(slices)

    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1, groups=4), nn.Conv2d(16, 2, 1))
    ts.prune(net, "1", 0.5, by=by, example_inputs=torch.randn(2, 3, 4, 4), heads=False)
    assert seen == [16]
