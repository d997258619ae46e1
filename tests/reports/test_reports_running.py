"""Runs before and after: they are interleaved, leave nothing behind, and differ by what they should."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.reports.running import Answer, difference, run_both


def both(plan, x):
    return run_both(lambda: nullcontext(plan.draft.model), plan.in_force, ((x,), {}))


def test_answers_and_times_of_each_module():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    before, after = both(ts.plan(net).replace("2", nn.Linear(8, 5)), x)
    assert before.answers.keys() == after.answers.keys() == before.seconds.keys() == {"", "0", "1", "2"}
    assert before.answers["2"].sizes == ((3, 2),)
    assert after.answers["2"].sizes == ((3, 5),)
    assert torch.equal(before.answers["0"].entries.float(), net[0](x).detach().reshape(-1))
    assert all(seconds > 0 for run in (before, after) for seconds in run.seconds.values())
    assert before.seconds[""] > before.seconds["0"]
    assert before.rounds == after.rounds == 5


def test_the_states_take_turns():
    net, order = nn.Sequential(nn.Linear(2, 2)), []

    @contextmanager
    def state(name):
        order.append(name)
        yield net

    run_both(lambda: state("before"), lambda: state("after"), ((torch.ones(1, 2),), {}))
    assert order == ["before", "after"] * 5


def test_long_runs_are_not_repeated(monkeypatch):
    monkeypatch.setattr("torchsurgery.reports.running._SECONDS", 0.0)
    before, after = both(ts.plan(nn.Sequential(nn.ReLU())), torch.ones(2))
    assert before.rounds == after.rounds == 1


class Noisy(nn.Module):
    """Draws random numbers, counts its calls and keeps a running mean, in eval, too."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.mean += x.mean()
        return x + torch.rand_like(x)


def test_the_model_is_as_it_was():
    net = nn.Sequential(Noisy(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    plan, x = ts.plan(net).replace("3", nn.Linear(4, 3)), torch.randn(3, 4)
    before = portrait(net)
    both(plan, x)
    assert portrait(net) == before


def test_random_layers_draw_the_same_in_both():
    before, after = both(ts.plan(nn.Sequential(Noisy(), nn.ReLU())).replace("1", nn.ReLU6), torch.rand(3, 4))
    assert difference(before.answers["0"], after.answers["0"]) == 0


def test_the_first_call_counts_for_answers_and_all_for_the_time():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.act(x)[:, :1])

    before, _ = both(ts.plan(Twice()), torch.ones(2, 4))
    assert before.answers["act"].sizes == ((2, 4),)


def answer(values, sizes=((3,),)):
    return Answer(sizes, torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        (answer([3.0, 4.0, 0.0]), answer([3.0, 4.0, 5.0]), 1.0),
        (answer([3.0, 4.0, 0.0]), answer([3.0, 4.0, 0.0]), 0.0),
        (answer([0.0, 0.0, 0.0]), answer([0.0, 1.0, 0.0]), 1.0),
        (answer([0.0, 0.0, 0.0]), answer([0.0, 0.0, 0.0]), 0.0),
        (answer([1.0]), answer([1.0], ((1, 3),)), None),
        (None, answer([1.0]), None),
        (answer([]), answer([]), None),
    ],
)
def test_difference_by_hand(earlier, later, expected):
    assert difference(earlier, later) == expected


def test_large_answers_are_compared_by_entries_at_the_same_places():
    net = nn.Sequential(nn.Identity())
    x = torch.randn(2**18)
    before, after = both(ts.plan(net).replace("0", nn.ReLU()), x)
    assert before.answers["0"].entries.numel() == 2**16
    whole = float((x - x.relu()).norm() / x.norm())
    assert difference(before.answers["0"], after.answers["0"]) == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize(
    "x",
    [torch.randn(4, dtype=torch.complex64), torch.arange(6), torch.ones(2, dtype=torch.bool), torch.ones(()).half()],
)
def test_numbers_of_every_kind(x):
    before, after = both(ts.plan(nn.Sequential(nn.Identity())), x)
    assert difference(before.answers["0"], after.answers["0"]) == 0


def test_what_answers_no_tensor_has_no_difference():
    class Names(nn.Module):
        def forward(self, x):
            return "a name"

    before, after = both(ts.plan(nn.Sequential(Names())), torch.ones(1))
    assert difference(before.answers["0"], after.answers["0"]) is None
