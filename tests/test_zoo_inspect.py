"""The benchmark of counting sees what it is there to see."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import torchsurgery as ts

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import zoo_inspect

    yield zoo_inspect
    for name in [name for name in sys.modules if name.startswith("zoo_")]:
        sys.modules.pop(name, None)


@pytest.fixture
def measured(zoo):
    def measure(build, *inputs):
        return zoo.measure(zoo.Subject("here", "net", build, lambda model: (inputs, {})))

    return measure


def test_a_row(zoo, measured):
    row = measured(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.ones(3, 4))
    assert (row.params, row.numel, row.macs, row.flops) == (58, 58, 3 * 48, 6 * 48)
    assert (row.adds, row.problem) == ("yes", "")
    assert zoo.holds(row)
    assert zoo.line(row).split()[-2:] == ["288", "FLOPs"]


@pytest.mark.parametrize("wrong", [{"params": 57}, {"macs": 1}, {"adds": "no"}, {"problem": "died"}])
def test_one_wrong_digit_is_told(zoo, measured, wrong):
    row = replace(measured(lambda: nn.Linear(4, 8), torch.ones(3, 4)), **wrong)
    assert not zoo.holds(row)
    assert zoo.line(row).startswith("! ")


def test_recurrent_layers_are_counted_by_both(zoo, measured):
    fused = torch._C._get_mkldnn_enabled()
    row = measured(lambda: nn.LSTM(4, 8), torch.ones(5, 1, 4))
    assert row.macs == 5 * 4 * 8 * (4 + 8)
    assert zoo.holds(row)
    assert torch._C._get_mkldnn_enabled() == fused


def test_views_of_parameters(zoo, measured):
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.inner = nn.Parameter(torch.zeros(1, 1, 4)), nn.Linear(4, 2)

        def forward(self, x):
            return self.inner(self.token.expand(len(x), -1, -1))

    assert zoo.holds(measured(Token, torch.ones(3, 4)))


def test_tables_that_do_not_add_up(zoo):
    stats = ts.inspect(nn.Sequential(nn.Linear(4, 8)), torch.ones(3, 4))
    assert zoo.adds_up(stats)
    first, last = stats.rows
    for rows in ((first,), (first, replace(last, total=first.own)), (first, replace(last, own=first.own))):
        assert not zoo.adds_up(replace(stats, rows=rows))


def test_what_fails_is_a_row(zoo, measured):
    assert measured(lambda: nn.Linear(4, 8), torch.ones(3, 5)).problem


def test_all_that_was_measured_is_right(zoo):
    text = (BENCHMARKS / "results" / zoo.STUDY.file).read_text(encoding="utf-8")
    from zoo_running import read

    rows = read(text.splitlines(), zoo.Row)
    assert len(rows) > 300
    assert [row.model for row in rows if not zoo.holds(row)] == []
