"""What can't be done to a layer where it stands. Nothing has changed then."""

import pytest
import torch
from torch import fx, nn
from torch.nn.utils import parametrize

import torchsurgery as ts
from sameness import portrait


class Activated(nn.BatchNorm1d):
    """A norm that does more than its base."""

    def forward(self, x):
        return super().forward(x).relu()


class Tagged(nn.BatchNorm1d):
    """A norm that does what its base does."""


def with_subclass():
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(Activated(2)))


def with_list():
    return nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))


def with_own_forward():
    net = nn.Sequential(nn.ReLU())
    net[0].forward = lambda x: -x
    return net


def with_accelerate_hook():
    from accelerate.hooks import ModelHook, add_hook_to_module

    net = nn.Sequential(nn.ReLU())
    add_hook_to_module(net[0], ModelHook())
    return net


def with_script():
    return nn.Sequential(torch.jit.script(nn.Sequential(nn.ReLU())))


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.act, self.fc = nn.ReLU(), nn.Linear(2, 2)

    def forward(self, x):
        return self.act(x) @ self.fc.weight


def with_graph():
    return nn.Sequential(fx.symbolic_trace(Reads()))


# model, edit, the layer's name, words of the first line, words of the way out
REFUSED = {
    "a subclass with a forward of its own": (
        with_subclass,
        lambda plan: plan.replace(nn.BatchNorm1d, nn.GroupNorm, num_groups=1),
        "1.0",
        "1.0 (Activated) is a BatchNorm1d with a forward of its own",
        "ts.select(model, BatchNorm1d, exact=True)",
    ),
    "such a subclass, to be removed": (
        with_subclass,
        lambda plan: plan.remove(nn.BatchNorm1d),
        "1.0",
        "1.0 (Activated) is a BatchNorm1d with a forward of its own",
        "ts.select(model, BatchNorm1d, exact=True)",
    ),
    "insert after a list": (
        with_list,
        lambda plan: plan.insert(nn.Dropout(), after="0"),
        "0",
        "cannot insert a layer after 0 (ModuleList): it has no forward",
        "ts.select(model, '0.*')",
    ),
    "insert before a list": (
        with_list,
        lambda plan: plan.insert(nn.Dropout(), before="0"),
        "0",
        "cannot insert a layer before 0 (ModuleList): it has no forward",
        "ts.select(model, '0.*')",
    ),
    "wrap a list": (
        with_list,
        lambda plan: plan.wrap("0", nn.Sequential),
        "0",
        "cannot wrap 0 (ModuleList): it has no forward",
        "ts.select(model, '0.*')",
    ),
    "a forward on the instance": (
        with_own_forward,
        lambda plan: plan.replace(nn.ReLU, nn.GELU),
        "0",
        "cannot replace 0 (ReLU): a forward was set on this very instance",
        "del layer.forward",
    ),
    "accelerate's hooks": (
        with_accelerate_hook,
        lambda plan: plan.replace(nn.ReLU, nn.GELU),
        "0",
        "a forward was set on this very instance by accelerate's hooks",
        "accelerate.hooks.remove_hook_from_module(layer)",
    ),
    "inside of a script": (
        with_script,
        lambda plan: plan.replace("0.0", nn.GELU()),
        "0.0",
        "0.0 (RecursiveScriptModule) is TorchScript",
        "change the model before it is scripted",
    ),
    "a script": (
        with_script,
        lambda plan: plan.insert(nn.Dropout(), after="0"),
        "0",
        "0 (RecursiveScriptModule) is TorchScript",
        "change the model before it is scripted",
    ),
    "a layer that its graph doesn't call": (
        with_graph,
        lambda plan: plan.replace("0.fc", nn.Identity()),
        "0.fc",
        "0.fc (Module) is never called",
        "before it is traced",
    ),
}


@pytest.mark.parametrize(("make", "edit", "name", "first", "way_out"), REFUSED.values(), ids=REFUSED)
def test_refused(make, edit, name, first, way_out):
    net = make()
    before = portrait(net)
    with pytest.raises(ts.PlanError) as caught:
        edit(ts.plan(net))
    assert first in str(caught.value).splitlines()[0]
    assert way_out in caught.value.way_out
    assert caught.value.name == name
    assert portrait(net) == before


