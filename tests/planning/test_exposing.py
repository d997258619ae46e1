"""Function calls become layers, and what can't is refused."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from sameness import portrait


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.p = nn.Linear(4, 4), 0.25

    def forward(self, x):
        return F.dropout(F.relu(self.fc(x)), self.p, self.training)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = Block(), Block()
        self.twice = self.two

    def forward(self, x):
        return F.relu(self.twice(self.two(self.one(x))), inplace=True)


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def x():
    return torch.randn(3, 4)


def output(model, x):
    """In train, with the same random numbers for each call."""
    torch.manual_seed(5)
    return model.train()(x)


# --- what it comes to


def test_the_same_is_computed(net, x):
    before, keys = output(net, x), list(net.state_dict())
    done = ts.calls_to_layers(net, (F.relu, F.dropout))
    assert torch.equal(output(net, x), before)
    assert list(net.state_dict()) == keys
    assert [*dict(net.named_children())] == ["one", "two", "relu"]
    assert repr(done).startswith("Surgery on Net: 5 layers made of a call, 3 layers adjusted · params 40 → 40")


def test_one_class_for_all_modules_with_the_same_calls(net):
    ts.calls_to_layers(net, F.relu)
    assert type(net.one) is type(net.two) is not Block
    assert isinstance(net.one, Block)


def test_undo_is_bit_exact(net):
    before = portrait(net)
    done = ts.replace(net, F.relu, nn.GELU)
    done.undo()
    assert portrait(net) == before


def test_the_layers_take_the_mode_of_their_module(net):
    plan = ts.plan(net).calls_to_layers((F.relu, F.dropout))
    net.train()
    net.one.eval()
    plan.apply()
    assert net.relu.training and net.two.dropout.training
    assert not net.one.dropout.training


def test_a_shared_module_has_one_layer(net):
    ts.calls_to_layers(net, F.relu)
    assert net.two.relu is net.twice.relu


def test_calls_are_made_layers_one_after_the_other(net, x):
    before = output(net, x)
    first = ts.calls_to_layers(net, F.relu)
    second = ts.calls_to_layers(net, F.dropout)
    assert torch.equal(output(net, x), before)
    assert (net.one.relu, net.one.dropout) == (first.changes[0].new, second.changes[0].new)
    second.undo()
    assert not hasattr(net.one, "dropout")
    assert torch.equal(output(net, x), before)
    first.undo()
    assert type(net.one) is Block


def test_the_plan(net):
    plan = ts.plan(net).calls_to_layers(F.dropout)
    assert [(change.kind, change.name) for change in plan.changes] == [
        ("call", "one.dropout"),
        ("call", "two.dropout"),
        ("follow", "one"),
        ("follow", "two"),
    ]
    assert plan.changes[0].remarks == ("p is 0.25 from now on, whatever becomes of it",)
    assert plan.changes[2].remarks == ("its forward calls self.dropout",)


# --- the verbs


def test_replace_by_a_class(net, x):
    done = ts.replace(net, F.relu, nn.Tanh)
    assert [type(module) for module in (net.relu, net.one.relu, net.two.relu)] == [nn.Tanh] * 3
    assert torch.equal(net.eval()(x), net.two(net.two(net.one(x))).tanh())
    assert [change.kind for change in done.changes] == ["call"] * 3 + ["follow"] * 3 + ["replace"] * 3


def test_replace_by_an_instance_and_by_a_factory(net):
    new = nn.Tanh()
    ts.replace(net, ts.select(net, F.relu, "relu"), new)
    assert net.relu is new
    ts.replace(net, F.dropout, lambda old, name: nn.Dropout(2 * old.p))
    assert net.one.dropout.p == 0.5


def test_insert_remove_and_wrap(net, x):
    ts.insert(net, nn.Tanh(), after=ts.select(net, F.relu, "one.relu"))
    ts.remove(net, F.dropout)
    ts.wrap(net, ts.select(net, F.relu, "two.relu"), nn.Sequential)
    assert torch.equal(net.one.train()(x), net.one.fc(x).relu().tanh())
    assert isinstance(net.one.dropout, nn.Identity)
    assert isinstance(net.two.relu[0], nn.ReLU)


def test_together_with_layers(net):
    net.three = nn.ReLU()
    ts.replace(net, (nn.ReLU, F.relu), nn.GELU)
    assert {type(module) for name, module in net.named_modules() if name in ("relu", "three", "one.relu")} == {nn.GELU}


def test_the_model_is_checked(net, x):
    ts.plan(net).replace(F.relu, nn.GELU).apply(check=x)
    assert ts.check(net, x)


def test_an_average_is_changed_alike(net, x):
    ema = torch.optim.swa_utils.AveragedModel(net)
    ts.plan(net).replace(F.relu, nn.Tanh).apply(ema=ema)
    assert torch.equal(ema.module.eval()(x), net.eval()(x))
    assert isinstance(ema.module.one.relu, nn.Tanh)


def test_the_module_itself_may_be_replaced_afterwards(net):
    ts.calls_to_layers(net, F.relu)
    assert ts.select(net, Block, exact=True).names == ("one", "two", "twice")
    ts.replace(net, Block, lambda old: nn.Linear(4, 4))
    assert isinstance(net.one, nn.Linear)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_copies(net, x, again):
    ts.replace(net, F.relu, nn.Tanh)
    twin = again(net)
    assert torch.equal(twin(x), net(x))
    assert ts.select(twin, nn.Tanh).names == ts.select(net, nn.Tanh).names
    ts.replace(twin, nn.Tanh, nn.ReLU)
    ts.calls_to_layers(twin, F.dropout)
    assert torch.equal(twin.eval()(x), Net.forward(loaded(Net(), twin).eval(), x))


def loaded(net, other):
    net.load_state_dict(other.state_dict())
    return net


# --- what is refused


class InSequential(nn.Sequential):
    def forward(self, x):
        return F.relu(super().forward(x))


class Pickled(nn.Module):
    def forward(self, x):
        return F.relu(x)

    def __reduce__(self):
        return type(self), ()


class Live(nn.Module):
    def forward(self, x):
        return F.relu(F.dropout(x))


def with_own_forward():
    block = Block()
    block.forward = block.forward
    return block


def parametrized():
    block = Block()
    block.weight = nn.Parameter(torch.ones(2))
    nn.utils.parametrize.register_parametrization(block, "weight", nn.Identity())
    return block


@pytest.mark.parametrize(
    ("module", "function", "why"),
    [
        (InSequential(nn.ReLU()), F.relu, "the forward of InSequential goes through its own children"),
        (Pickled(), F.relu, "Pickled says itself how it is pickled"),
        (Live(), F.dropout, r"its training=True by default, where nn.Dropout has self.training"),
        (with_own_forward(), F.relu, "a forward was set on this very instance"),
        (parametrized(), F.relu, "its class was generated for this very object"),
        (torch.fx.symbolic_trace(Live()), F.relu, "its class was generated for this very object"),
    ],
    ids=["container", "reduce", "live dropout", "instance", "parametrized", "graph"],
)
def test_refused(module, function, why):
    net = nn.Sequential(module)
    before = portrait(net)
    with pytest.raises(ts.PlanError, match=rf"cannot make 0\.\w+ a layer of .*: {why}") as caught:
        ts.replace(net, function, nn.Identity())
    assert caught.value.name.startswith("0.")
    assert portrait(net) == before


def test_the_way_out_leaves_out_what_can_not_be_one():
    net = nn.Sequential(Live(), Block())
    with pytest.raises(ts.PlanError) as caught:
        ts.remove(net, F.dropout)
    offered = caught.value.way_out.partition("  ")[2]
    assert eval(offered, {"ts": ts, "model": net, "F": F, "nn": nn}).names == ("1.dropout",)


def test_what_stays_a_function_is_told():
    class Helped(nn.Module):
        def forward(self, x):
            return F.relu(x) + helper(x)

    plan = ts.plan(Helped()).replace(F.relu, nn.GELU)
    assert plan.changes[0].warnings == ("relu stays a function in helper: it is a function outside of the class",)
    assert "relu stays a function in helper" in repr(plan.apply())


def helper(x):
    return F.relu(x)


def test_a_layer_is_no_call(net):
    with pytest.raises(ts.PlanError, match=r"one.fc \(Linear\) is a layer, and no call of a function"):
        ts.calls_to_layers(net, nn.Linear)


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda net: setattr(net.one, "p", 0.5),
        lambda net: ts.calls_to_layers(net, F.relu),
        lambda net: net.one.add_module("dropout", nn.Dropout()),
    ],
    ids=["argument", "other calls", "name"],
)
def test_a_plan_that_is_stale(net, meanwhile):
    plan = ts.plan(net).calls_to_layers(F.dropout)
    meanwhile(net)
    before = portrait(net)
    with pytest.raises(ts.PlanError, match="is no longer the layer that the plan was made for"):
        plan.apply()
    assert portrait(net) == before
