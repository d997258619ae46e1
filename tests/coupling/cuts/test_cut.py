"""What is left of each axis, told all at once, is what counting its entries comes to."""

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.cuts.cut import Remains, in_blocks


@pytest.fixture
def coupling():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    return ts.trace(net, torch.zeros(1, 3))


def without(coupling, name, channels):
    dead = np.zeros(coupling.classes.count, bool)
    dead[coupling.classes.of(coupling.axis(name))[channels]] = True
    return Remains(coupling, dead)


def test_entries_that_live(coupling):
    remains = without(coupling, "0", [1, 4, 5])
    axis = coupling.axis("0")
    assert remains.count(axis) == 5
    assert np.nonzero(~remains.flags(axis))[0].tolist() == [1, 4, 5]
    cut = remains.cut()
    assert cut.kept["0.weight"] == {0: (0, 2, 3, 6, 7)} == cut.kept["0.bias"]
    assert cut.kept["2.weight"] == {1: (0, 2, 3, 6, 7)}
    assert "4.weight" not in cut.kept


def test_parts_that_lose_equally_many_do_not_differ(coupling):
    parts = np.split(coupling.axis("0"), 4)
    assert not without(coupling, "0", []).differ(parts)
    assert not without(coupling, "0", [0, 3, 4, 7]).differ(parts)
    assert without(coupling, "0", [0, 1, 4, 7]).differ(parts)


def test_an_axis_of_which_nothing_is_left_is_named(coupling):
    assert without(coupling, "0", [0]).emptied() is None
    assert without(coupling, "0", list(range(8))).emptied() == ("0.weight", 0)


def test_blocks_that_keep_the_same_are_one_list():
    flags = np.array([True, False, True, True, False, True, False, False, False])
    assert in_blocks(flags, 3) == (0, 2)
    assert in_blocks(np.array([True, False, False, True]), 2) == ((0,), (1,))
