"""Optimizers go on with an altered model: groups, places, momentum; frozen Parameters stay out."""

import pytest
import torch
import transformers
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery import training


class Fused(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


def stepped(optimizer):
    """The optimizer after one step in which each Parameter's gradient is 1."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def params(optimizer, group=0):
    return optimizer.param_groups[group]["params"]


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


OPTIMIZERS = pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.RMSprop(p, lr=0.1),
    ],
    ids=["AdamW", "SGD with momentum", "RMSprop"],
)


@OPTIMIZERS
def test_what_is_carried_keeps_its_place_and_state(net, make):
    optimizer = stepped(make(net.parameters()))
    before, state = list(params(optimizer)), dict(optimizer.state)
    ts.plan(net).replace("0", Fused).apply(optimizer=optimizer)
    assert all(a is b for a, b in zip(params(optimizer), before, strict=True))
    assert dict(optimizer.state) == state


@OPTIMIZERS
def test_what_is_new_comes_in_the_place_of_the_old_and_begins_anew(net, make):
    optimizer = stepped(make(net.parameters()))
    kept = [net[0].weight, net[0].bias]
    ts.plan(net).replace("2", lambda old: nn.Linear(3, 5)).apply(optimizer=optimizer)
    assert params(optimizer) == [*kept, net[2].weight, net[2].bias]
    assert set(optimizer.state) == set(kept)
    before = net[2].weight.clone()
    stepped(optimizer)
    assert not torch.equal(net[2].weight, before)


@OPTIMIZERS
def test_undo_brings_the_optimizer_back(net, make):
    optimizer = stepped(make(net.parameters()))
    before, state = list(params(optimizer)), dict(optimizer.state)
    done = ts.plan(net).replace("2", nn.Linear(3, 5)).insert(nn.Linear(3, 3), after="1").apply(optimizer=optimizer)
    stepped(optimizer)
    done.undo()
    assert params(optimizer) == before
    assert dict(optimizer.state) == state


def test_groups_keep_their_own(net):
    optimizer = torch.optim.SGD(
        [{"params": net[0].parameters(), "lr": 0.1}, {"params": net[2].parameters(), "lr": 0.5}]
    )
    ts.plan(net).replace("0", nn.Linear(2, 3)).replace("2", nn.Linear(3, 2)).apply(optimizer=optimizer)
    assert params(optimizer, 0) == list(net[0].parameters())
    assert params(optimizer, 1) == list(net[2].parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]


def test_several_optimizers_keep_their_own(net):
    first, second = torch.optim.SGD(net[0].parameters()), torch.optim.AdamW(net[2].parameters())
    ts.plan(net).replace(nn.Linear, lambda old: nn.Linear(old.in_features, old.out_features), carry=False).apply(
        optimizer=[first, second]
    )
    assert params(first) == list(net[0].parameters())
    assert params(second) == list(net[2].parameters())


def test_momentum_moves_with_the_kernel():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    optimizer = stepped(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
    old_momentum = optimizer.state[net[0].weight]["momentum_buffer"].item()
    assert old_momentum == 1
    ts.plan(net).replace("0", nn.Conv2d, kernel_size=3).apply(optimizer=optimizer)
    assert optimizer.state[net[0].weight]["momentum_buffer"].tolist() == [[[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]]


def test_adams_two_moments_and_step_move_with_the_kernel():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    optimizer = stepped(torch.optim.AdamW(net.parameters(), lr=0.1))
    ts.plan(net).replace("0", nn.Conv2d, kernel_size=3).apply(optimizer=optimizer)
    state = optimizer.state[net[0].weight]
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == (1, 1, 3, 3)
    assert state["exp_avg"].sum().item() == pytest.approx(0.1)
    assert state["exp_avg_sq"].sum().item() == pytest.approx(0.001)
    assert state["step"].item() == 1
    stepped(optimizer)


ADAFACTORS = {
    "torch": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "transformers": lambda p: transformers.Adafactor(p, lr=0.01, relative_step=False, beta1=0.9),
}
adafactors = pytest.mark.parametrize("make", ADAFACTORS.values(), ids=ADAFACTORS)


def factors(optimizer, parameter):
    """What is kept of rows and columns, each as it stands along its own axis."""
    state = optimizer.state[parameter]
    return [state[key] for key in state if "row" in key or "col" in key]


def learnt(net, make, x):
    optimizer = make(net.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    return optimizer


@adafactors
@pytest.mark.parametrize("width", [6, 12, 9], ids=["square", "wide", "tall"])
def test_adafactors_rows_and_columns_are_sliced(make, width):
    net, x = nn.Sequential(nn.Linear(9, width), nn.ReLU(), nn.Linear(width, 4)), torch.randn(5, 9)
    optimizer = learnt(net, make, x)
    first, second = (factors(optimizer, net[i].weight) for i in (0, 2))
    done = ts.prune(net, "0", 2, example_inputs=x, optimizer=optimizer)
    kept = done.planned[0].edit.kept["0.weight"][0]
    rows, columns = factors(optimizer, net[0].weight)
    assert rows.flatten().tolist() == first[0].flatten()[list(kept)].tolist()
    assert torch.equal(columns, first[1])
    rows, columns = factors(optimizer, net[2].weight)
    assert torch.equal(rows, second[0])
    assert columns.flatten().tolist() == second[1].flatten()[list(kept)].tolist()
    before = [p.clone() for p in net.parameters()]
    net(x).square().mean().backward()
    optimizer.step()
    assert not any(torch.equal(p, was) for p, was in zip(net.parameters(), before, strict=True))
    done.undo()
    assert factors(optimizer, net[0].weight)[0] is first[0]


@adafactors
def test_adafactors_rows_and_columns_of_a_wider_network(make):
    net, x = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4)), torch.randn(5, 6)
    optimizer = learnt(net, make, x)
    (rows, _), (_, columns) = (factors(optimizer, net[i].weight) for i in (0, 2))
    ts.widen(net, "0", 8, example_inputs=x, optimizer=optimizer)
    assert factors(optimizer, net[0].weight)[0].flatten().tolist() == rows.flatten().repeat_interleave(2).tolist()
    assert factors(optimizer, net[2].weight)[1].numel() == 8
    assert (factors(optimizer, net[2].weight)[1] <= columns.max()).all()
    net(x).square().mean().backward()
    optimizer.step()
    assert all(p.isfinite().all() for p in net.parameters())


@adafactors
def test_adafactors_rows_and_columns_of_a_larger_kernel(make):
    net, x = nn.Sequential(nn.Conv2d(3, 4, 1)), torch.randn(2, 3, 8, 8)
    optimizer = learnt(net, make, x)
    rows, columns = factors(optimizer, net[0].weight)
    ts.replace(net, "0", nn.Conv2d, kernel_size=3, optimizer=optimizer)
    new_rows, new_columns = factors(optimizer, net[0].weight)
    assert torch.equal(new_rows.flatten(2)[..., 1], rows.flatten(2)[..., 0])
    assert torch.equal(new_columns.flatten(2)[..., 1], columns.flatten(2)[..., 0])
    assert new_rows.count_nonzero() == new_columns.count_nonzero() == 12
    net(x).square().mean().backward()
    optimizer.step()
    assert net[0].weight.isfinite().all()


def test_axes_that_a_state_summarises():
    axes = training.summarised_axes
    assert axes("exp_avg", (8, 6), (8, 6)) == ()
    assert axes("row_var", (8, 1), (8, 6)) == axes("exp_avg_sq_row", (8,), (8, 6)) == (1,)
    assert axes("col_var", (1, 6), (8, 6)) == axes("exp_avg_sq_col", (6,), (8, 6)) == (0,)
    assert axes("exp_avg_sq_row", (8,), (8, 8)) == (1,)
    assert axes("exp_avg_sq_col", (8,), (8, 8)) == (0,)
    assert axes("exp_avg_sq_row", (8, 4, 3), (8, 4, 3, 3)) == (3,)
    assert axes("exp_avg_sq_col", (8, 4, 3), (8, 4, 3, 3)) == (2,)
    assert axes("row_var", (8, 4, 1, 1), (8, 4, 1, 1)) == (3,)
    assert axes("norms", (8, 1, 1), (8, 4, 3)) == (1, 2)
    assert axes("norms", (8,), (8, 4, 3)) == (1, 2)
    assert axes("norms", (8,), (8, 8)) is None
    assert axes("blocks", (24,), (8, 6)) is None
    assert axes("blocks", (8, 3), (8, 6)) is None


def test_frozen_parameters_are_not_added(net):
    given = nn.Linear(3, 5)
    given.bias.requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters())
    ts.plan(net).replace("2", given).apply(optimizer=optimizer)
    assert params(optimizer) == [net[0].weight, net[0].bias, net[2].weight]


def test_what_is_inserted_joins_the_group_of_its_neighbour(net):
    optimizer = torch.optim.SGD([{"params": net[0].parameters()}, {"params": net[2].parameters()}])
    ts.plan(net).insert(nn.LayerNorm(2), after="2").apply(optimizer=optimizer)
    assert params(optimizer, 0) == list(net[0].parameters())
    assert params(optimizer, 1) == list(net[2].parameters())


def test_what_is_removed_is_forgotten(net):
    optimizer = stepped(torch.optim.AdamW(net.parameters()))
    ts.plan(net).remove("0").apply(optimizer=optimizer)
    assert params(optimizer) == list(net[2].parameters())
    assert set(optimizer.state) == set(net[2].parameters())


def test_what_is_removed_but_tied_stays():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    optimizer = stepped(torch.optim.AdamW(net.parameters()))
    ts.plan(net).remove("0").apply(optimizer=optimizer)
    assert params(optimizer) == [net[1].weight]
    assert set(optimizer.state) == {net[1].weight}


def test_what_an_instance_carries_on_request_stays(net):
    weight, bias = net[2].weight, net[2].bias
    optimizer = stepped(torch.optim.AdamW(net.parameters()))
    ts.plan(net).replace("2", nn.Linear(3, 2), carry=True).apply(optimizer=optimizer)
    assert params(optimizer)[2:] == [weight, bias] == list(net[2].parameters())
    assert {weight, bias} <= set(optimizer.state)


def test_a_chain_ends_with_the_last(net):
    optimizer = torch.optim.SGD(net.parameters())
    ts.plan(net).replace("2", nn.Linear(3, 5)).replace("2", nn.Linear(3, 7)).apply(optimizer=optimizer)
    assert params(optimizer) == [*net[0].parameters(), *net[2].parameters()]
    assert net[2].out_features == 7


def test_a_parameter_of_another_model_stays(net):
    other = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([*net.parameters(), *other.parameters()])
    ts.plan(net).replace("2", nn.Linear(3, 5)).apply(optimizer=optimizer)
    assert set(params(optimizer)) == {*net.parameters(), *other.parameters()}


def test_names_of_parameters_follow(net):
    optimizer = torch.optim.SGD(net.named_parameters())
    done = (
        ts.plan(net)
        .replace("2", nn.Linear(3, 5, bias=False))
        .insert(nn.Dropout(0.1), after="0")
        .apply(optimizer=optimizer)
    )
    group = optimizer.param_groups[0]
    assert group["param_names"] == ["0.layer.weight", "0.layer.bias", "2.weight"]
    assert group["params"] == [net[0].layer.weight, net[0].layer.bias, net[2].weight]
    done.undo()
    assert group["param_names"] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_scheduler_goes_on(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    ts.plan(net).replace("2", nn.Linear(3, 5)).apply(optimizer=scheduler)
    stepped(optimizer)
    scheduler.step()
    assert params(optimizer)[2] is net[2].weight
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_training_goes_on(net):
    """A loss falls before and after a surgery in the middle of a training loop."""
    x, y = torch.randn(32, 2), torch.randn(32, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)
    losses = []
    for step in range(60):
        if step == 30:
            ts.plan(net).replace("2", lambda old: nn.Linear(3, 2)).replace(nn.ReLU, nn.GELU).apply(optimizer=optimizer)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[29] < losses[0]
    assert losses[-1] < losses[30]
    assert set(params(optimizer)) == set(net.parameters())


def test_no_optimizers(net):
    ts.plan(net).replace("2", nn.Linear(3, 5)).apply(optimizer=[])
    assert net[2].out_features == 5


REFUSED = {
    "no optimizer": (lambda net: net, "optimizer= takes optimizers of torch.optim, got Sequential"),
    "of another model": (
        lambda net: torch.optim.SGD(nn.Linear(2, 2).parameters()),
        "this SGD holds no Parameter of the model that is to be changed",
    ),
    "LBFGS": (
        lambda net: torch.optim.LBFGS(net.parameters()),
        "LBFGS keeps the history of all Parameters in one flat vector",
    ),
    "one of two": (
        lambda net: [torch.optim.SGD(net.parameters()), torch.optim.SGD(nn.Linear(2, 2).parameters())],
        "this SGD holds no Parameter",
    ),
}


class Preconditioned(torch.optim.SGD):
    """Keeps something of a shape of its own."""

    def __init__(self, params, shapes):
        super().__init__(params, lr=0.1)
        self.shapes = shapes

    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                blocks = [torch.zeros(shape) for shape in self.shapes]
                self.state[parameter].update(step=torch.ones(1), scale=torch.tensor(1.0), blocks=blocks, name="a")


@pytest.mark.parametrize("alone", [True, False])
def test_a_state_of_another_shape_is_refused_by_name(net, alone):
    x, optimizer = torch.randn(2, 2), stepped(Preconditioned(net.parameters(), [(5, 2), (3, 3)]))
    before = portrait(net)
    if alone:
        for state in optimizer.state.values():
            state["blocks"] = state["blocks"][0]
    with pytest.raises(ts.PlanError, match=r"Preconditioned keeps 'blocks' of 0\.weight, which can't follow") as caught:
        ts.prune(net, "0", 1, example_inputs=x, optimizer=optimizer)
    assert caught.value.expected == (3, 2)
    assert caught.value.got == (5, 2)
    assert caught.value.way_out
    assert portrait(net) == before
    ts.replace(net, "0", nn.Linear(2, 3), optimizer=optimizer)  # what begins anew need not follow
    assert net[0].weight not in optimizer.state


def test_a_state_without_a_shape_stays(net):
    optimizer = stepped(Preconditioned(net.parameters(), []))
    ts.prune(net, "0", 1, example_inputs=torch.randn(2, 2), optimizer=optimizer)
    state = optimizer.state[net[0].weight]
    assert state["step"].tolist() == [1]
    assert (state["scale"].item(), state["name"], state["blocks"]) == (1, "a", [])


@pytest.mark.parametrize(("make", "first"), REFUSED.values(), ids=REFUSED)
def test_refused_and_nothing_has_changed(net, make, first):
    optimizer, plan = make(net), ts.plan(net).replace("2", nn.Linear(3, 5))
    before = portrait(net)
    with pytest.raises(ts.PlanError) as caught:
        plan.apply(optimizer=optimizer)
    assert first in str(caught.value).splitlines()[0]
    assert caught.value.way_out
    assert portrait(net) == before
