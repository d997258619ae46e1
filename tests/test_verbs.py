"""The verbs in one line, and plans for the time of a `with` block."""

import inspect

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("edit", "layers", "kind"),
    [
        (lambda net: ts.replace(net, nn.ReLU, nn.GELU), "Linear GELU Linear", "replace"),
        (lambda net: ts.insert(net, nn.Dropout(0.1), after=nn.ReLU), "Linear Inserted Linear", "insert"),
        (lambda net: ts.insert(net, nn.Dropout(0.1), before=nn.ReLU), "Linear Inserted Linear", "insert"),
        (lambda net: ts.remove(net, nn.ReLU), "Linear Identity Linear", "remove"),
        (lambda net: ts.wrap(net, nn.ReLU, nn.Sequential), "Linear Sequential Linear", "wrap"),
    ],
    ids=["replace", "insert after", "insert before", "remove", "wrap"],
)
def test_done_at_once_and_undone(net, edit, layers, kind):
    before = portrait(net)
    done = edit(net)
    assert " ".join(type(layer).__name__ for layer in net) == layers
    assert [change.kind for change in done.changes] == [kind]
    done.undo()
    assert portrait(net) == before


LAYERS = ["replace", "insert", "remove", "wrap", "calls_to_layers"]
STRUCTURE = ["fold", "set_inputs", "set_outputs", "prune", "widen"]
APPLYING = ["optimizer", "ema", "check"]


@pytest.mark.parametrize("verb", LAYERS + STRUCTURE)
def test_a_verb_takes_what_its_plan_takes_and_what_apply_takes(verb):
    in_plan = list(inspect.signature(getattr(ts.Plan, verb)).parameters.values())[1:]
    alone = list(inspect.signature(getattr(ts, verb)).parameters.values())[1:]
    applying = list(inspect.signature(ts.Plan.apply).parameters.values())[1:]
    assert [p.name for p in applying] == APPLYING
    own = [p for p in alone if p.name not in APPLYING]
    assert own == in_plan if verb in LAYERS else sorted(map(str, own)) == sorted(map(str, in_plan))
    assert [p for p in alone if p.name in APPLYING] == applying


VERBS = {
    "replace": lambda net, **options: ts.replace(net, "2", nn.Linear, out_features=3, **options),
    "insert": lambda net, **options: ts.insert(net, nn.Linear(4, 4), after="0", **options),
    "wrap": lambda net, **options: ts.wrap(net, "0", lambda old: nn.Sequential(old, nn.Linear(4, 4)), **options),
    "set_inputs": lambda net, **options: ts.set_inputs(net, 5, example_inputs=torch.ones(1, 3), **options),
    "set_outputs": lambda net, **options: ts.set_outputs(net, 5, example_inputs=torch.ones(1, 3), **options),
    "prune": lambda net, **options: ts.prune(net, "0", 1, example_inputs=torch.ones(1, 3), **options),
    "widen": lambda net, **options: ts.widen(net, "0", 6, example_inputs=torch.ones(1, 3), **options),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_hands_the_optimizer_and_the_average_on(verb):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(net.parameters())
    average = torch.optim.swa_utils.AveragedModel(net)
    done = VERBS[verb](net, optimizer=optimizer, ema=average)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in net.parameters()}
    shapes = [p.shape for p in net.parameters()]
    assert [p.shape for p in average.module.parameters()] == shapes
    done.undo()
    assert [p.shape for p in average.module.parameters()] == [(4, 3), (4,), (2, 4), (2,)]


def test_a_verb_is_taken_back_when_its_check_fails():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ts.VerificationError, match="finite"):
        ts.replace(net, nn.ReLU, lambda old: Blank(), check=torch.ones(1, 3))
    assert type(net[1]) is nn.ReLU


class Blank(nn.Module):
    def forward(self, x):
        return x / 0


def test_an_instance_takes_no_arguments(net):
    with pytest.raises(ts.PlanError, match=r"the instance given for .* takes no arguments, got p, foo"):
        ts.insert(net, nn.Dropout(0.1), after=nn.ReLU, p=0.9, foo=3)


def test_arguments_that_have_the_names_of_parameters(net):
    class Layer(nn.Module):
        def __init__(self, target, new, model):
            super().__init__()
            self.given = target, new, model

    ts.replace(net, nn.ReLU, Layer, target=1, new=2, model=3)
    assert net[1].given == (1, 2, 3)


def test_temporarily(net):
    before = portrait(net)
    with ts.temporarily(ts.plan(net).replace(nn.ReLU, nn.GELU)) as done:
        assert isinstance(net[1], nn.GELU)
        assert done.in_force
    assert portrait(net) == before
    assert not done.in_force


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_temporarily_is_undone_on_an_exception(net, error):
    before = portrait(net)
    with pytest.raises(error), ts.temporarily(ts.plan(net).replace(nn.ReLU, nn.GELU())):
        raise error
    assert portrait(net) == before


def test_undone_by_hand_in_a_with_block(net):
    before = portrait(net)
    with ts.temporarily(ts.plan(net).replace(nn.ReLU, nn.GELU)) as done:
        done.undo()
        assert isinstance(net[1], nn.ReLU)
    assert portrait(net) == before


def test_with_blocks_nest(net):
    before = portrait(net)
    with ts.temporarily(ts.plan(net).replace(nn.ReLU, nn.GELU)):
        with ts.temporarily(ts.plan(net).replace(nn.GELU, nn.SiLU)):
            assert isinstance(net[1], nn.SiLU)
        assert isinstance(net[1], nn.GELU)
    assert portrait(net) == before


def test_a_block_that_does_not_begin(net):
    plan = ts.plan(net).replace("2", nn.Linear(3, 5)).replace("0", nn.Linear(2, 4))
    before = portrait(net)
    with pytest.raises(ts.VerificationError), ts.temporarily(plan, check=torch.ones(1, 2)):
        raise AssertionError("the block is not entered")
    assert portrait(net) == before


def test_temporarily_with_an_optimizer(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    params = list(optimizer.param_groups[0]["params"])
    with ts.temporarily(ts.plan(net).replace("2", nn.Linear(3, 5)), optimizer=optimizer):
        assert optimizer.param_groups[0]["params"][2] is net[2].weight
    assert optimizer.param_groups[0]["params"] == params
