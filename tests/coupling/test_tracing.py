"""A trace says which channels of which layers are one."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import KINDS, built, members
from torchsurgery.coupling.tracing import _names


def test_chain():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    group = ts.trace(net, torch.zeros(1, 4)).group("0")
    every = tuple(range(8))
    assert members(group) == {("0.weight", 0): every, ("0.bias", 0): every, ("2.weight", 1): every}
    assert group.giving == ("0",)
    assert group.taking == ("2",)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_traced_twice_is_the_same(kind):
    net, x = built(kind)
    once, again = ts.trace(net, x), ts.trace(net, x)
    assert str(once) == str(again) and once.groups
    assert [members(group) for group in once.groups] == [members(group) for group in again.groups]


def test_modules_are_named_in_their_order_and_shared_ones_by_their_first_name():
    shared = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net = nn.Sequential(shared, nn.ModuleDict({"a": shared, "b": nn.ReLU()}), shared[0])
    names, aliases = _names(net)
    every = dict(net.named_modules(remove_duplicate=False))
    assert list(names.items()) == [(module, name) for name, module in net.named_modules()]
    assert {**{name: module for module, name in names.items()}, **{a: every[n] for a, n in aliases.items()}} == every


def test_a_script_shows_nobody_its_operations():
    net = nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.ReLU()))
    with pytest.raises(ts.TraceError, match=r"^1 \(RecursiveScriptModule\) is TorchScript") as caught:
        ts.trace(net, torch.zeros(1, 2))
    assert "before it is scripted" in str(caught.value)


def test_a_lazy_layer_has_no_sizes_yet():
    with pytest.raises(ts.TraceError, match=r"^1 \(LazyLinear\) is lazy") as caught:
        ts.trace(nn.Sequential(nn.ReLU(), nn.LazyLinear(3)), torch.ones(2, 2))
    assert "model(x)" in caught.value.way_out
