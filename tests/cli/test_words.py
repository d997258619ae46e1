"""What the values of a recipe stand for."""

from argparse import Namespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from torchsurgery.cli.recipes import Step
from torchsurgery.cli.words import argument_of, class_of, classes_of, score_of, target_of
from torchsurgery.recipes.naming import entry_of

STEP = Step("replace", None, "r.yaml, line 1", {"with": "r.yaml, line 2"})


@pytest.fixture
def plan(resnet18):
    return ts.plan(resnet18)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("BatchNorm2d", nn.BatchNorm2d),
        ("nn.ReLU", nn.ReLU),
        ("torch.nn.Linear", nn.Linear),
        ("layer*.*.conv1", "layer*.*.conv1"),
        ("re:fc|conv1", "re:fc|conv1"),
        ("F.relu", F.relu),
        ("torch.relu", torch.relu),
        (["ReLU", "fc"], (nn.ReLU, "fc")),
        ("Mine", "Mine"),
    ],
)
def test_targets(plan, value, target):
    assert target_of(STEP, "target", value, plan, {}) == target


def test_a_class_of_ones_own_as_target(plan):
    assert target_of(STEP, "target", "Mine", plan, {"Mine": nn.GELU}) is nn.GELU


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"type": "Conv2d", "kernel_size": 1}, 3),
        ({"type": "Conv2d", "kernel_size": [1, 1]}, 3),
        ({"type": "Conv2d", "name": "layer4.**"}, 5),
        ({"type": "Conv2d", "except": ["conv1", "layer*.**"]}, 0),
        ({"type": "BatchNorm2d", "except": "layer*.**"}, 1),
        ({"num_features": 512}, 5),
    ],
)
def test_targets_that_say_more(plan, value, count):
    assert len(target_of(STEP, "target", value, plan, {})) == count


def test_a_target_that_says_more_sees_what_earlier_edits_leave(plan):
    later = plan.replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
    selected = target_of(STEP, "target", {"type": "GroupNorm", "num_channels": 512}, later, {})
    assert len(later.replace(selected, nn.Identity).changes) == 20 + 5


@pytest.mark.parametrize("value", [3, None, [], {}, {1: 2}, True])
def test_what_is_no_target(plan, value):
    with pytest.raises(ts.RecipeError, match="is no target"):
        target_of(STEP, "target", value, plan, {})


@pytest.mark.parametrize(("name", "kind"), [("GELU", nn.GELU), ("nn.GELU", nn.GELU), ("torch.nn.GELU", nn.GELU)])
def test_classes(name, kind):
    assert class_of(STEP, name, {}) is kind


@pytest.mark.parametrize("name", ["GELLU", "os.system", "torch.nn.functional.relu", "Module.__init__", 3, None])
def test_what_is_no_class(name):
    with pytest.raises(ts.RecipeError, match="is no layer of") as caught:
        class_of(STEP, name, {})
    assert caught.value.place == "r.yaml, line 2"


def given(*classes):
    return Namespace(classes=list(classes))


def test_classes_of_ones_own():
    assert classes_of(given("torch.nn:GELU", "Act=torch.nn:SiLU")) == {"GELU": nn.GELU, "Act": nn.SiLU}
    with pytest.raises(ts.SourceError, match="is no class of layers"):
        classes_of(given("torch:pi"))


def test_their_code_is_run_once_a_command_and_they_are_registered(tmp_path):
    (tmp_path / "own.py").write_text("from torch import nn\nclass OwnAct(nn.ReLU): pass\nprint('run')\n")
    arguments = given(f"tests/OwnAct={tmp_path}/own.py:OwnAct")
    kind = classes_of(arguments)["tests/OwnAct"]
    assert classes_of(arguments)["tests/OwnAct"] is kind
    assert entry_of("tests/OwnAct").thing is kind


def test_arguments():
    assert argument_of([3, [1, 2]]) == (3, (1, 2))
    assert argument_of("relu") == "relu"
    for written in ({"divisor": 32}, "divisor(32)", "ts.divisor(32)"):
        assert ts.like(nn.BatchNorm2d(48), nn.GroupNorm, num_groups=argument_of(written)).num_groups == 24


def test_scores():
    assert score_of(STEP, "l1") is ts.importance.l1
    with pytest.raises(ts.RecipeError, match="scores no channels"):
        score_of(STEP, "l3")
