"""Apply and undo, all or nothing; whatever interrupts, the model is the very same."""

import sys

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery import changes, history, surgery
from torchsurgery.training import CarryOptimizer


class Fused(nn.Linear):
    def forward(self, x):
        return super().forward(x).relu()


def build():
    """Every way of putting: retyped, become, put, written to a list, cast, computed, hooks carried, followed up."""
    net = nn.Sequential(
        nn.Linear(2, 3), nn.ReLU(), nn.Conv1d(1, 1, 1), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Tanh()
    ).double()
    net.__dict__["acts"] = [net[4]]
    net[1].register_forward_hook(lambda module, args, output: output)
    return net


def full_plan(net):
    return (
        ts.plan(net)
        .replace("0", Fused)
        .replace("1", nn.Dropout)
        .replace("2", nn.Conv1d, kernel_size=3)
        .replace("4", nn.PReLU())
        .insert(nn.Dropout(0.1), after="0")
        .replace("3.linear1", lambda old: nn.Linear(4, 8))
    )


# --- undo


def test_undo_brings_back_the_very_objects():
    net = build()
    before = portrait(net)
    done = full_plan(net).apply()
    assert portrait(net) != before
    done.undo()
    assert portrait(net) == before


def test_undo_twice_is_refused():
    net = build()
    done = ts.replace(net, "1", nn.GELU)
    done.undo()
    before = portrait(net)
    assert not done.in_force
    with pytest.raises(ts.SurgeryError, match="this surgery on Sequential has been undone already"):
        done.undo()
    assert portrait(net) == before


def test_the_last_is_undone_first():
    net = build()
    start = portrait(net)
    first, second = ts.replace(net, "1", nn.GELU), ts.replace(net, "4", nn.SiLU)
    before = portrait(net)
    with pytest.raises(ts.SurgeryError, match="a later surgery on Sequential is still in force") as caught:
        first.undo()
    assert "undo that one first" in caught.value.way_out
    assert portrait(net) == before
    second.undo()
    first.undo()
    assert portrait(net) == start


@pytest.mark.parametrize(
    ("new", "move"),
    [
        (nn.GELU, lambda net: setattr(net[1], "__class__", nn.SiLU) or vars(net[1])),
        (nn.GELU(), lambda net: net.__setitem__(1, nn.SiLU())),
    ],
    ids=["class", "slot"],
)
def test_undo_after_a_change_by_other_means(new, move):
    net = build()
    done = ts.replace(net, "1", new)
    move(net)
    if type(net[1]) is nn.SiLU and not isinstance(new, nn.Module):
        done.undo()  # the state is still the one that the surgery left: the old one comes back
        assert type(net[1]) is nn.ReLU
        return
    before = portrait(net)
    with pytest.raises(ts.SurgeryError, match="1 was changed since by other means than this library") as caught:
        done.undo()
    assert caught.value.name == "1"
    assert portrait(net) == before
    net[1] = new
    done.undo()
    assert type(net[1]) is nn.ReLU


def test_undo_after_a_retyped_layer_was_given_another_class():
    net = build()
    done = ts.replace(net, "0", Fused)
    net[0].__class__ = nn.Linear
    with pytest.raises(ts.SurgeryError, match="0 was changed since by other means"):
        done.undo()


def test_changes_elsewhere_do_not_hinder_undo():
    net = build()
    done = ts.replace(net, "1", nn.GELU)
    other = nn.SiLU()
    net[4] = other
    done.undo()
    assert net[4] is other
    assert type(net[1]) is nn.ReLU


@pytest.mark.parametrize("new", [nn.Dropout, nn.Dropout(0.1)], ids=["become", "put"])
@pytest.mark.parametrize("training", [True, False])
def test_undo_after_train_or_eval_keeps_the_mode_of_now(new, training):
    net = build().train(not training)
    done = ts.replace(net, "1", new)
    net.train(training)
    done.undo()
    assert {module.training for module in net.modules()} == {training}


