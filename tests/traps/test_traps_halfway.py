"""Trap 16: whatever goes wrong, at whatever moment: the model, its optimizer and its average are what they were."""

import pytest
import torch
from parts import BuiltLinear, Doubled, FusedReLU, MyLinear, Scaled, state
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import torchsurgery as ts
from torchsurgery import changes, training

STEPS = [
    kind
    for module in (changes, training)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__ and {"snapshot", "apply"} <= vars(kind).keys()
]
STEPS = [kind for kind in STEPS if kind.__name__ not in ("Step", "Placing")]
ERRORS = [RuntimeError("injected"), KeyboardInterrupt(), MemoryError()]


def test_trap_16_failure_halfway_naive():
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))

    def factory(old):
        if old is net[7]:
            raise RuntimeError("no more")
        return nn.Identity()

    with pytest.raises(RuntimeError):
        for name, layer in list(net.named_children()):
            setattr(net, name, factory(layer))
    assert sum(isinstance(layer, nn.Identity) for layer in net) == 7, "the model is left half converted"


@pytest.mark.parametrize("error", [*ERRORS, ts.PlanError("the factory's own")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("verb", ["replace", "insert", "wrap"])
def test_trap_16_a_factory_that_raises_at_layer_7_of_20(verb, error):
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))
    net[3].register_forward_hook(lambda *_: None)
    calls = []

    def factory(old):
        calls.append(torch.rand(1))
        if len(calls) == 8:
            raise error
        return Doubled(old) if verb == "wrap" else nn.Linear(4, 4)

    edits = {
        "replace": lambda: ts.replace(net, nn.Linear, factory),
        "insert": lambda: ts.insert(net, factory, after=nn.Linear),
        "wrap": lambda: ts.wrap(net, nn.Linear, factory),
    }
    before = state(net)
    with pytest.raises(type(error)) as caught:
        edits[verb]()
    assert len(calls) == 8
    assert state(net) == before
    if type(error) is RuntimeError and hasattr(error, "add_note"):  # not in Python 3.10
        assert any("at 7 (Linear)" in note for note in caught.value.__notes__), "a user's own error says where"


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "got NoneType"), (nn.ReLU, "got type"), (nn.Linear(5, 4), "takes 5"), ("self", "already")],
)
def test_trap_16_a_factory_with_a_wrong_answer_at_layer_7(answer, words):
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))
    wrong = net[2] if answer == "self" else answer
    before = state(net)
    with pytest.raises(ts.PlanError, match=words) as caught:
        ts.replace(net, nn.Linear, lambda old: wrong if old is net[7] else nn.Identity())
    assert "7 (Linear)" in str(caught.value).splitlines()[0]
    assert caught.value.name == "7"
    assert caught.value.way_out
    assert state(net) == before


