"""What shuffles rule out without a trace is what a trace rules out, and never what fits."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import torchsurgery as ts
from coupling.networks import Half
from torchsurgery.choosing import Wish, choose
from torchsurgery.coupling.answers.bundles import Bundles
from torchsurgery.coupling.cuts.alignment import Narrower, Unaligned, left_of_each
from torchsurgery.coupling.cuts.foreseeing import Foresight, Run


class Units(nn.Module):
    def __init__(self, half, units):
        super().__init__()
        self.first = nn.Conv2d(3, 2 * half, 1)
        self.units = nn.Sequential(*(Half(2 * half) for _ in range(units)))
        self.last = nn.Conv2d(2 * half, 3, 1)

    def forward(self, x):
        return self.last(self.units(self.first(x)))


def shares(coupling, bundle, number):
    share = np.ones(coupling.classes.count)
    share[np.concatenate(bundle.families)] = 1 - number / bundle.size
    return share


def fits(narrower, bundle, number):
    try:
        left_of_each(narrower, [(bundle.families, 1 - number / bundle.size)])
    except Unaligned:
        return False
    return True


@pytest.mark.parametrize(("half", "units"), [(12, 2), (12, 4), (16, 5), (10, 3)])
def test_what_is_ruled_out_does_not_fit(half, units, monkeypatch):
    coupling = ts.trace(Units(half, units).eval(), torch.randn(1, 3, 4, 4))
    foresight, narrower = Foresight(coupling), Narrower(coupling)
    monkeypatch.setattr(Narrower, "rules_out", lambda self, parts: False)
    shuffled = [bundle for bundle in Bundles(coupling).all if bundle.is_shared_out]
    assert shuffled and foresight.taken
    for bundle in shuffled:
        out = {n for n in range(1, bundle.size) if foresight.brings_others(shares(coupling, bundle, n))}
        right = {n for n in range(1, bundle.size) if fits(narrower, bundle, n)}
        assert not out & right


def test_most_of_what_does_not_fit_is_ruled_out():
    coupling = ts.trace(torchvision.models.shufflenet_v2_x0_5().eval(), torch.randn(1, 3, 64, 64))
    foresight, bundle = Foresight(coupling), max(Bundles(coupling).all, key=lambda b: len(b.families))
    # 24 of 48 leave halves of 24, 12, 6 and 3, where those of 48 are 24, 12, 6, 3 and 2.
    assert foresight.brings_others(shares(coupling, bundle, 24))
    assert not foresight.brings_others(shares(coupling, bundle, 32))


def test_a_number_that_does_not_fit_is_passed_over_without_a_trace(monkeypatch):
    net = torchvision.models.shufflenet_v2_x0_5().eval()
    coupling, traced = ts.trace(net, torch.randn(1, 3, 64, 64)), []
    of = Narrower.of
    monkeypatch.setattr(Narrower, "of", lambda self, numbers: traced.append(numbers) or of(self, numbers))
    found = choose(coupling, Wish(None, 0.5, None, ts.importance.l2), dict(net.named_parameters()))
    assert len(found.cut.kept["stage3.1.branch2.0.weight"][1]) == 16
    assert len(traced) == 2, "for the numbers and for the order; the second of these is not traced again"


def test_the_model_as_it_is_brings_nothing_new():
    coupling = ts.trace(Units(12, 3).eval(), torch.randn(1, 3, 4, 4))
    assert not Foresight(coupling).brings_others(np.ones(coupling.classes.count))


def test_what_can_not_be_told_is_not_ruled_out():
    coupling = ts.trace(Units(12, 3).eval(), torch.randn(1, 3, 4, 4))
    foresight = Foresight(coupling)
    share = np.ones(coupling.classes.count)
    share[foresight.given[0][:3]] = 0.5  # of a shuffle that loses other shares of its rows
    assert not foresight.brings_others(share)
    assert not foresight.brings_others(np.full(coupling.classes.count, 0.3))


def test_channels_that_the_rows_do_not_divide_are_not_ruled_out():
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ChannelShuffle(4), nn.Conv2d(12, 3, 1))
    coupling = ts.trace(net, torch.randn(1, 3, 4, 4))
    foresight = Foresight(coupling)
    assert foresight.rows == [4]
    assert not foresight.brings_others(np.full(coupling.classes.count, 0.5))


def test_a_model_without_shuffles():
    coupling = ts.trace(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.randn(1, 3))
    foresight = Foresight(coupling)
    assert not foresight.given and not foresight.brings_others(np.full(coupling.classes.count, 0.5))


def test_runs_get_shorter_by_whole_channels():
    assert Run(0, 6, 6, 0).shortened(0.5) == (3, 6)
    assert Run(0, 5, 5, 0).shortened(0.5) is None
    assert Run(0, 0, 12, 0).shortened(1 / 3) == (0, 4)