def test_a_subclass_asked_for_by_its_own_class():
    net = with_subclass()
    ts.replace(net, Activated, nn.BatchNorm1d)
    assert type(net[1][0]) is nn.BatchNorm1d


def test_a_subclass_named_or_given_by_reference():
    net = with_subclass()
    ts.replace(net, net[1][0], lambda old: nn.Identity())
    assert isinstance(net[1][0], nn.Identity)


def test_a_subclass_that_does_what_its_base_does():
    net = nn.Sequential(Tagged(2))
    ts.replace(net, nn.BatchNorm1d, nn.GroupNorm, num_groups=1)
    assert isinstance(net[0], nn.GroupNorm)


def test_a_subclass_of_the_subclass_keeps_what_it_does():
    class More(Activated):
        pass

    net = with_subclass()
    ts.replace(net, nn.BatchNorm1d, More)
    assert type(net[1][0]) is More


def test_a_parametrized_layer_is_matched_as_its_own_class():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.ReLU())
    assert parametrize.is_parametrized(net[0])
    ts.wrap(net, nn.Linear, nn.Sequential)
    assert net(torch.ones(1, 2)).shape == (1, 2)


def test_a_layer_that_its_graph_calls():
    net = with_graph()
    ts.replace(net, nn.ReLU, nn.Sigmoid)
    weight = net[0].fc.weight
    assert torch.equal(net(torch.zeros(1, 2)), torch.full((1, 2), 0.5) @ weight)


def test_a_list_is_replaced_as_a_whole():
    net = with_list()
    ts.replace(net, "0", nn.Sequential(nn.Linear(2, 2)))
    assert isinstance(net[0], nn.Sequential)


class Dropping(nn.Module):
    """Calls layers for what they do to what they are given."""

    def __init__(self):
        super().__init__()
        self.linear, self.act, self.acts = nn.Linear(4, 4), nn.ReLU(inplace=True), nn.ModuleList([nn.ReLU(True)])

    def forward(self, x):
        x = self.linear(x)
        self.act(x)
        y = x + 1
        self.acts[0](y)
        return y


@pytest.mark.parametrize(
    "edit",
    [
        lambda net: ts.replace(net, "act", nn.GELU),
        lambda net: ts.replace(net, "acts.*", lambda old: nn.PReLU()),
        lambda net: ts.insert(net, nn.Dropout(0.1), after="act"),
        lambda net: ts.insert(net, nn.Tanh(), before="act"),
        lambda net: ts.wrap(net, "act", lambda old: nn.Sequential(old, nn.Tanh())),
        lambda net: ts.replace(nn.Sequential(net), "0.act", nn.GELU),
    ],
)
def test_what_would_be_lost_where_a_layer_is_called_for_what_it_does_in_place(edit):
    net = Dropping()
    before = portrait(net)
    with pytest.raises(ts.PlanError, match=r"act.* works in place, and Dropping.forward drops what it answers"):
        edit(net)
    assert portrait(net) == before


def test_what_works_in_place_too_is_taken():
    net, x = Dropping().eval(), torch.randn(2, 4)
    ts.replace(net, nn.ReLU, nn.SiLU)
    ts.insert(net, nn.Dropout(0.1, inplace=True), after="act")
    expected = nn.functional.silu(nn.functional.silu(net.linear(x)) + 1)
    assert torch.allclose(net(x), expected)
    ts.remove(net, "act")
    assert torch.allclose(net(x), nn.functional.silu(net.linear(x) + 1))


@pytest.mark.parametrize("target", ["**", nn.Module, (nn.Linear, nn.Sequential, nn.ReLU)])
def test_a_target_that_is_everything_is_not_meant(target):
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    with pytest.raises(ts.PlanError, match="selects the model itself, with all 4 modules in it"):
        ts.replace(net, target, nn.Identity)
    assert type(net[0]) is nn.Linear
