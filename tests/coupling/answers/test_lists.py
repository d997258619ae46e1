"""Axes of the very same classes are of one list."""

import numpy as np
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.answers.lists import Lists


def test_each_list_once_in_the_order_of_the_axes():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    coupling = ts.trace(net, torch.zeros(1, 3))
    axes = [axis for leaf in coupling.record.leaves.values() for axis in leaf]
    found = Lists(axes, coupling.classes)
    assert [found.lists[number].tolist() for number in found.list_of] == [coupling.classes.of(a).tolist() for a in axes]
    assert len(found.lists) == 2, "the width in between; what is given and answered stays"
    assert found.list_of[0] == 0 and found.lengths.tolist() == [4, 3]


def test_counts_of_flagged_classes():
    coupling = ts.trace(nn.Linear(3, 4), torch.zeros(1, 3))
    axes = [np.array([], np.int64), np.arange(5), np.array([1, 1, 0])]
    found = Lists(axes, coupling.classes)
    flags = np.ones(coupling.classes.count, bool)
    assert found.counts(flags).tolist() == found.lengths.tolist() == [0, 5, 3]
    assert found.counts(~flags).tolist() == [0, 0, 0]


def test_no_axes():
    found = Lists([], ts.trace(nn.Linear(3, 4), torch.zeros(1, 3)).classes)
    assert found.lists == [] and len(found.counts(np.zeros(1, bool))) == 0
