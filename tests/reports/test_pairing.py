"""Modules before and after, each beside what it was."""

import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.measuring import inspect
from torchsurgery.reports.pairing import paired


def pairs(plan, x):
    before = inspect(plan.draft.model, x)
    with plan.in_force() as model:
        after = inspect(model, x)
    return {pair.name: pair for pair in paired(plan.planned, before, after).walk()}


def test_each_module_is_beside_what_it_was(resnet18, images):
    found = pairs(
        ts.plan(resnet18).insert(nn.Dropout(0.1), after="layer1.0.relu").wrap("layer4", nn.Sequential), images
    )
    assert found["layer4.0.1.conv1"].before.name == "layer4.1.conv1"
    assert found["layer4"].before.name == found["layer4.0"].before.name == "layer4"
    assert found["layer1.0.relu.after"].before is None
    assert found["layer1.0.relu.after"].kind == "insert"
    assert found["layer1.0.relu"].words == ("ReLU", "Inserted")
    assert not found["layer4.0.1.conv1"].kind


def test_nothing_is_lost_and_nothing_is_twice(resnet18, images):
    plan = ts.plan(resnet18).replace("layer2.0", nn.Conv2d(64, 128, 1, stride=2)).wrap("layer4", nn.Sequential)
    before, found = inspect(resnet18, images), pairs(plan, images)
    seen = {pair.before.name for pair in found.values() if pair.before}
    assert seen == {row.name for row in before.rows}
    assert {name for name, pair in found.items() if pair.after is None} == {
        row.name for row in before.rows if row.name.startswith("layer2.0.")
    }
    assert found["layer2.0.conv1"].kind == "remove"


def test_several_edits_of_one_layer_are_all_told(resnet18, images):
    plan = ts.plan(resnet18, images).prune("layer1.0.conv1", 0.5).replace("layer1.0.bn1", nn.GroupNorm, num_groups=8)
    found = pairs(plan.replace("layer1.0.bn1", nn.Identity()), images)
    assert found["layer1.0.bn1"].why == "follows layer1.0.conv1, 2 replace, 3 replace"
    assert found["layer1.0.bn1"].words == ("BatchNorm2d(64)", "Identity")


def test_who_follows_without_ties_names_the_edit():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    found = pairs(
        ts.plan(nn.Sequential(layer)).replace("0.linear1", lambda old: nn.Linear(8, 16)), torch.randn(1, 3, 8)
    )
    follows = [pair for pair in found.values() if pair.kind == "follow"]
    assert [pair.why for pair in follows] == ["follows edit 1"]


def test_changed_reaches_up_to_the_root_and_no_further(resnet18, images):
    found = pairs(ts.plan(resnet18).replace("layer3.1.relu", nn.GELU), images)
    assert {name for name, pair in found.items() if pair.changed} == {"", "layer3", "layer3.1", "layer3.1.relu"}


def test_long_words_are_cut():
    class Talkative(nn.ReLU):
        def __init__(self, words):
            super().__init__()
            self.words = words

    found = pairs(ts.plan(nn.Sequential(nn.ReLU())).replace("0", Talkative("x" * 500)), torch.ones(1))
    assert max(len(words) for words in found["0"].words) <= 120
