"""Insert and Wrap."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.origins import Initialised, Same


class Scaled(nn.Module):
    def __init__(self, inner, factor=2.0):
        super().__init__()
        self.inner, self.factor = inner, nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * self.inner(x)


class Forgetful(nn.Module):
    """Keeps the old layer where `nn.Module` doesn't see it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = [inner]


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU())


X = torch.tensor([[1.0, -2.0]])


# --- insert


def test_after_works_on_the_answer(net):
    before = net(X)
    ts.insert(net, Double(), after="3")
    assert torch.equal(net(X), 2 * before)


def test_before_works_on_the_argument(net):
    expected = net(2 * X)
    ts.insert(net, Double(), before="0")
    assert torch.equal(net(X), expected)


def test_no_other_layer_changes_its_name(net):
    keys = list(net.state_dict())
    ts.insert(net, nn.Dropout(0.1), after=nn.ReLU)
    assert list(net.state_dict()) == keys


def test_an_instance_is_copied_for_further_places_or_shared(net):
    given = nn.Dropout(0.1)
    done = ts.insert(net, given, after=nn.ReLU)
    assert net[1].after is given
    assert net[3].after is not given
    done.undo()
    ts.insert(net, given, after=nn.ReLU, share=True)
    assert net[1].after is net[3].after is given


def test_a_class_gets_the_width_of_the_stream(net):
    done = ts.insert(net, nn.LayerNorm, after=nn.Linear)
    assert net[0].after.normalized_shape == (3,)
    assert net[2].after.normalized_shape == (2,)
    done.undo()
    ts.insert(net, nn.BatchNorm1d, before="0")
    assert net[0].before.num_features == 2


def test_a_class_with_its_arguments(net):
    ts.insert(net, nn.Dropout, after=nn.ReLU, p=0.25)
    assert net[1].after.p == 0.25


def test_a_factory_of_the_layer_there(net):
    ts.insert(net, lambda old, name: nn.LayerNorm(old.out_features if name == "0" else 2), after=nn.Linear)
    assert [net[0].after.normalized_shape, net[2].after.normalized_shape] == [(3,), (2,)]


def test_a_shared_layer_gets_one_insertion_in_all_its_places():
    act = nn.ReLU()
    net = nn.Sequential(act, nn.Linear(2, 2), act)
    ts.insert(net, nn.Dropout(0.1), after=nn.ReLU)
    assert net[0] is net[2]
    assert net[0].layer is act


def test_inserted_twice_nests(net):
    ts.plan(net).insert(Double(), after="3").insert(nn.Identity(), after="3").apply()
    assert repr(net[3]).count("Inserted") == 2


def test_account_of_an_insertion(net):
    (change,) = ts.plan(net).insert(nn.Linear(3, 3), after="0").changes
    assert change.kind == "insert"
    assert change.origins == {
        "layer.weight": Same("weight"),
        "layer.bias": Same("bias"),
        "after.weight": Initialised("as given"),
        "after.bias": Initialised("as given"),
    }
    assert change.renamed == {"0.weight": "0.layer.weight", "0.bias": "0.layer.bias"}


def test_at_the_model_itself():
    net = nn.Linear(2, 2)
    expected = 2 * net(X)
    done = ts.insert(net, Double(), after="")
    assert torch.equal(net(X), expected)
    assert list(net.state_dict()) == ["layer.weight", "layer.bias"]
    done.undo()
    assert type(net) is nn.Linear


def test_a_layer_that_answers_several():
    net = nn.Sequential(nn.LSTM(2, 3, batch_first=True))
    x = torch.randn(1, 4, 2)
    output, (hidden, _) = net(x)
    ts.insert(net, Double(), after=nn.LSTM)
    doubled, (same, _) = net(x)
    assert torch.equal(doubled, 2 * output)
    assert torch.equal(same, hidden)


def test_after_every_relu_of_resnet18(resnet18, images):
    before = resnet18(images)
    done = ts.insert(resnet18, nn.Dropout(0.1), after=nn.ReLU)
    assert torch.equal(resnet18(images), before)
    dropouts = ts.select(resnet18, nn.Dropout).expect(9).modules
    for dropout in dropouts:
        dropout.train()
    assert not torch.equal(resnet18(images), before)
    done.undo()
    assert torch.equal(resnet18(images), before)


# --- wrap


def test_wrap(net):
    expected = 2 * net(X)
    old = net[3]
    ts.wrap(net, "3", Scaled)
    assert net[3].inner is old
    assert torch.equal(net(X), expected)