class Model(nn.Module):
    """Something for every kind of step: shared and listed layers, hooks, custom attributes, a fast path."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()
        self.head = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True)
        self.listed = [self.act]
        self.norm.tag = "mine"

    def forward(self, x):
        x = self.listed[0](self.norm(self.conv(x))).mean((2, 3))
        return self.encoder(F.gelu(self.head(x))[:, None])


class OwnHook(nn.Linear):
    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)
        self.register_forward_hook(self.note)

    def note(self, *_):
        pass


def _everything():
    """A plan that takes every kind of step, with the model, optimizer and average that it is about."""
    torch.manual_seed(0)
    net = Model().eval()
    net.head[2] = OwnHook(8, 8)
    net.norm.register_forward_hook(lambda *_: None)
    net.norm.register_load_state_dict_pre_hook(lambda *_: None)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    average = AveragedModel(net)
    net(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    plan = (
        ts.plan(net)
        .replace("conv", nn.Conv2d, kernel_size=3)
        .replace("norm", nn.GroupNorm(2, 4))
        .replace("act", FusedReLU())
        .replace("head.0", MyLinear)
        .replace("head.2", BuiltLinear)
        .insert(nn.Linear(8, 8), after="head.1")
        .wrap("head.0", Scaled)
        .replace("encoder.linear1", BuiltLinear)
        .remove("encoder.dropout1")
        .replace(F.gelu, nn.Tanh)
    )
    with torch.no_grad():
        net.conv.weight.add_(1)  # what is computed is computed anew
    net.requires_grad_(False)
    return net, optimizer, average, plan


def _all(net, optimizer, average):
    groups = [
        (list(map(id, group["params"])), {k: v for k, v in group.items() if k != "params"})
        for group in optimizer.param_groups
    ]
    states = {id(p): {key: id(value) for key, value in entries.items()} for p, entries in optimizer.state.items()}
    return state(net), state(average), groups, states, list(map(id, net.listed))


def _count(method, monkeypatch):
    """How many calls of `method` of any step an apply makes."""
    calls = []
    with monkeypatch.context() as patch:
        _patch(patch, method, lambda step: calls.append(type(step)))
        _, optimizer, average, plan = _everything()
        plan.apply(optimizer=optimizer, ema=average)
    return calls


def _patch(patch, method, before):
    for kind in STEPS:
        original = vars(kind)[method]

        def patched(step, original=original):
            before(step)
            return original(step)

        patch.setattr(kind, method, patched)


def test_trap_16_the_plan_takes_every_kind_of_step(monkeypatch):
    taken = set(_count("apply", monkeypatch))
    assert taken == set(STEPS), f"not taken: {[kind.__name__ for kind in set(STEPS) - taken]}"


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", ["snapshot", "apply"])
def test_trap_16_failure_at_every_step(method, error, monkeypatch):
    total = len(_count(method, monkeypatch))
    assert total > 20
    net, optimizer, average, plan = _everything()
    x = torch.randn(2, 3, 4, 4)
    output, before = net(x), _all(net, optimizer, average)
    for moment in range(total):
        calls = []

        def fail(step, calls=calls, moment=moment):
            calls.append(step)
            if len(calls) == moment + 1:
                raise error

        with monkeypatch.context() as patch, pytest.raises(type(error)):
            _patch(patch, method, fail)
            plan.apply(optimizer=optimizer, ema=average)
        assert _all(net, optimizer, average) == before, (
            f"after {method} {moment} of {total}, of {type(calls[moment]).__name__}"
        )
    assert torch.equal(net(x), output)
    done = plan.apply(optimizer=optimizer, ema=average)
    assert type(net.norm) is nn.GroupNorm, "and the same plan can still be applied"
    done.undo()
    assert torch.equal(net(x), output)


def test_trap_16_interrupted_after_the_write(monkeypatch):
    """The interrupt comes when a step has written, before anything else is noted."""
    *held, plan = _everything()
    _, optimizer, average = held
    before = _all(*held)
    for kind in STEPS:
        original = vars(kind)["apply"]

        def late(step, original=original):
            original(step)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(kind, "apply", late)
            plan.apply(optimizer=optimizer, ema=average)
        assert _all(*held) == before, kind.__name__


def test_trap_16_interrupted_while_restoring(monkeypatch):
    """A second interrupt, during the restoring, waits until that is done."""
    net, optimizer, average, plan = _everything()
    before = _all(net, optimizer, average)
    interrupts = []
    for kind in STEPS:
        original = vars(kind)["snapshot"]

        def nervous(step, original=original):
            restore = original(step)

            def interrupted():
                if not interrupts:
                    interrupts.append(step)
                    raise KeyboardInterrupt
                restore()

            return interrupted

        monkeypatch.setattr(kind, "snapshot", nervous)
    monkeypatch.setattr(changes.Put, "apply", lambda step: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises((KeyboardInterrupt, MemoryError)):
        plan.apply(optimizer=optimizer, ema=average)
    assert len(interrupts) == 1
    assert _all(net, optimizer, average) == before


def test_trap_16_a_check_that_fails_takes_everything_back():
    net, optimizer, average, _ = _everything()
    plan = ts.plan(net).replace("head.0", nn.Linear(4, 9)).replace("norm", nn.GroupNorm, num_groups=2)
    x = torch.randn(2, 3, 4, 4)
    before = _all(net, optimizer, average)
    with pytest.raises(ts.VerificationError) as caught:
        plan.apply(optimizer=optimizer, ema=average, check=x)
    assert "head" in str(caught.value)
    assert _all(net, optimizer, average) == before


def test_trap_16_a_plan_for_what_is_no_longer_there():
    def stale(change):
        net = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.ReLU())
        plans = [
            ts.plan(net).replace("0.1", nn.LayerNorm, normalized_shape=4),
            ts.plan(net).replace("0.0", nn.Linear(4, 4)),
            ts.plan(net).wrap("0.0", Doubled),
        ]
        change(net)
        before = state(net)
        refused = []
        for plan in plans:
            try:
                plan.apply().undo()
            except ts.PlanError as error:
                assert "ts.plan(model)" in error.way_out
                assert state(net) == before
                refused.append(error.name)
        return refused

    assert stale(lambda net: None) == []
    assert stale(lambda net: net.__setitem__(0, nn.Sequential(*net[0]))) == ["0.0", "0.0"]
    assert stale(lambda net: net.__setitem__(0, nn.Identity())) == ["0.1", "0.0", "0.0"]
    assert stale(lambda net: net[0].__setitem__(0, nn.Linear(4, 4))) == ["0.0", "0.0"]
    assert stale(lambda net: setattr(net[0][1], "weight", nn.Parameter(torch.ones(4)))) == ["0.1"]
    assert stale(lambda net: ts.replace(net, "0", lambda old: nn.Identity())) == ["0.1", "0.0", "0.0"]


def test_trap_16_undo_is_refused_when_it_would_mix_two_changes():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    first = ts.wrap(net, "0", Doubled)
    second = ts.replace(net, "1", nn.Tanh)
    before = state(net)
    with pytest.raises(ts.SurgeryError, match="a later surgery on Sequential is still in force"):
        first.undo()
    assert state(net) == before
    second.undo()
    net[0] = nn.Linear(4, 4)
    before = state(net)
    with pytest.raises(ts.SurgeryError, match="0 was changed since by other means"):
        first.undo()
    assert state(net) == before
    with pytest.raises(ts.SurgeryError, match="has been undone already"):
        second.undo()


def test_trap_16_real_model(resnet18, images):
    before = state(resnet18)
    calls = []

    def factory(old, name):
        calls.append(name)
        if name == "layer3.1.bn2":
            raise KeyboardInterrupt
        return nn.GroupNorm(8, old.num_features)

    with pytest.raises(KeyboardInterrupt):
        ts.plan(resnet18).replace(nn.ReLU, FusedReLU).replace(nn.BatchNorm2d, factory).apply(check=images)
    assert calls[-1] == "layer3.1.bn2"
    assert state(resnet18) == before
