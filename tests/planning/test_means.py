"""How a layer is put in place: the object takes the class, becomes the layer, or another one is put in every slot."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.planning.means import BECOME, PUT, RETYPE, can_become, is_held, shell
from torchsurgery.planning.scene import Scene
from torchsurgery.selection import Place
from torchsurgery.tree import Draft

EVERYONE = []


class FancyReLU(nn.ReLU):
    def forward(self, x):
        return super().forward(x) + 1


class Slotted(nn.ReLU):
    __slots__ = ("extra",)


class Mourned(nn.ReLU):
    def __del__(self):
        pass


class Registered(nn.ReLU):
    """Is held by a list from its own constructor on."""

    def __init__(self, inplace=False):
        super().__init__(inplace)
        EVERYONE.append(self)


def means(net, target, new, **arguments):
    (change,) = ts.plan(net).replace(target, new, **arguments).changes
    return change.means


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (FancyReLU, RETYPE),
        (nn.GELU, BECOME),
        (lambda old: nn.GELU(), BECOME),
        (nn.GELU(), PUT),
        (lambda old: nn.Sequential(old, nn.Dropout(0.1)), PUT),
        (Slotted, PUT),
        (Mourned, PUT),
        (Registered, PUT),
    ],
    ids=["subclass", "class", "factory", "instance", "holds the old layer", "slots", "__del__", "held elsewhere"],
)
def test_means(new, expected):
    assert means(nn.Sequential(nn.ReLU()), nn.ReLU, new) == expected


def test_a_factory_that_keeps_what_it_made():
    kept = []

    def factory(old):
        kept.append(nn.GELU())
        return kept[-1]

    net = nn.Sequential(nn.ReLU())
    ts.replace(net, nn.ReLU, factory)
    assert net[0] is kept[0]


def test_retyped_keeps_the_object_and_its_state():
    net = nn.Sequential(nn.ReLU())
    layer, state = net[0], vars(net[0])
    done = ts.replace(net, nn.ReLU, FancyReLU)
    assert net[0] is layer
    assert vars(layer) is state
    assert net(torch.tensor([-1.0, 2.0])).tolist() == [1.0, 3.0]
    done.undo()
    assert type(layer) is nn.ReLU


def test_become_keeps_the_object_so_that_every_reference_sees_it():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    layer, elsewhere = net[1], [net[1]]
    ts.replace(net, nn.ReLU, nn.Sigmoid)
    assert net[1] is layer is elsewhere[0]
    assert elsewhere[0](torch.zeros(1)).item() == 0.5


def test_put_is_put_into_every_slot_and_into_lists():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()
            self.block = nn.Sequential(self.act, self.act)
            self.__dict__["acts"] = [self.act]

        def forward(self, x):
            return self.acts[0](x)

    net, new = Net(), nn.Sigmoid()
    old = net.act
    plan = ts.plan(net).replace(nn.ReLU, new)
    assert plan.changes[0].names == ("act", "block.0", "block.1")
    assert plan.changes[0].remarks == ("also put into Net.acts[0]",)
    done = plan.apply()
    assert [net.act, *net.block, *net.acts] == [new] * 4
    done.undo()
    assert [net.act, *net.block, *net.acts] == [old] * 4


def test_a_layer_held_where_nothing_can_be_written():
    net = nn.Sequential(nn.ReLU())
    net.__dict__["acts"] = (net[0],)
    with pytest.raises(ts.PlanError) as caught:
        ts.plan(net).replace(nn.ReLU, nn.Sigmoid())
    error = caught.value
    assert str(error).splitlines()[0] == (
        "0 (ReLU) is also held by Sequential.acts[…], where nothing can be put in its place."
    )
    assert (error.name, error.got) == ("0", "Sequential.acts[…]")
    ts.replace(net, nn.ReLU, nn.Sigmoid)
    assert isinstance(net.acts[0], nn.Sigmoid)


def test_no_instance_in_place_of_the_model():
    with pytest.raises(ts.PlanError, match=r"cannot put an instance in place of the model \(ReLU\)") as caught:
        ts.replace(nn.ReLU(), "", nn.GELU())
    assert caught.value.name == ""
    assert "give a class or a factory" in caught.value.way_out


def test_the_model_itself_becomes_another():
    net = nn.ReLU()
    done = ts.replace(net, nn.ReLU, nn.Sigmoid)
    assert net(torch.zeros(1)).item() == 0.5
    done.undo()
    assert type(net) is nn.ReLU


def test_a_forward_on_the_instance_forbids_to_become():
    net = nn.Sequential(nn.ReLU())
    net[0].forward = abs
    where = Scene(Draft(net), (), False)
    assert not can_become(where, Place(net[0], ("0",)), nn.GELU)
    assert can_become(where, Place(net, ("",)), nn.Identity)


def test_parametrized_layers_are_put():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    assert means(net, "0", lambda old: nn.Linear(2, 2)) == PUT


def test_a_shell_shares_the_state():
    layer = nn.Linear(2, 3)
    twin = shell(layer)
    assert type(twin) is nn.Linear
    assert vars(twin) is vars(layer)
    assert type(shell(layer, nn.Identity)) is nn.Identity


def test_a_weak_reference_holds_too():
    import weakref

    layer = nn.ReLU()
    assert not is_held(layer)
    reference = weakref.ref(layer)
    assert is_held(layer)
    del reference
    assert not is_held(layer)


def test_a_second_reference_holds():
    layer = nn.ReLU()
    assert not is_held(layer)
    holder = [layer]
    assert is_held(layer)
    holder.clear()
    assert not is_held(layer)
