"""Whether a model still is what a plan was made for, and what a surgery has left."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.standing import last_placings, refuse_if_moved, refuse_if_stale


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


def test_of_two_steps_for_one_place_the_later_one_counts(net):
    plan = ts.plan(net).replace(nn.ReLU, nn.GELU()).replace(nn.GELU, nn.SiLU()).replace("0", nn.Linear(2, 3))
    assert [(change.name, type(step.new)) for change, step in last_placings(plan.changes)] == [
        ("1", nn.SiLU),
        ("0", nn.Linear),
    ]


@pytest.mark.parametrize(
    ("alter", "name"),
    [
        (lambda net: net.__setitem__(0, nn.Linear(2, 3)), "0 is no longer the layer"),
        (lambda net: setattr(net[0], "weight", nn.Parameter(torch.ones(3, 2))), "0.weight is no longer the tensor"),
        (lambda net: setattr(net[2], "bias", nn.Parameter(torch.ones(2))), "2.bias is no longer the tensor"),
    ],
    ids=["another layer", "another tensor to be sliced", "another tensor to be carried"],
)
def test_a_plan_for_what_is_no_longer_there(net, alter, name):
    plan = ts.plan(net, torch.ones(1, 2)).prune("0", channels=[0])
    refuse_if_stale(net, plan.changes)
    alter(net)
    with pytest.raises(ts.PlanError, match=name):
        refuse_if_stale(net, plan.changes)
    with pytest.raises(ts.PlanError, match=name):
        plan.apply()


def test_what_a_surgery_has_put_there(net):
    done = ts.prune(net, "0", channels=[0], example_inputs=torch.ones(1, 2))
    placed = last_placings(done.changes)
    refuse_if_moved(placed)
    net[0].__dict__ = dict(vars(net[0]))
    with pytest.raises(ts.SurgeryError, match="0 was changed since by other means"):
        refuse_if_moved(placed)