@pytest.mark.parametrize("new", [lambda old: nn.Linear(2, 3), nn.Linear(2, 3), Fused], ids=["become", "put", "retype"])
def test_undo_after_a_cast_keeps_the_dtype_of_now(new):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    done = ts.plan(net).replace("0", new).replace("1", nn.GroupNorm, num_groups=1).apply()
    net.to(torch.bfloat16)
    done.undo()
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert net[1].running_mean.dtype is torch.bfloat16
    assert net[1].num_batches_tracked.dtype is torch.int64
    assert net(torch.ones(4, 2, dtype=torch.bfloat16)).shape == (4, 3)


def test_undo_in_a_model_of_mixed_dtypes_leaves_each_layer_its_own():
    net = nn.Sequential(nn.Linear(2, 3).double(), nn.Linear(3, 2))
    done = ts.remove(net, "0")
    assert [p.dtype for p in net.parameters()] == [torch.float32] * 2
    done.undo()
    assert [p.dtype for p in net.parameters()] == [torch.float64] * 2 + [torch.float32] * 2


def test_undo_after_a_model_was_brought_from_the_meta_device():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        new = nn.Linear(2, 3)
    done = ts.replace(net, "0", new)
    net.to_empty(device="cpu")
    done.undo()
    assert [p.is_meta for p in net.parameters()] == [True, True, False, False]


def test_undo_keeps_what_training_made_of_carried_parameters():
    net = nn.Sequential(nn.Linear(2, 3))
    done = ts.replace(net, "0", Fused)
    with torch.no_grad():
        net[0].weight.fill_(5)
    done.undo()
    assert net[0].weight.unique().tolist() == [5]


def test_undo_of_a_model_without_parameters():
    net = nn.Sequential(nn.ReLU())
    done = ts.replace(net, "0", nn.GELU)
    done.undo()
    assert type(net[0]) is nn.ReLU


def test_many_surgeries_undone_in_turn(resnet18, images):
    ten = nn.Linear(512, 10)
    before, output = portrait(resnet18), resnet18(images)
    done = [
        ts.replace(resnet18, nn.ReLU, nn.GELU),
        ts.insert(resnet18, nn.Dropout(0.1), after=nn.GELU),
        ts.replace(resnet18, nn.BatchNorm2d, nn.GroupNorm, num_groups=ts.divisor(32)),
        ts.wrap(resnet18, nn.Conv2d, nn.Sequential),
        ts.remove(resnet18, nn.Dropout),
        ts.replace(resnet18, "fc", ten),
    ]
    assert resnet18(images).shape == (2, 10)
    for one in reversed(done):
        one.undo()
    assert portrait(resnet18) == before
    assert torch.equal(resnet18(images), output)


# --- what it tells


def test_repr_and_account():
    net = build()
    done = full_plan(net).apply()
    assert done.model is net
    assert [c.kind for c in done.changes] == ["replace"] * 4 + ["insert", "replace", "follow"]
    assert repr(done).startswith("Surgery on Sequential: ")
    assert repr(done).endswith("undo() takes it back")
    done.undo()
    assert repr(done).endswith("undone")


def test_a_warning_is_told():
    attention = nn.MultiheadAttention(4, 2)
    done = ts.replace(attention, "out_proj", lambda old: nn.Linear(4, 4))
    assert "! out_proj: never called" in repr(done)


# --- interrupted


class Boom(Exception):
    pass


INTERRUPTS = [Boom, KeyboardInterrupt, MemoryError]
STEPS = [
    kind
    for kind in (*vars(changes).values(), CarryOptimizer)
    if isinstance(kind, type)
    and {"snapshot", "apply"} <= vars(kind).keys()
    and not getattr(kind, "_is_protocol", False)
]


