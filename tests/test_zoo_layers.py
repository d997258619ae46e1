"""The zoo benchmark sees what it is there to see, and its committed results say what is claimed of them."""

import csv
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = (BENCHMARKS / "results" / "zoo_layers.csv").read_text(encoding="utf-8")
ROWS = list(csv.DictReader(line for line in RESULTS.splitlines() if not line.startswith("#")))


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import zoo_layers

    yield zoo_layers
    for name in ("zoo_layers", "zoo_models"):
        sys.modules.pop(name, None)


@pytest.fixture
def subject(zoo):
    """A model as the zoo has them, of the layers that are given."""

    def made(*layers):
        return zoo.Subject("here", "net", lambda: nn.Sequential(*layers), lambda model: ((torch.ones(2, 4),), {}))

    return made


class Forgets(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.double = 2 * factor

    def forward(self, x):
        return x * self.double


class Adds(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x + self.number


class Draws(nn.Module):
    def forward(self, x):
        torch.seed()
        return x + torch.rand_like(x) if self.training else x


def test_rebuilt_and_refused(zoo, subject):
    row = zoo.measure(subject(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), Forgets(3.0)))
    assert (row.layers, row.rebuilt, row.refused, row.params) == (4, 3, 1, 28)
    assert row.reasons == "1× Forgets: its argument factor is not kept in an attribute of that name."
    # Two outputs of 2×4; and of the BatchNorm the mean, the variance and the number of batches.
    assert (row.numbers, row.difference, row.problem) == (2 * 8 + 9, "0", "")


def test_a_wrong_layer_would_be_seen(zoo, subject, monkeypatch):
    monkeypatch.setattr(zoo.ts, "config_of", lambda layer: {"number": 0.5})
    row = zoo.measure(subject(Adds(0.1)))
    assert float(row.difference) == pytest.approx(0.4)


def test_what_no_seed_decides_is_compared_in_eval(zoo, subject):
    row = zoo.measure(subject(nn.Linear(4, 4), Draws()))
    assert (row.numbers, row.difference) == (8, "0")
    assert row.problem.startswith("no two runs of it are the same")


def test_what_fails_is_a_row(zoo, subject):
    row = zoo.measure(subject(nn.Linear(5, 5)))
    assert row.difference == ""
    assert row.problem.startswith("RuntimeError: ")
    assert "shapes cannot be multiplied (2x4 and 5x5)" in row.problem


def test_every_model_is_in_the_results(zoo):
    assert [(row["library"], row["model"]) for row in ROWS] == [(s.library, s.name) for s in zoo.subjects()]


def test_results():
    assert {row["difference"] for row in ROWS} == {"0"}
    assert sum(row["library"] == "transformers" for row in ROWS) >= 20
    layers, refused = (sum(int(row[key]) for row in ROWS) for key in ("layers", "refused"))
    assert refused < 0.01 * layers
