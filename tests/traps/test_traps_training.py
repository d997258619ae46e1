"""Trap 13: an optimizer, an average or a scheduler that already holds the old Parameters."""

import pytest
import torch
from parts import BuiltLinear, Doubled, MyLinear, Scaled, state
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torchsurgery as ts


def _net():
    # Nothing in it can die: every trainable Parameter moves at every step.
    return nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 2)
    )


def _step(net, *optimizers, schedulers=()):
    for optimizer in optimizers:
        optimizer.zero_grad()
    net(torch.randn(4, 3, 4, 4)).square().mean().backward()
    for actor in (*optimizers, *schedulers):
        actor.step()


def _held(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def _all_move(net, *optimizers, **others):
    before = {name: p.detach().clone() for name, p in net.named_parameters() if p.requires_grad}
    _step(net, *optimizers, **others)
    return all(not torch.equal(p, before[name]) for name, p in net.named_parameters() if p.requires_grad)


def test_trap_13_optimizer_naive():
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    net[5] = nn.Linear(16, 2)
    assert not _all_move(net, optimizer), "training goes on, the new weights never move"


OPTIMIZERS = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "AdamW foreach, amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True, foreach=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}

EDITS = {
    "carried": lambda net: ts.plan(net).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=2),
    "retyped": lambda net: ts.plan(net).replace(nn.Linear, MyLinear),
    "built": lambda net: ts.plan(net).replace(nn.Linear, BuiltLinear),
    "computed": lambda net: ts.plan(net).replace("0", nn.Conv2d, kernel_size=3),
    "fresh": lambda net: ts.plan(net).replace("5", nn.Linear(16, 2)),
    "fresh by factory": lambda net: ts.plan(net).replace("5", lambda old: nn.Linear(16, 2), carry=False),
    "inserted": lambda net: ts.plan(net).insert(nn.Conv2d(4, 4, 1), after="2"),
    "wrapped": lambda net: ts.plan(net).wrap("3", Scaled),
    "removed": lambda net: ts.plan(net).remove("1"),
    "chain": lambda net: (
        ts.plan(net).replace("0", nn.Conv2d, kernel_size=3).replace("0", nn.Conv2d, kernel_size=5).wrap("5", Scaled)
    ),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_trap_13_optimizer(edit, make):
    net = _net()
    optimizer = make(net.parameters())
    _step(net, optimizer)
    before, states = _held(optimizer), {p: dict(s) for p, s in optimizer.state.items()}
    done = edit(net).apply(optimizer=optimizer)
    assert {id(p) for p in _held(optimizer)} == {id(p) for p in net.parameters()}
    assert len(_held(optimizer)) == len(set(_held(optimizer)))
    assert optimizer.state.keys() <= set(_held(optimizer)), "no state for who is gone"
    for parameter in set(_held(optimizer)) & set(before):
        kept = optimizer.state[parameter]
        assert all(kept[key] is value for key, value in states[parameter].items())
    assert _all_move(net, optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    done.undo()
    assert all(p is q for p, q in zip(_held(optimizer), before, strict=True))
    assert _all_move(net, optimizer)


def test_trap_13_several_groups_keep_place_and_settings():
    net = _net()
    groups = [{"params": net[:4].parameters(), "lr": 0.001}, {"params": net[4:].parameters(), "lr": 0.01}]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    _step(net, optimizer)
    ts.plan(net).replace("0", nn.Conv2d, kernel_size=3).replace("5", nn.Linear(16, 2)).insert(
        nn.Conv2d(4, 4, 1), after="2"
    ).apply(optimizer=optimizer)
    first, second = (group["params"] for group in optimizer.param_groups)
    assert [group["lr"] for group in optimizer.param_groups] == [0.001, 0.01]
    assert first[0] is net[0].weight, "in the same place"
    assert {id(p) for p in first} == {id(p) for p in net[:4].parameters()}
    assert {id(p) for p in second} == {id(p) for p in net[5].parameters()}


def test_trap_13_several_optimizers():
    net = _net()
    body, head = torch.optim.AdamW(net[:4].parameters(), lr=0.01), torch.optim.SGD(net[5].parameters(), lr=0.01)
    _step(net, body, head)
    done = (
        ts.plan(net)
        .replace(nn.Conv2d, nn.Conv2d, kernel_size=3)
        .replace("5", nn.Linear(16, 2))
        .apply(optimizer=[body, head])
    )
    assert {id(p) for p in _held(body)} == {id(p) for p in net[:4].parameters()}
    assert {id(p) for p in _held(head)} == {id(p) for p in net[5].parameters()}
    assert _all_move(net, body, head)
    done.undo()
    assert _all_move(net, body, head)


def test_trap_13_frozen_are_never_added():
    net = _net()
    net[0].requires_grad_(False)
    frozen = nn.Linear(16, 2).requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.01)
    _step(net, optimizer)
    ts.plan(net).replace(nn.Conv2d, nn.Conv2d, kernel_size=3).replace("5", frozen).insert(
        nn.PReLU().requires_grad_(False), after="2"
    ).apply(optimizer=optimizer)
    assert {id(p) for p in _held(optimizer)} == {id(p) for p in net.parameters() if p.requires_grad}
    assert all(p.requires_grad for p in _held(optimizer))


def test_trap_13_momentum_of_an_enlarged_kernel_is_padded():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    net(torch.ones(1, 1, 1, 1)).sum().backward()  # the gradient is 1
    optimizer.step()
    ts.plan(net).replace(nn.Conv2d, nn.Conv2d, kernel_size=3).apply(optimizer=optimizer)
    entries = optimizer.state[net[0].weight]
    expected = torch.zeros(3, 3)
    expected[1, 1] = 0.1  # (1 − β₁) · 1
    torch.testing.assert_close(entries["exp_avg"][0, 0], expected)
    assert entries["exp_avg_sq"].shape == (1, 1, 3, 3)
    assert entries["step"] == 1
    optimizer.step()
    assert optimizer.state[net[0].weight]["step"] == 1, "the new Parameter has no gradient yet"


def test_trap_13_carried_state_is_the_same_object():
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    _step(net, optimizer)
    momentum = optimizer.state[net[1].weight]["momentum_buffer"]
    ts.plan(net).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=2).apply(optimizer=optimizer)
    assert optimizer.state[net[1].weight]["momentum_buffer"] is momentum


