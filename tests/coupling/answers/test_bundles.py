"""Which of several factors goes, where channels are divided into heads, groups or steps."""

import torch
import torchvision
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.answers.bundles import Bundles

IMAGE = torch.randn(1, 3, 64, 64)


class Longer(nn.Module):
    """Each step of a sequence becomes two, as in SEW: 2 steps · 12 channels in one projection."""

    def __init__(self):
        super().__init__()
        self.steps = 2
        self.first, self.project, self.last = nn.Linear(5, 8), nn.Linear(8, 24), nn.Linear(12, 3)

    def forward(self, x):
        n, length, _ = x.shape
        h = self.project(self.first(x))
        return self.last(h.view(n, length, self.steps, -1).flatten(1, 2)).mean(1)


def test_channels_that_more_layers_take_go_before_steps():
    net = Longer()
    ts.prune(net, amount=0.5, example_inputs=torch.randn(2, 7, 5))
    assert net.steps == 2 and net.last.in_features == 6 and net.project.out_features == 12


def test_channels_of_each_group_go_before_groups():
    net = torchvision.models.resnext50_32x4d()
    ts.prune(net, amount=0.5, example_inputs=IMAGE)
    conv = net.layer1[0].conv2
    assert conv.groups == 32 and conv.weight.shape == (64, 2, 3, 3)


class Multiplied(nn.Module):
    """Each channel of a stream becomes two, as between the stages of PiT."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.pool, self.head = nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 4, 1)

    def forward(self, x):
        h = self.stem(x)
        return self.head(self.pool(h + self.mix(h)))


def test_channels_that_are_multiplied_go_with_what_they_become():
    net = Multiplied()
    ts.prune(net, amount=0.5, example_inputs=IMAGE)
    assert (net.stem.out_channels, net.pool.groups, net.head.in_channels) == (4, 4, 8)
    net(IMAGE).sum().backward()


def test_asked_for_alone_what_they_become_leaves_them():
    net = Multiplied()
    ts.prune(net, "pool", amount=0.5, example_inputs=IMAGE)
    assert (net.stem.out_channels, net.pool.groups, net.head.in_channels) == (8, 8, 8)


def test_parts_of_several_families_are_one_bundle():
    coupling = ts.trace(torchvision.models.shufflenet_v2_x1_0(), IMAGE)
    shared = [bundle for bundle in Bundles(coupling).all if bundle.is_shared_out]
    assert [bundle.size for bundle in shared] == [58, 116, 232]
    assert all(len(bundle.part) == bundle.size for bundle in shared)
    # the halves of a unit's branches are told by the unit that convolves them
    assert all(len({len(family) for family in bundle.families}) > 1 for bundle in shared)
    assert not any(bundle.is_shared_out for bundle in Bundles(coupling.tied).all)
