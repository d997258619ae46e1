"""What an importance answers is taken for the scores of the channels, if it is one number each."""

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.importance import Sources, scores_of


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def scored(net, by):
    coupling = ts.trace(net, torch.zeros(1, 3))
    return scores_of(Sources(coupling, dict(net.named_parameters())), coupling.families.lists[:1], by)[0]


def test_all_weights_of_a_channel_count(net):
    first, last = net[0], net[2]
    wanted = first.weight.square().sum(1) + first.bias.square() + last.weight.square().sum(0)
    scores = scored(net, ts.importance.l2)
    assert scores.dtype == np.float64
    torch.testing.assert_close(torch.from_numpy(scores).float(), wanted.sqrt().detach())


def test_the_scores_of_a_user(net):
    assert scored(net, lambda slices: torch.arange(4)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("answer", [torch.zeros(3), torch.zeros(4, 1), 1.0, None])
def test_other_than_one_number_a_channel(net, answer):
    with pytest.raises(ts.CouplingError, match="one number a channel") as caught:
        scored(net, lambda slices: answer)
    assert caught.value.name == "0.weight"


def test_numbers_that_are_none(net):
    with torch.no_grad():
        net[0].weight[1] = float("nan")
    with pytest.raises(ts.CouplingError, match="that are none"):
        scored(net, ts.importance.l2)


def test_on_meta_all_count_the_same(net):
    assert scored(net.to("meta"), ts.importance.l2).tolist() == [0, 0, 0, 0]


def test_channels_that_no_parameter_has(net):
    coupling = ts.trace(net, torch.zeros(1, 3))
    (scores,) = scores_of(Sources(coupling, {}), coupling.families.lists[:1], ts.importance.l2)
    assert scores.tolist() == [0, 0, 0, 0]