def test_trap_13_named_parameters():
    net = _net()
    optimizer = torch.optim.AdamW(net.named_parameters(), lr=0.01)
    ts.plan(net).wrap("0", Doubled).replace("5", nn.Linear(16, 2)).apply(optimizer=optimizer)
    names = dict(zip(map(id, _held(optimizer)), optimizer.param_groups[0]["param_names"], strict=True))
    assert names == {id(p): name for name, p in net.named_parameters()}


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.01, total_steps=20),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=10),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, total_iters=2), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
            milestones=[2],
        ),
    ],
)
def test_trap_13_schedulers_go_on(make):
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    scheduler = make(optimizer)
    _step(net, optimizer, schedulers=[scheduler])
    done = ts.plan(net).replace("5", nn.Linear(16, 2)).apply(optimizer=optimizer)
    rate = optimizer.param_groups[0]["lr"]
    assert _all_move(net, optimizer, schedulers=[scheduler])
    assert optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0] != rate
    done.undo()
    assert _all_move(net, optimizer, schedulers=[scheduler])


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_trap_13_average(edit):
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    _step(net, optimizer)
    average.update_parameters(net)
    _step(net, optimizer)
    before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    modules = list(average.modules())
    done = edit(net).apply(optimizer=optimizer, ema=average)
    assert list(average.module.state_dict()) == list(net.state_dict())
    assert not {id(p) for p in net.parameters()} & {id(p) for p in average.parameters()}
    _step(net, optimizer)
    average.update_parameters(net)
    for new, mean in zip(net.parameters(), average.module.parameters(), strict=True):
        assert new.shape == mean.shape
    done.undo()
    assert list(average.modules()) == modules
    assert list(average.state_dict()) == list(before)


def test_trap_13_average_of_an_enlarged_kernel_is_the_average_enlarged():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    average = AveragedModel(net)
    with torch.no_grad():
        net[0].weight.fill_(4.0)
        average.module[0].weight.fill_(2.0)
    ts.plan(net).replace(nn.Conv2d, nn.Conv2d, kernel_size=3).apply(ema=average)
    assert average.module[0].weight[0, 0].tolist() == [[0, 0, 0], [0, 2, 0], [0, 0, 0]]
    assert net[0].weight[0, 0, 1, 1] == 4


def test_trap_13_average_of_another_model_is_refused():
    net, other = _net(), AveragedModel(nn.Sequential(nn.Linear(2, 2)))
    plan = ts.plan(net).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=2)
    before = state(net), state(other)
    with pytest.raises(ts.PlanError, match="has no 1") as caught:
        plan.apply(ema=other)
    assert "AveragedModel(model)" in caught.value.way_out
    assert (state(net), state(other)) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda net: torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1), "this SGD holds no Parameter of the model"),
        (lambda net: torch.optim.LBFGS(net.parameters()), "LBFGS keeps the history"),
        (lambda net: object(), "takes optimizers of torch.optim, got object"),
    ],
)
def test_trap_13_what_can_not_be_carried_is_refused(wrong, message):
    net = _net()
    optimizer = wrong(net)
    plan = ts.plan(net).replace("0", nn.Conv2d, kernel_size=3)
    before = state(net)
    with pytest.raises(ts.PlanError, match=message) as caught:
        plan.apply(optimizer=optimizer)
    assert caught.value.way_out
    assert state(net) == before


def test_trap_13_tied_parameters_are_held_once():
    from parts import TiedLM

    net = TiedLM()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    net(torch.tensor([[1]])).sum().backward()
    optimizer.step()
    ts.plan(net).replace(nn.Linear, BuiltLinear).apply(optimizer=optimizer)
    assert len(_held(optimizer)) == 1
    assert optimizer.state[net.head.weight]["step"] == 1


def test_trap_13_real_model(resnet18, images):
    net, images = resnet18.train(), images[:, :, :32, :32]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def train():
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()

    train()
    optimized = (
        ts.plan(net)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        .replace("fc", nn.Linear(512, 10))
        .apply(optimizer=optimizer)
    )
    held = {id(p) for p in _held(optimizer)}
    assert held == {id(p) for p in net.parameters()}
    assert sum(len(s) > 0 for s in optimizer.state.values()) == 60, "all but the two of fc keep their momentum"
    train()
    assert net.fc.weight in optimizer.state
    optimized.undo()
    train()