def test_wrap_with_arguments_and_names(net):
    ts.wrap(net, nn.ReLU, Scaled, factor=3.0)
    assert [net[1].factor.item(), net[3].factor.item()] == [3, 3]
    seen = []
    ts.wrap(net, nn.Linear, lambda old, name: seen.append(name) or nn.Sequential(old))
    assert seen == ["0", "2"]


def test_nested_matches_are_each_wrapped():
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    ts.wrap(net, ("0", "0.0"), Scaled)
    assert type(net[0]) is type(net[0].inner[0]) is Scaled
    assert net(torch.ones(1)).item() == 4


def test_a_wrapper_with_the_same_type_inside_is_not_entered(net):
    class Beside(nn.Module):
        def __init__(self, old):
            super().__init__()
            self.old, self.new = old, nn.Linear(old.in_features, old.out_features)

    ts.wrap(net, nn.Linear, Beside)
    assert [type(layer) for layer in net] == [Beside, nn.ReLU, Beside, nn.ReLU]
    assert type(net[0].new) is nn.Linear


def test_a_wrapper_keeps_the_dtype_of_the_layer():
    net = nn.Sequential(nn.Linear(2, 2).double())
    ts.wrap(net, nn.Linear, Scaled)
    assert net[0].factor.dtype is torch.float64


def test_the_model_itself_is_wrapped():
    net = nn.Linear(2, 2)
    expected = 2 * net(X)
    done = ts.wrap(net, "", Scaled)
    assert torch.equal(net(X), expected)
    done.undo()
    assert type(net) is nn.Linear


# --- refused

REFUSED = {
    "an instance for a wrapper": (
        lambda plan: plan.wrap("0", nn.Sequential()),
        "a wrapper takes the old layer and answers the new one, got Sequential",
    ),
    "no wrapper": (lambda plan: plan.wrap("0", 3), "a wrapper takes the old layer and answers the new one, got int"),
    "a wrapper that drops the layer": (
        lambda plan: plan.wrap("0", lambda old: nn.Identity()),
        "the wrapper for 0 (Linear), Identity, doesn't hold the old layer as a submodule",
    ),
    "a wrapper that hides the layer": (
        lambda plan: plan.wrap("0", Forgetful),
        "the wrapper for 0 (Linear), Forgetful, doesn't hold the old layer as a submodule",
    ),
    "a wrapper that answers the layer itself": (
        lambda plan: plan.wrap("0", lambda old: old),
        "the wrapper for 0 (Linear) is in the model already, as 0",
    ),
    "a wrapper of None": (
        lambda plan: plan.wrap("0", lambda old: None),
        "the wrapper for 0 (Linear) must give an nn.Module, got NoneType",
    ),
    "neither before nor after": (lambda plan: plan.insert(nn.Dropout()), "insert needs one of after= and before="),
    "before and after": (
        lambda plan: plan.insert(nn.Dropout(), after="0", before="1"),
        "insert needs one of after= and before=",
    ),
    "a factory of None": (
        lambda plan: plan.insert(lambda old: None, after="0"),
        "the factory for 0 (Linear) must give an nn.Module, got NoneType",
    ),
    "what is no layer": (
        lambda plan: plan.insert(3, after="0"),
        "what is given for 0 (Linear) must be a class, an instance or a factory, got int",
    ),
    "a layer of the model": (
        lambda plan: plan.insert(plan.model[3], after="0"),
        "the given instance for 0 (Linear) is in the model already, as 3",
    ),
    "a class whose arguments nobody gives": (lambda plan: plan.insert(nn.Linear, after="1"), "1 (ReLU)"),
}


@pytest.mark.parametrize(("edit", "first"), REFUSED.values(), ids=REFUSED)
def test_refused_and_nothing_has_changed(net, edit, first):
    before = portrait(net)
    with pytest.raises(ts.PlanError) as caught:
        edit(ts.plan(net))
    assert first in str(caught.value).splitlines()[0]
    assert caught.value.way_out
    assert portrait(net) == before


def test_a_model_whose_object_cannot_take_another_class():
    class Slotted(nn.Linear):
        __slots__ = ("extra",)

    with pytest.raises(ts.PlanError, match=r"cannot put anything around the model \(Slotted\)"):
        ts.wrap(Slotted(2, 2), "", Scaled)


def test_a_layer_of_torch_that_holds_no_other_is_no_wrapper():
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ts.PlanError, match=r"cannot wrap 0 \(Linear\): a Linear is not made around a layer"):
        ts.wrap(net, "0", nn.Linear)
    ts.wrap(net, "0", nn.Sequential)
    assert type(net[0]) is nn.Sequential
