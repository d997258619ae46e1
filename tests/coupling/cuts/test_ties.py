"""What a cut takes along, as data for the eye."""

import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.cuts.ties import ties_of


def test_of_a_chain():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    (tied,) = ts.plan(net, torch.randn(1, 3, 8, 8)).prune("0", 2).edits[0].ties
    assert (tied.channels, tied.gone) == (8, 2)
    assert tied.giving == ("0", "1")
    assert tied.taking == ("3",)
    assert [(path[0], path[-1]) for path in tied.paths] == [("0", "1"), ("0", "3")]
    assert tied.paths[0] == ("0", "batch_norm (1)", "1")


def test_only_groups_that_lose_something_in_the_order_of_the_model(resnet18, images):
    edit = ts.plan(resnet18, images).prune(("layer2.0.conv1", "layer1.0.conv1"), 0.5).edits[0]
    assert [tied.giving[0] for tied in edit.ties] == ["layer1.0.conv1", "layer2.0.conv1"]
    assert [(tied.channels, tied.gone) for tied in edit.ties] == [(64, 32), (128, 64)]


def test_every_layer_that_loses_channels_is_in_one(resnet18, images):
    plan = ts.plan(resnet18, images).prune(amount=0.25)
    named = {name for tied in plan.edits[0].ties for name in (*tied.giving, *tied.taking)}
    assert named >= {name for change in plan.changes for name in change.names if change.origins}


def test_ways_lead_through_what_ties(resnet18, images):
    (tied,) = ts.plan(resnet18, images).prune("layer1.0.conv2", 0.25).edits[0].ties
    assert len(tied.paths) <= 12
    ways = {path[-1]: path[1:-1] for path in tied.paths}
    assert any(step.startswith("add") for step in ways["layer1.1.conv2"])


def test_told_by_what_is_left_they_are_the_same(resnet18, images):
    coupling = ts.trace(resnet18, images)
    for plan in (
        ts.plan(resnet18, images).prune(("layer1.0.conv1", "layer1.0.conv2"), 0.25),
        ts.plan(resnet18, images).prune(amount=0.5),
        ts.plan(resnet18, images).widen("layer1.0.conv1", 96),
    ):
        edit = plan.edits[0]
        assert edit.ties
        assert tuple(ties_of(coupling, edit.kept)) == edit.ties


def test_of_another_model_nothing_is_told():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    coupling = ts.trace(net, torch.randn(1, 2))
    assert not list(ties_of(coupling, {"0.weight": {0: (0, 9)}, "missing.weight": {0: (0,)}, "0.bias": {3: (0,)}}))