def interrupting(monkeypatch, at, error, moment):
    """Have the `at`-th step raise, before or after it was done, or while its snapshot is taken; count the steps."""
    count = iter(range(10**6))
    names = {"snapshot": ["snapshot"], "before": ["apply"], "after": ["apply"]}[moment]

    def interrupted(method):
        def call(self):
            now = next(count)
            if now == at and moment != "after":
                raise error
            answer = method(self)
            if now == at:
                raise error
            return answer

        return call

    for kind in STEPS:
        for name in names:
            monkeypatch.setattr(kind, name, interrupted(vars(kind)[name]))
    return count


def trained(net):
    optimizer = torch.optim.AdamW(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def optimizer_state(optimizer):
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    return groups, {id(p): {key: id(value) for key, value in s.items()} for p, s in optimizer.state.items()}


def test_the_plan_that_is_interrupted_has_steps_of_many_kinds():
    used = {type(step) for change in full_plan(build()).changes for step in change.steps}
    kinds = (changes.Retype, changes.Become, changes.Put, changes.Write, changes.Assign, changes.Follow)
    assert used >= {*kinds, changes.Cast, changes.Refresh}
    assert used | {CarryOptimizer} <= set(STEPS)


@pytest.mark.parametrize("moment", ["snapshot", "before", "after"])
@pytest.mark.parametrize("error", INTERRUPTS, ids=lambda error: error.__name__)
def test_interrupted_at_every_step(monkeypatch, error, moment):
    net = build()
    optimizer = trained(net)
    plan = full_plan(net)
    steps = sum(len(change.steps) for change in plan.changes) + 1
    before, known = portrait(net), optimizer_state(optimizer)
    for at in range(steps):
        with monkeypatch.context() as patch:
            interrupting(patch, at, error, moment)
            with pytest.raises(error):
                plan.apply(optimizer=optimizer)
        assert portrait(net) == before
        assert optimizer_state(optimizer) == known
        assert history.altered(net) == []
    with monkeypatch.context() as patch:
        interrupting(patch, steps, error, moment)
        plan.apply(optimizer=optimizer).undo()
    assert portrait(net) == before


@pytest.mark.parametrize("error", INTERRUPTS, ids=lambda error: error.__name__)
def test_interrupted_in_the_check(monkeypatch, error):
    def stopped(*args, **kwargs):
        raise error

    net = build()
    before = portrait(net)
    monkeypatch.setattr(surgery, "run_check", stopped)
    with pytest.raises(error):
        full_plan(net).apply(check=torch.ones(1))
    assert portrait(net) == before
    assert history.altered(net) == []


def lines_of(files):
    """A trace function that counts the lines run in `files`, and raises KeyboardInterrupt at the one asked for."""

    def tracer(at):
        seen = [0]

        def trace(frame, event, argument):
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                seen[0] += 1
                if seen[0] == at:
                    raise KeyboardInterrupt
            return trace

        return trace, seen

    return tracer


def traced(trace, function):
    old = sys.gettrace()
    sys.settrace(trace)
    try:
        return function()
    finally:
        sys.settrace(old)


def test_interrupted_at_every_line():
    """A KeyboardInterrupt may come anywhere, not only between steps: also while a step writes."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Tanh()).double()
    plan = ts.plan(net).replace("0", Fused).replace("1", nn.Dropout).replace("2", nn.PReLU())
    assert len(plan.operations) == 3  # which are worked out once, so that each time the same lines run
    before = portrait(net)
    tracer = lines_of({changes.__file__})
    trace, seen = tracer(0)
    traced(trace, plan.apply).undo()
    assert seen[0] > 30
    for line in range(1, seen[0] + 1):
        with pytest.raises(KeyboardInterrupt):
            traced(tracer(line)[0], plan.apply)
        assert portrait(net) == before


def test_the_first_edits_of_a_plan_may_stay_while_later_ones_are_taken_back():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Tanh())
    done = ts.plan(net).replace(nn.ReLU, nn.GELU).replace(nn.GELU, nn.SiLU).remove("2").apply()
    now = portrait(net)
    kinds = []
    for since in range(4):
        with done.taken_back(since) as before:
            kinds.append(tuple(type(layer).__name__ for layer in before[1:]))
        assert portrait(net) == now
    assert kinds == [("ReLU", "Tanh"), ("GELU", "Tanh"), ("SiLU", "Tanh"), ("SiLU", "Identity")]


def test_interrupted_at_every_line_while_it_is_taken_back():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Tanh(), nn.Dropout()).double()
    plan = ts.plan(net).replace("0", Fused).replace("1", nn.Dropout).replace("2", nn.PReLU()).remove("3")
    before = portrait(net)
    done = plan.apply()
    now = portrait(net)

    def look():
        with done.taken_back():
            assert portrait(net) == before

    tracer = lines_of({changes.__file__})
    trace, seen = tracer(0)
    traced(trace, look)
    assert seen[0] > 20
    for line in range(1, seen[0] + 1):
        with pytest.raises(KeyboardInterrupt):
            traced(tracer(line)[0], look)
        assert portrait(net) == now
    done.undo()
    assert portrait(net) == before


def test_an_interrupt_while_undoing_is_raised_when_all_is_undone(monkeypatch):
    net = build()
    before = portrait(net)
    done = ts.plan(net).replace("1", nn.GELU).replace("4", nn.SiLU).apply()
    restores = done._state[0].restores
    last, calls = restores[-1], []

    def interrupted_once():
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        last()

    restores[-1] = interrupted_once
    with pytest.raises(KeyboardInterrupt):
        done.undo()
    assert len(calls) == 2
    assert portrait(net) == before
    assert not done.in_force
    assert history.altered(net) == []


def test_memory_that_stays_short_ends_restoring(monkeypatch):
    def always():
        raise MemoryError

    with pytest.raises(MemoryError):
        surgery._restore_all([always])


# --- compiled models


def test_a_compiled_model_is_compiled_anew(monkeypatch):
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    net = build()
    ts.replace(net, "1", nn.GELU).undo()
    assert resets == []
    net[0].compile(backend="eager")
    ts.replace(net, "1", nn.GELU).undo()
    assert resets == [1, 1]


# --- taken back for a while


def test_taken_back_is_the_very_model_from_before_and_then_the_very_one_from_now():
    net = build()
    start = portrait(net)
    done = full_plan(net).apply()
    now = portrait(net)
    for _ in range(2):
        with done.taken_back() as model:
            assert model is net
            assert portrait(net) == start
        assert portrait(net) == now
    done.undo()
    assert portrait(net) == start


def test_taken_back_keeps_what_was_learnt_since():
    net = build()
    x = torch.randn(1, 2).double()
    first = net[0](x)
    done = full_plan(net).apply()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    trained = {name: p.clone() for name, p in net.state_dict().items()}
    with done.taken_back():
        assert type(net[0]) is nn.Linear
        assert not torch.equal(net[0](x), first)  # a carried Parameter is one and the same
    assert all(torch.equal(p, trained[name]) for name, p in net.state_dict().items())


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_taken_back_comes_again_after_a_failure(failure):
    net = build()
    done = full_plan(net).apply()
    now = portrait(net)
    with pytest.raises(failure), done.taken_back():
        raise failure
    assert portrait(net) == now


def test_taken_back_leaves_optimizers_alone():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(net.parameters())
    done = ts.plan(net).replace("2", nn.Linear(4, 3)).apply(optimizer=optimizer)
    net(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    before = str(optimizer.state_dict())
    with done.taken_back():
        assert net[2].out_features == 2
    assert str(optimizer.state_dict()) == before


def test_taken_back_is_refused_as_undo_is():
    net = build()
    first, second = ts.replace(net, "1", nn.GELU), ts.replace(net, "4", nn.SiLU)
    with pytest.raises(ts.SurgeryError, match="a later surgery"), first.taken_back():
        pass
    second.undo()
    first.undo()
    with pytest.raises(ts.SurgeryError, match="undone already"), first.taken_back():
        pass
