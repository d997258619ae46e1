"""Integers that remember how they were computed, and what they must become."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.constraints.atoms import NOWHERE, Where
from torchsurgery.coupling.constraints.integers import (
    Attribute,
    Integers,
    Site,
    Traced,
    Unsolved,
    evaluate,
    in_words,
    laid_into,
)
from torchsurgery.coupling.solving.adjusting import Demands


def test_arithmetic_is_remembered():
    integers = Integers()
    heads, width = integers.attribute("", "heads", 4), integers.attribute("", "width", 6)
    row = heads * width
    assert row == 24
    assert isinstance(row, Traced)
    assert in_words(row.expression) == "heads * width"
    assert evaluate(row.expression, {Attribute("", "heads"): 2, Attribute("", "width"): 6}) == 12
    assert evaluate((3 * row // 2 - 1).expression, {Attribute("", "heads"): 2, Attribute("", "width"): 6}) == 17
    assert evaluate((-row).expression, {Attribute("", "heads"): 2, Attribute("", "width"): 6}) == -12
    assert evaluate(row.expression, {}) is None


def test_behaves_as_an_integer():
    four = Integers().attribute("", "n", 4)
    assert {4: "x"}[four] == "x"
    assert four / 2 == 2.0
    assert 2 / four == 0.5
    assert four**-0.5 == 0.5
    assert four**2 == 16
    assert math.sqrt(four) == 2.0
    assert 2**four == 16
    assert four > 3
    assert four != 5
    assert f"{four}" == "4"
    assert [1, 2, 3, 4, 5][four] == 5
    assert copy.deepcopy(four) is four
    assert type(pickle.loads(pickle.dumps(four))) is int


def test_what_becomes_a_factor_is_known():
    integers = Integers()
    width, other = integers.attribute("", "width", 4), integers.attribute("", "other", 4)
    assert (2 * width) ** -0.5 > 0
    assert other // 2 == 2
    assert integers.factors == {Attribute("", "width")}


def solved(*sites, integers, left):
    """New attributes for expressions that are the sizes of axes of which so many entries are left."""
    for number, expression in enumerate(sites):
        integers.sites.append(Site(expression, np.array([number + 1]), NOWHERE))
    demands = Demands(integers)
    return demands.met([left[int(axis[0]) - 1] for axis in demands.axes])


def test_direct():
    integers = Integers()
    heads = integers.attribute("a", "heads", 4)
    assert solved(heads.expression, integers=integers, left=[2]) == {Attribute("a", "heads"): 2}
    assert Demands(Integers()).met([]) == {}


def test_what_is_demanded_twice_is_read_once():
    integers, axis = Integers(), np.array([1])
    heads = integers.attribute("a", "heads", 4)
    integers.sites += [Site(heads.expression, axis, Where("one", "a")), Site((heads * 2).expression, axis, NOWHERE)]
    integers.sites += [Site(heads.expression, axis, Where("two", "a")), Site(heads.expression, np.array([1]), NOWHERE)]
    demands = Demands(integers)
    assert [demand.where.operation for demand in demands.all[::2]] == ["one", ""]
    assert len(demands.all) == 3 and len(demands.axes) == 2
    assert [demand.names for demand in demands.all] == [(Attribute("a", "heads"),)] * 3


def test_one_unknown_of_a_product():
    integers = Integers()
    heads, row = integers.attribute("", "heads", 4), integers.attribute("", "row", 24)
    new = solved(heads.expression, (row // heads).expression, integers=integers, left=[2, 6])
    assert new == {Attribute("", "heads"): 2, Attribute("", "row"): 12}


def test_contradiction():
    integers = Integers()
    width = integers.attribute("", "width", 6)
    with pytest.raises(Unsolved, match="width") as caught:
        solved(width.expression, width.expression, integers=integers, left=[3, 6])
    assert len(caught.value.axes) >= 2


def test_what_was_compared_and_equal():
    integers = Integers()
    width, features = integers.attribute("", "width", 6), integers.attribute("", "features", 6)
    assert width == features
    assert solved(width.expression, integers=integers, left=[3]) == {
        Attribute("", "width"): 3,
        Attribute("", "features"): 3,
    }


class Holder(nn.Sequential):
    pass


class SomeConfig:
    def __init__(self):
        self.hidden_size = 8


def test_laid_into_modules_and_their_configs():
    net = Holder(nn.Conv2d(4, 4, 1, groups=2))
    net.width, net.shape, net.flag, net.config = 8, [2, 3], True, SomeConfig()
    config, integers = net.config, Integers()
    with laid_into({net: "", net[0]: "0"}, integers):
        assert isinstance(net.width, Traced)
        assert all(isinstance(n, Traced) for n in net.shape)
        assert net.flag is True
        assert isinstance(net[0].groups, Traced)
        assert type(net[0].kernel_size[0]) is int
        assert net.config is not config
        assert isinstance(net.config.hidden_size, Traced)
    assert net.config is config
    assert type(config.hidden_size) is int
    assert type(net.width) is int
    assert type(net[0].groups) is int
    assert integers.attributes == {
        Attribute("", "width"): 8,
        Attribute("", "shape[0]"): 2,
        Attribute("", "shape[1]"): 3,
        Attribute("", "config.hidden_size"): 8,
        Attribute("0", "groups"): 2,
        Attribute("0", "out_channels"): 4,
    }


class Reading(nn.Module):
    """Computes with what its layers tell of their widths."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.q, self.o, self.heads = nn.Linear(12, 24), nn.Linear(24, 12), 4
        self.conv, self.fc = nn.Conv1d(12, 20, 1, groups=2), nn.Linear(10, 3)

    def forward(self, x):
        x = self.embed(x) * self.embed.embedding_dim**0.5
        n, length, _ = x.shape
        y = self.q(x).view(n, length, self.heads, self.q.out_features // self.heads)
        x = x + self.o(y.softmax(1).reshape(n, length, self.o.in_features))
        y = self.conv(x.mT)
        half = self.conv.out_channels // 2
        return self.fc((y[:, :half] + y[:, half:]).mean(-1))


def test_widths_that_the_code_reads_off_its_layers_follow():
    torch.manual_seed(0)
    net, x = Reading().double().eval(), torch.randint(11, (2, 5))
    answer = net(x)
    assert net.q.out_features == 24
    assert type(net.q.out_features) is int
    for layer in ("q", "conv"):
        done = ts.prune(net, layer, 0.5, example_inputs=x)
        assert "agree" in str(ts.check(net, x))
        done.undo()
        done = ts.widen(net, layer, 2.0, example_inputs=x)
        torch.testing.assert_close(net(x), answer, rtol=0, atol=1e-12)
        done.undo()
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert (net.embed.embedding_dim, net.o.in_features, net.conv.out_channels) == (6, 12, 10)
    assert "goes over what went" in str(ts.check(net, x))
    done.undo()
    # The square root of a width is another when that is.
    with pytest.raises(ts.CouplingError, match="a factor in the code depends on its width"):
        ts.widen(net, "embed", 24, example_inputs=x)
