"""What comes along besides tensors: hooks and handles, custom attributes, mode, dtype, device."""

import copy

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.planning.carrying import custom_attributes, settle


class Noted(nn.ReLU):
    """Brings a hook of its own."""

    def __init__(self):
        super().__init__()
        self.register_forward_hook(lambda module, args, output: output + 100)


X = torch.tensor([[-1.0, 2.0]])

# How a ReLU gives way: the object becomes the new layer, or another one is put.
WAYS = {
    "class": lambda net: ts.replace(net, nn.ReLU, nn.ReLU6),
    "factory": lambda net: ts.replace(net, nn.ReLU, lambda old: nn.ReLU6()),
    "instance": lambda net: ts.replace(net, nn.ReLU, nn.ReLU6()),
}
ways = pytest.mark.parametrize("replace", WAYS.values(), ids=WAYS)


@pytest.fixture
def net():
    return nn.Sequential(nn.ReLU())


@ways
def test_forward_hooks_and_their_handles_stay(net, replace):
    handle = net[0].register_forward_hook(lambda module, args, output: output + 10)
    replace(net)
    assert net(X).tolist() == [[10.0, 12.0]]
    handle.remove()
    assert net(X).tolist() == [[0.0, 2.0]]


@ways
def test_pre_hooks_with_keywords_stay(net, replace):
    handle = net[0].register_forward_pre_hook(lambda module, args, kwargs: ((args[0] + 1,), kwargs), with_kwargs=True)
    replace(net)
    assert net(X).tolist() == [[0.0, 3.0]]
    handle.remove()
    assert net(X).tolist() == [[0.0, 2.0]]


@ways
def test_backward_hooks_stay(net, replace):
    seen = []
    net[0].register_full_backward_hook(lambda module, grad_in, grad_out: seen.append(type(module)))
    replace(net)
    net(X.clone().requires_grad_()).sum().backward()
    assert seen == [nn.ReLU6]


@ways
def test_hooks_registered_between_plan_and_apply_stay(replace):
    net = nn.Sequential(nn.ReLU())
    new = {"class": nn.ReLU6, "factory": lambda old: nn.ReLU6(), "instance": nn.ReLU6()}
    for kind in new.values():
        plan = ts.plan(net).replace(nn.ReLU, kind)
        handle = net[0].register_forward_hook(lambda module, args, output: output + 10)
        done = plan.apply()
        assert net(X).tolist() == [[10.0, 12.0]]
        handle.remove()
        assert net(X).tolist() == [[0.0, 2.0]]
        done.undo()


@ways
def test_hooks_registered_on_the_new_layer_stay_after_undo(net, replace):
    done = replace(net)
    handle = net[0].register_forward_hook(lambda module, args, output: output + 10)
    done.undo()
    assert type(net[0]) is nn.ReLU
    assert net(X).tolist() == [[10.0, 12.0]]
    handle.remove()
    assert net(X).tolist() == [[0.0, 2.0]]


def test_hooks_of_both_layers_are_called_the_old_ones_first(net):
    net[0].register_forward_hook(lambda module, args, output: 10 * output)
    done = ts.replace(net, nn.ReLU, Noted())
    assert net(X).tolist() == [[100.0, 120.0]]
    done.undo()
    assert net(X).tolist() == [[0.0, 20.0]]


