"""Names and slots of every module, and a draft that leaves the model alone."""

import gc
import weakref

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.tree import Draft, Slot, uncompiled, unwrapped


class Shared(nn.Module):
    """One activation in three places, one block in two, and a place that is None."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.block = nn.Sequential(nn.Linear(2, 2), self.act)
        self.again = self.block
        self.nothing = None
        self.register_module("none", None)


@pytest.fixture
def net():
    return Shared()


def test_order_is_that_of_named_modules(net, resnet18):
    for model in (net, resnet18):
        assert list(Draft(model).spots()) == list(model.modules())


def test_a_module_has_all_its_names(net):
    spots = Draft(net).spots()
    assert spots[net.act].names == ("act", "block.1", "again.1")
    assert spots[net.block].names == ("block", "again")
    assert spots[net].names == ("",)


def test_names_are_those_of_named_modules_with_duplicates(net):
    names = [name for spots in Draft(net).spots().values() for name in spots.names]
    assert sorted(names) == sorted(name for name, _ in net.named_modules(remove_duplicate=False))


def test_a_module_has_each_of_its_slots_once(net):
    draft = Draft(net)
    spots = draft.spots()
    assert draft.slots(spots[net.act]) == [Slot(net, "act"), Slot(net.block, "1")]
    assert draft.slots(spots[net.block]) == [Slot(net, "block"), Slot(net, "again")]
    assert draft.slots(spots[net]) == []


def test_a_module_inside_itself_does_not_go_round():
    net = nn.Sequential(nn.ReLU())
    net.add_module("self", net)
    assert Draft(net).spots()[net].names == ("", "self")


def test_a_put_is_in_the_draft_only(net):
    draft, new, old = Draft(net), nn.GELU(), net.act
    draft.put([(draft.spots()[old], new)])
    assert draft.spots()[new].names == ("act", "block.1", "again.1")
    assert old not in draft.spots()
    assert [net.act, net.block[1]] == [old, old]


def test_a_copy_goes_its_own_way(net):
    first = Draft(net)
    second = first.copy()
    second.put([(second.spots()[net.act], nn.GELU())])
    assert net.act in first.spots()
    assert net.act not in second.spots()


def test_a_later_put_goes_into_what_an_earlier_one_brought(net):
    draft, block, tanh = Draft(net), nn.Sequential(nn.SiLU()), nn.Tanh()
    draft.put([(draft.spots()[net.block], block)])
    draft.put([(draft.spots()[block[0]], tanh)])
    assert draft.spots()[tanh].names == ("block.0", "again.0")
    assert isinstance(block[0], nn.SiLU)


def test_the_root_can_be_put_over(net):
    draft, new = Draft(net), nn.Identity()
    draft.put([(draft.spots()[net], new)])
    assert draft.root is new
    assert list(draft.spots()) == [new]


def test_who_stands_where_an_object_becomes_another(net):
    draft, first, second = Draft(net), nn.GELU(), nn.SiLU()
    assert draft.standing(net.act) is net.act
    draft.become(net.act, first)
    draft.become(first, second)
    assert draft.standing(second) is net.act


def test_edits_below_a_layer_survive_when_it_takes_another_class(net):
    draft, tanh = Draft(net), nn.Tanh()
    draft.put([(draft.spots()[net.act], tanh)])
    twin = object.__new__(nn.Sequential)
    object.__setattr__(twin, "__dict__", net.block.__dict__)
    draft.become(net.block, twin)
    draft.put([(draft.spots()[net.block], twin)])
    assert draft.children(twin)["1"] is tanh


def test_ancestors_come_nearest_first_with_the_name_below_them(net):
    assert list(Draft(net).ancestors("block.1")) == [(net.block, "1"), (net, "block.1")]
    assert list(Draft(net).ancestors("act")) == [(net, "act")]
    assert list(Draft(net).ancestors("")) == []


def test_a_name_that_leads_nowhere_has_no_ancestors(net):
    assert list(Draft(net).ancestors("none.1.2")) == []


def test_tied_parameters_are_one():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert list(Draft(net).parameters()) == ["0.weight", "0.bias", "1.bias"]


def test_tensors_are_parameters_and_buffers_by_their_first_names(net, resnet18):
    net.again = net.block
    for model in (net, resnet18):
        wanted = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        found = Draft(model).tensors()
        assert list(found) == list(wanted)
        assert all(found[name] is wanted[name] for name in wanted)


def test_keys_are_those_of_the_state_dict(net, resnet18):
    net.block.register_buffer("mask", torch.ones(1), persistent=False)
    net.block.register_parameter("no_bias", None)
    for model in (net, resnet18):
        state = model.state_dict(keep_vars=True)
        keys = Draft(model).keys()
        assert sorted(keys) == sorted(state)
        assert all(keys[key] is state[key] for key in state)


def test_a_model_in_a_compiled_wrapper():
    net = nn.Sequential(nn.ReLU())
    assert uncompiled(torch.compile(net)) is net
    assert uncompiled(net) is net


def test_the_model_in_its_wrappers():
    inner = nn.Sequential(nn.Linear(2, 2))
    assert unwrapped(inner) is inner
    assert unwrapped(nn.DataParallel(inner)) is inner
    assert unwrapped(torch.compile(nn.DataParallel(inner))) is inner


def test_what_a_plan_has_made_goes_with_it_at_once():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    gc.collect()
    gc.disable()
    try:
        plan = ts.plan(net, torch.ones(1, 4)).prune("0", 0.5)
        done = ts.prune(net, "0", 0.5, example_inputs=torch.ones(1, 4))
        made = [weakref.ref(plan.draft.parameters()["0.weight"]), weakref.ref(net[0].weight)]
        done.undo()
        del plan, done
        assert [tensor() for tensor in made] == [None, None]
    finally:
        gc.enable()
