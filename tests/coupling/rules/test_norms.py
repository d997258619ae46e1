"""Normalisations of weights."""

import torch
from torch import nn

import torchsurgery as ts


def test_weight_norm_counts_as_its_layer():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 2))
    group = ts.trace(net, torch.zeros(1, 4)).group("0")
    assert group.modules == ("0", "1")
