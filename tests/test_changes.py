"""Primitive steps: each writes one thing, and restores it however often and whether or not it was applied."""

import functools

import pytest
import torch
from torch import nn

from torchsurgery.changes import Assign, Become, Cast, Change, Drop, Follow, Put, Refresh, Retype, Write
from torchsurgery.origins import Computed
from torchsurgery.outside import Reference


class FancyReLU(nn.ReLU):
    pass


def shell(module, kind=None):
    twin = object.__new__(kind or type(module))
    object.__setattr__(twin, "__dict__", module.__dict__)
    return twin


def retype():
    net = nn.Sequential(nn.ReLU())
    return Retype(net[0], shell(net[0], FancyReLU)), lambda: type(net[0]).__name__, ("ReLU", "FancyReLU")


def become():
    net = nn.Sequential(nn.ReLU())
    old = net[0]
    step = Become(old, nn.Dropout(0.5), shell(old))
    return step, lambda: (repr(net[0]), net[0] is old), (("ReLU()", True), ("Dropout(p=0.5, inplace=False)", True))


def put():
    net = nn.Sequential(nn.ReLU())
    old, new = net[0], nn.GELU()
    return Put(net, net._modules, "0", old, new), lambda: net[0], (old, new)


def write():
    held, new = [nn.ReLU()], nn.GELU()
    old, net = held[0], nn.Sequential()
    reference = Reference("held[0]", old, functools.partial(held.__setitem__, 0), net)
    return Write(reference, new), lambda: held[0], (old, new)


def assign():
    mapping = {"kept": 1, "changed": 2}
    before, after = dict(mapping), {"kept": 1, "changed": 3, "new": 4}
    return Assign(mapping, {"changed": 3, "new": 4}), lambda: dict(mapping), (before, after)


def drop():
    mapping = {"a": 1, "b": 2, "c": 3}
    return Drop(mapping, ("b", "never there")), lambda: list(mapping), (["a", "b", "c"], ["a", "c"])


def follow():
    old, new = nn.ReLU().eval(), nn.Sequential(nn.Dropout())
    return Follow((new, new[0]), old), lambda: (new.training, new[0].training), ((True, True), (False, False))


def cast():
    weight = nn.Parameter(torch.ones(2))
    step = Cast(weight, torch.ones(1, dtype=torch.float64))
    return step, lambda: weight.dtype, (torch.float32, torch.float64)


def refresh():
    source, tensor = torch.ones(2), torch.tensor([2.0, 2.0])
    doubled = Computed(("weight",), lambda weight: 2 * weight, "doubled")
    step = Refresh(tensor, doubled, {"weight": source})
    source.mul_(5)
    return step, tensor.tolist, ([2.0, 2.0], [10.0, 10.0])


STEPS = pytest.mark.parametrize("make", [retype, become, put, write, assign, drop, follow, cast, refresh])


@STEPS
def test_applied_and_restored(make):
    step, look, (before, after) = make()
    assert look() == before
    restore = step.snapshot()
    assert look() == before, "taking a snapshot writes nothing"
    step.apply()
    assert look() == after
    restore()
    assert look() == before


@STEPS
def test_restored_twice(make):
    step, look, (before, _) = make()
    restore = step.snapshot()
    step.apply()
    restore()
    restore()
    assert look() == before


@STEPS
def test_restored_without_having_been_applied(make):
    step, look, (before, _) = make()
    step.snapshot()()
    assert look() == before


@STEPS
def test_applied_again_after_it_was_restored(make):
    step, look, (before, after) = make()
    for _ in range(2):
        restore = step.snapshot()
        step.apply()
        assert look() == after
        restore()
    assert look() == before


@pytest.mark.parametrize("make", [retype, become, put])
def test_what_is_placed_fits_before_and_stands_after(make):
    step, _, _ = make()
    restore = step.snapshot()
    assert step.fits()
    step.apply()
    assert step.stands()
    restore()
    assert step.fits()
    if make is not retype:  # which shares the state with the old layer, so that only the class tells
        assert not step.stands()


def test_targets_are_the_objects_written_to():
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    first, again = Put(net, net._modules, "0", net[0], nn.GELU()), Put(net, net._modules, "0", net[0], nn.SiLU())
    assert first.target == again.target
    assert first.target != Put(net, net._modules, "1", net[1], nn.GELU()).target
    assert Retype(net[0], net[1]).target == Become(net[0], net[1], net[1]).target


@pytest.mark.parametrize("make", [become, put])
def test_a_layer_comes_back_in_the_mode_of_now(make):
    net = nn.Sequential(nn.Sequential(nn.Dropout()))
    old, new = net[0], nn.Sequential(nn.GELU())
    step = Put(net, net._modules, "0", old, new) if make is put else Become(old, new, shell(old))
    restore = step.snapshot()
    step.apply()
    net.eval()
    restore()
    assert not net[0].training
    assert not net[0][0].training


def test_a_put_layer_that_the_user_moved_elsewhere_gives_no_mode():
    net = nn.Sequential(nn.Dropout())
    old, new = net[0], nn.GELU()
    restore = Put(net, net._modules, "0", old, new).snapshot()
    net[0] = nn.Tanh()
    new.eval()
    restore()
    assert net[0] is old
    assert old.training


def test_write_without_a_way_to_write_does_nothing():
    step = Write(Reference("held[…]", nn.ReLU(), None, nn.Sequential()), nn.GELU())
    restore = step.snapshot()
    step.apply()
    assert restore() is None


def test_what_was_dropped_comes_back_among_what_the_user_changed_meanwhile():
    mapping = {"a": 1, "b": 2, "c": 3}
    step = Drop(mapping, ("b",))
    restore = step.snapshot()
    step.apply()
    del mapping["a"]
    mapping["d"] = 4
    restore()
    assert list(mapping.items()) == [("b", 2), ("c", 3), ("d", 4)]


def test_cast_follows_its_reference_until_it_is_applied_and_leaves_integers():
    reference, weight, count = torch.ones(1), torch.ones(1), torch.ones(1, dtype=torch.int64)
    steps = [Cast(weight, reference), Cast(count, reference)]
    reference.data = reference.data.bfloat16()
    for step in steps:
        step.apply()
    assert (weight.dtype, count.dtype) == (torch.bfloat16, torch.int64)


def test_a_put_does_not_fit_once_its_owner_has_become_another():
    net = nn.Sequential(nn.ReLU())
    step = Put(net, net._modules, "0", net[0], nn.GELU())
    Become(net, nn.Sequential(net[0]), shell(net)).apply()
    assert not step.fits()


def test_computed_anew_also_where_a_write_leaves_no_trace():
    source, tensor = torch.ones(2), torch.tensor([2.0, 2.0])
    doubled = Computed(("weight",), lambda weight: 2 * weight, "doubled")
    step = Refresh(tensor, doubled, {"weight": source})
    source.data.mul_(5)
    step.apply()
    assert tensor.tolist() == [10.0, 10.0]


def test_computed_anew_in_the_memory_format_that_it_had():
    source = torch.randn(2, 3, 4, 4)
    tensor = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    Refresh(tensor, Computed(("weight",), torch.clone, "copied"), {"weight": source}).apply()
    assert torch.equal(tensor, source)
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_a_change_is_called_by_its_first_name():
    layer = nn.ReLU()
    assert Change("replace", ("a.act", "b.act"), layer, layer, layer, (), "").name == "a.act"
