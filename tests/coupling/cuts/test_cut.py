"""What is left of each axis and which integers follow, held to the model that is made of it."""

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import KINDS, Heads, Joined, Recurrent, Residual, built
from torchsurgery.coupling.constraints.integers import Attribute, Unsolved
from torchsurgery.coupling.cuts.cut import Remains, answer_shapes, factors, in_blocks, widths_of
from torchsurgery.edits import Prune


def remains(kind, *layers):
    """A network, its coupling, and what remains when the first channel of each of these layers goes."""
    net, x = built(kind)
    coupling = ts.trace(net, x)
    dead = np.zeros(coupling.classes.count, bool)
    for layer in layers:
        dead[coupling.group(layer).channels[0]] = True
    return net, x, Remains(coupling, dead)


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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_where_nothing_goes_nothing_is_cut(kind):
    net, _, left = remains(kind)
    cut = left.cut()
    assert (cut.kept, cut.attributes, cut.mixing) == ({}, {}, ())
    named = frozenset(name for name, _ in net.named_parameters()) & left.coupling.record.leaves.keys()
    assert left.params(named) == sum(net.get_parameter(name).numel() for name in named)
    assert left.emptied() is None


def test_entries_and_integers_that_follow():
    _, _, left = remains(Joined, "b")
    cut = left.cut()
    assert cut.kept["b.weight"] == {0: (1, 2, 3, 4, 5)}
    assert cut.kept["c.weight"] == {1: (0, 1, 2, 3, 5, 6, 7, 8, 9)}
    assert "a.weight" not in cut.kept
    _, _, left = remains(Heads, "qkv")
    assert left.attributes() == left.cut().attributes
    assert set(left.cut().attributes.values()) in ({3}, {5})


@pytest.mark.parametrize("kind", [Residual, Joined, Heads, Recurrent], ids=lambda kind: kind.__name__)
def test_counts_are_those_of_the_model_that_is_made_of_it(kind):
    net, x, left = remains(kind, {Residual: "block1.conv1", Joined: "b", Heads: "qkv", Recurrent: "first"}[kind])
    cut = left.cut()
    names = frozenset(name for name, _ in net.named_parameters()) & left.coupling.record.leaves.keys()
    ts.plan(net, x).then(Prune("", (), cut.kept, tuple(cut.attributes.items()))).apply()
    for name in names:
        axes = left.coupling.record.leaves[name]
        assert tuple(map(left.count, axes)) == net.get_parameter(name).shape, name
    assert left.params(names) == sum(net.get_parameter(name).numel() for name in names)
    again = ts.trace(net, x)
    assert left.macs() == Remains(again, np.zeros(again.classes.count, bool)).macs()
    assert answer_shapes(left.coupling, left.count) == [tuple(net(x).shape)]


def test_an_order_takes_the_place_of_what_is_left_where_something_goes():
    _, _, left = remains(Joined, "b")
    turned = left.cut(orders={"b.weight": {0: (5, 4, 3, 2, 1), 1: (2, 1, 0)}}, left={"a": "why"})
    assert turned.kept["b.weight"] == {0: (5, 4, 3, 2, 1)}
    assert turned.left == {"a": "why"}


def test_what_is_emptied_is_named():
    net, x = built(Joined)
    coupling = ts.trace(net, x)
    dead = np.zeros(coupling.classes.count, bool)
    dead[coupling.group("a").channels] = True
    leaf, dim = Remains(coupling, dead).emptied()
    assert (leaf.partition(".")[0], dim) == ("a", 0)


def test_an_integer_without_a_value_is_told_again_and_again():
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.side, self.a, self.b = 3, nn.Linear(4, 9), nn.Linear(9, 2)

        def forward(self, x):
            return self.b(self.a(x).view(-1, self.side * self.side))

    coupling = ts.trace(Square(), torch.ones(1, 4))
    dead = np.zeros(coupling.classes.count, bool)
    dead[coupling.group("a").channels[0]] = True
    left = Remains(coupling, dead)
    assert isinstance(left.unsolved, Unsolved)
    for ask in (left.attributes, left.cut, lambda: widths_of(coupling.record, left)):
        with pytest.raises(Unsolved, match="side"):
            ask()


def test_widths_are_of_what_changes():
    _, _, left = remains(Joined, "b")
    widths = widths_of(left.coupling.record, left)
    assert widths.shapes["b.weight"] == (5, 3, 1, 1) and "a.weight" not in widths.shapes
    assert widths.attributes.get(Attribute("a", "out_channels")) is None


def test_a_width_that_becomes_a_factor_is_found():
    class Scaled(Heads):
        def forward(self, x):
            return super().forward(x) * self.width**-0.5

    coupling = ts.trace(Scaled(), torch.ones(Heads.inputs))
    found = [axis for axis, _ in factors(coupling)]
    assert 6 in map(len, found)
    assert list(factors(ts.trace(Heads(), torch.ones(Heads.inputs)))) == []


def test_blocks_that_keep_the_same_are_one_list():
    flags = np.array([True, False, True, True, False, True, False, False, False])
    assert in_blocks(flags, 3) == (0, 2)
    assert in_blocks(np.array([True, False, False, True]), 2) == ((0,), (1,))
