"""Groups by the names of their layers, printed, and refused where there is none."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE, Residual, members


def test_printed_group():
    text = str(ts.trace(Residual(), IMAGE).group("block1.conv1"))
    assert text.splitlines()[0] == "3 modules change together: 2 that give these channels"
    assert "block1.conv1 → batch_norm (block1.bn1) → block1.bn1" in text


def test_a_layer_that_is_not_there():
    with pytest.raises(ts.SelectionError, match="nothing has no output channels"):
        ts.trace(Residual(), IMAGE).group("nothing")


def test_shared_layer_under_each_of_its_names():
    layer = nn.Linear(6, 6)
    net = nn.Sequential(nn.Linear(4, 6), layer, nn.ReLU(), layer, nn.Linear(6, 2))
    coupling = ts.trace(net, torch.zeros(1, 4))
    assert members(coupling.group("3")) == members(coupling.group("1"))


def test_a_layer_that_shares_its_weight_says_whose_it_is():
    net = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11, bias=False))
    net[1].weight = net[0].weight
    coupling = ts.trace(net, torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(ts.SelectionError, match=r"1 has no output channels of its own: it shares 0\.weight") as raised:
        coupling.group("1")
    assert "group('0')" in raised.value.way_out
    assert len(coupling.group("0")) == 6
