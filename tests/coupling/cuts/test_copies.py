"""Where copies stand, what sums over them, and what does more to them than to handle each for itself."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import Grouped, Heads, Joined, Residual, Shared, Tied, built
from torchsurgery.coupling.answers.bundles import Bundles
from torchsurgery.coupling.cuts.copies import Copies, Grown, _runs_repeated


def copies(net, x, layer, times, heads=None):
    """The channels of a layer, each so often."""
    coupling = ts.trace(net, x)
    bundles = Bundles(coupling)
    found = bundles.of(coupling.classes.primes_of(coupling.classes.of(coupling.axis(layer))))
    grown = [
        Grown(members, np.resize(times, len(members)))
        for bundle in bundles.levels(found, heads)
        for members in bundle.families
    ]
    return Copies(coupling, grown)


def test_runs():
    owner, times = np.array([-1, 0, 0, 1, 1, 0, -1]), np.array([1, 2, 2, 1, 1, 3, 1])
    assert _runs_repeated(owner, times).tolist() == [0, 1, 2, 1, 2, 3, 4, 5, 5, 5, 6]
    assert _runs_repeated(owner[:0], times[:0]).tolist() == []


def test_each_copy_behind_its_original():
    net, x = built(Joined)
    found = copies(net, x, "a", [3, 1])
    leaves = found.coupling.record.leaves
    assert found.entries(leaves["a.weight"][0]).tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    assert found.entries(leaves["norm.weight"][0]).tolist() == [0, 0, 0, 1, 2, 2, 2, 3, *range(4, 10)]
    assert found.count(leaves["c.weight"][1]) == 14


def test_heads_as_blocks_and_widths_inside():
    net, x = built(Heads)
    outer, inner = copies(net, x, "qkv", [2, 1], heads=True), copies(net, x, "qkv", [2, 1], heads=False)
    axis = outer.coupling.record.leaves["out.weight"][1]
    assert outer.entries(axis).tolist()[:18] == [*range(6), *range(6), *range(6, 12)]
    assert inner.entries(inner.coupling.record.leaves["out.weight"][1]).tolist()[:9] == [0, 0, 1, 2, 2, 3, 4, 4, 5]


def test_takers_and_their_shares():
    net, x = built(Residual)
    found = copies(net, x, "stem", [2, 1])
    assert set(found.takers) == {("block1.conv1.weight", 1), ("block2.conv1.weight", 1), ("fc.weight", 1)}
    cut = found.cut()
    assert cut.shares["fc.weight"][1] == (0.5, 0.5, 1.0) * 4
    assert not cut.mixing


def test_what_gives_and_takes_leaves_all_to_the_original():
    net, x = built(Tied)
    found = copies(net, x, "embed", [2, 1])
    assert found.cut().shares["embed.weight"][1][:3] == (1.0, 0.0, 1.0)


def test_groups_are_summed_over_one_by_one():
    net, x = built(Grouped)
    found = copies(net, x, "layers.2", [2], heads=True)
    axis = found.coupling.record.leaves["layers.3.weight"][0]
    assert found.count(axis) == 24
    assert set(found.cut().shares.get("layers.3.weight", {}).get(0, (1.0,))) == {1.0}


def test_products_of_parameters_alone_divide_one_of_them():
    norm = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6))
    net = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(6, 2)).eval()
    x = torch.randn(1, 3)
    assert set(copies(net, x, "0", [2]).takers) == {("1.parametrizations.weight.original", 1)}
    assert set(copies(net, x, "1", [2]).takers) == {("2.weight", 1), ("1.parametrizations.weight.0._u", 0)}


class Mixed(nn.Module):
    def __init__(self, mix):
        super().__init__()
        self.a, self.b, self.mix = nn.Linear(3, 4), nn.Linear(4, 2), mix

    def forward(self, x):
        return self.b(self.mix(self.a(x)))


@pytest.mark.parametrize(
    ("mix", "unevenly", "evenly"),
    [
        (torch.relu, False, False),
        (lambda x: F.layer_norm(x, (x.shape[-1],)), True, False),
        (lambda x: x - x.mean(-1, keepdim=True), True, False),
        (lambda x: x - x.amax(-1, keepdim=True), True, False),
        (lambda x: x - x.sum(-1, keepdim=True), True, True),
        (lambda x: x / x.std(-1, keepdim=True), True, True),
    ],
    ids=["relu", "layer_norm", "mean", "amax", "sum", "std"],
)
def test_what_is_inexact(mix, unevenly, evenly):
    net, x = Mixed(mix), torch.randn(2, 3)
    assert any(copies(net, x, "a", [2, 1]).inexact()) is unevenly
    assert any(copies(net, x, "a", [2]).inexact()) is evenly


def test_a_product_of_two_answers_can_not_be_shared():
    net, x = built(Shared)
    reasons = list(map(str, copies(net, x, "k", [2], heads=False).inexact()))
    assert any("sums over it" in reason for reason in reasons)
