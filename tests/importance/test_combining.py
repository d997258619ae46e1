"""Importances of several others, and plain functions of the user's."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.importance import Slice, name_of

SLICE = [Slice("0.weight", 0, "out", torch.tensor([[1.0, 2.0], [3.0, 0.0]]), None, torch.tensor([[0], [1]]), 2)]


def first(slices):
    return slices[0].weight[:, 0]


def second(slices):
    return slices[0].weight[:, 1]


@pytest.mark.parametrize(
    ("by", "scores", "name"),
    [
        (ts.importance.normalised(first), [0.5, 1.5], "normalised(first)"),
        (ts.importance.total(first, second), [2.5, 1.5], "total(first, second)"),
        (ts.importance.product(first, second), [2.0, 0.0], "product(first, second)"),
        (
            ts.importance.total(ts.importance.product(first, second), first),
            [2.5, 1.5],
            "total(product(first, second), first)",
        ),
    ],
)
def test_by_hand(by, scores, name):
    assert by(SLICE).tolist() == scores
    assert name_of(by) == name


def test_of_what_is_zero_everywhere():
    assert ts.importance.normalised(lambda slices: torch.zeros(2))(SLICE).tolist() == [0.0, 0.0]


def test_in_a_plan():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(2, 3)
    by = ts.importance.product(ts.importance.l2, ts.importance.activation(net, [x]))
    plan = ts.plan(net, x).prune("0", 0.5, by=by)
    assert "by product(l2, activation)" in str(plan)
    plan.apply()
    assert net[0].out_features == 2


def test_a_lambda_of_ones_own():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].bias.copy_(torch.tensor([4.0, 1.0, 3.0, 2.0]))
    plan = ts.plan(net, torch.randn(2, 3)).prune(
        "0", 2, by=lambda slices: next(s.weight[:, 0] for s in slices if s.name.endswith("bias"))
    )
    assert plan.edits[0].kept["0.weight"][0] == (0, 2)


def test_on_meta():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to("meta")
    by = ts.importance.total(ts.importance.l1, ts.importance.l2)
    ts.prune(net, "0", 0.5, by=by, example_inputs=torch.randn(1, 3))
    assert net[0].out_features == 2