def test_hooks_stay_outside_of_a_wrapper():
    net = nn.Sequential(nn.Linear(2, 2))
    seen = []
    net[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    ts.wrap(net, nn.Linear, nn.Sequential)
    net(X)
    assert seen == [nn.Linear]


def test_custom_attributes_come_along(net):
    net[0].note, net[0].inplace = "mine", False
    ts.replace(net, nn.ReLU, nn.GELU)
    assert net[0].note == "mine"
    assert not hasattr(net[0], "inplace")


def test_custom_attributes_are_those_that_the_class_does_not_set():
    old, plain = nn.Linear(2, 2), nn.Linear(2, 2)
    old.note = "mine"
    assert custom_attributes(old, nn.ReLU(), vars(old)) == {"note": "mine"}
    assert custom_attributes(plain, nn.ReLU(), vars(plain)) == {}


def test_an_attribute_that_the_new_layer_has_is_its_own():
    old, new = nn.ReLU(), nn.ReLU()
    old.note, new.note = "old", "new"
    assert custom_attributes(old, new, vars(old)) == {}


def test_no_attributes_of_a_class_that_cannot_be_built():
    class Needs(nn.Module):
        def __init__(self, secret):
            super().__init__()
            self.derived = secret * 2

    old = Needs(3)
    old.note = "mine"
    assert custom_attributes(old, nn.ReLU(), vars(old)) == {}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "new", [nn.Dropout, nn.Dropout(0.5), lambda old: nn.Dropout(0.5)], ids=["class", "instance", "factory"]
)
def test_mode(net, new, training):
    net.train(training)
    ts.replace(net, nn.ReLU, new)
    assert net[0].training is training


def test_mode_at_the_time_of_applying_counts(net):
    plan = ts.plan(net.train()).replace(nn.ReLU, nn.Dropout).insert(nn.Dropout(0.1), after=nn.Dropout)
    net.eval()
    plan.apply()
    assert not net[0].training
    assert not net[0].after.training


def test_an_inserted_dropout_sleeps_in_an_eval_model(net):
    net.eval()
    ts.insert(net, nn.Dropout(0.9), after=nn.ReLU)
    assert net(X).tolist() == [[0.0, 2.0]]


def test_dtype_and_freezing_of_what_is_configured():
    net = nn.Sequential(nn.BatchNorm2d(4)).to(torch.bfloat16)
    net[0].weight.requires_grad_(False)
    ts.replace(net, nn.BatchNorm2d, nn.GroupNorm, num_groups=2)
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert [p.requires_grad for p in net.parameters()] == [False, True]


def test_what_is_given_gets_the_dtype_of_the_place_and_gets_its_own_back():
    net = nn.Sequential(nn.Linear(2, 2).double(), nn.ReLU())
    given = nn.PReLU()
    weight = given.weight
    done = ts.replace(net, nn.ReLU, given)
    assert given.weight is weight
    assert weight.dtype is torch.float64
    done.undo()
    assert weight.dtype is torch.float32


def test_integers_keep_their_dtype():
    net = nn.Sequential(nn.Linear(2, 2).double(), nn.ReLU())
    ts.replace(net, nn.ReLU, nn.BatchNorm1d(2))
    assert net[1].running_mean.dtype is torch.float64
    assert net[1].num_batches_tracked.dtype is torch.int64


def test_what_is_given_comes_to_the_meta_device():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    given = nn.PReLU()
    done = ts.replace(net, nn.ReLU, given)
    assert given.weight.is_meta
    assert isinstance(given.weight, nn.Parameter)
    done.undo()
    assert not given.weight.is_meta


def test_modules_that_the_model_has_already_are_not_settled(net):
    inner = net[0]
    around = nn.Sequential(inner, nn.PReLU())
    (follow,) = settle(around, inner, None, frozenset({inner}), frozenset())
    assert follow.modules == (around, around[1])


def test_hooks_are_not_shared_with_copies_of_an_instance():
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, output: output + 10)
    ts.replace(net, nn.ReLU, nn.ReLU6())
    assert net(X).tolist() == [[6.0, 6.0]]  # min(relu(-1) + 10, 6), min(2 + 10, 6)
    assert copy.deepcopy(net)(X).tolist() == [[6.0, 6.0]]


def test_one_instance_cannot_keep_the_hooks_of_two():
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    handles = [layer.register_forward_hook(lambda module, args, output: output + 10) for layer in net]
    with pytest.raises(ts.PlanError, match="0 and 1 have hooks each") as caught:
        ts.replace(net, nn.ReLU, nn.ReLU6(), share=True)
    assert caught.value.name == "0"
    handles[0].remove()
    ts.replace(net, nn.ReLU, nn.ReLU6(), share=True)
    assert net[0] is net[1]
