"""Names of modules, from now backwards."""

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.history.entries import entries
from torchsurgery.history.names import Names


@pytest.fixture
def net():
    return nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Tanh()), nn.ReLU())


def _last():
    entry = entries()[-1]
    return entry.number, entry.record, entry.root()


def test_names_of_now(net):
    names = Names([net, net[0]])
    assert names.view(net[0], net).names == {"": ("0",)}
    assert names.view(net, net[0]).names == {"0": ("",)}


def test_names_in_all_roots_go_back_behind_a_wrapper(net):
    middle, inner = net[0], net[0][0]
    names = Names([net, middle, inner])
    ts.wrap(middle, "0", nn.Sequential)
    names = Names([net, middle, inner])
    assert names.view(inner, net).names == {"": ("0.0.0",)}
    told = names.told(*_last(), net)
    assert told.operations[0].names == ("0.0",)
    assert names.view(inner, net).names == {"": ("0.0",)}
    assert names.view(net, inner).names == {"0.0": ("",)}


def test_what_was_put_around_a_part_is_not_told_of_it(net):
    inner = net[0][0]
    ts.plan(net).replace("0.0.1", nn.GELU()).insert(nn.Dropout(0.1), after="0.0").replace(
        "0.0.layer.1", nn.SiLU()
    ).apply()
    told = Names([net, inner]).told(*_last(), inner)
    assert [operation.names for operation in told.operations] == [("1",), ("1",)]


def test_what_was_put_around_the_root_itself_is_told_of_the_model_around_it(net):
    ts.wrap(net[0], "", nn.Sequential)
    told = Names([net, net[0]]).told(*_last(), net)
    assert [operation.names for operation in told.operations] == [("0",)]
