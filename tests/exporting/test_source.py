"""Plain PyTorch code that makes the same change by hand: it is run here, in a namespace without this library."""

import copy

import pytest
import torch
from torch import nn

import torchsurgery as ts


class Scaled(nn.Module):
    def __init__(self, inner, times=2):
        super().__init__()
        self.inner, self.times = inner, times

    def forward(self, x):
        return self.inner(x) * self.times


class Fused(nn.ReLU):
    pass


def pruned(model, images):
    return ts.prune(model, "layer*.*.conv1", 0.25, example_inputs=images)


CASES = {
    "class": lambda m, x: ts.replace(m, nn.BatchNorm2d, nn.GroupNorm, num_groups=8),
    "subclass": lambda m, x: ts.replace(m, nn.ReLU, Fused),
    "instance": lambda m, x: ts.replace(m, "fc", nn.Linear(512, 10)),
    "shared": lambda m, x: ts.replace(m, nn.ReLU, nn.ELU(0.5), share=True),
    "kernel": lambda m, x: ts.replace(m, ts.select(m, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3),
    "insert": lambda m, x: ts.insert(m, nn.Dropout(0.1), after=nn.ReLU),
    "before": lambda m, x: ts.insert(m, nn.BatchNorm2d, before="layer1.0.conv1"),
    "remove": lambda m, x: ts.remove(m, "layer3.1"),
    "wrap": lambda m, x: ts.wrap(m, "layer1.*.conv1", Scaled, times=3),
    "lambda": lambda m, x: ts.replace(m, "fc", lambda old: nn.Sequential(nn.Dropout(0.5), old)),
    "named parts": lambda m, x: ts.replace(
        m, "fc", lambda old: nn.Sequential(__import__("collections").OrderedDict(drop=nn.Dropout(0.5), fc=old))
    ),
    "fold": lambda m, x: ts.fold(m, x),
    "prune": pruned,
    "widen": lambda m, x: ts.widen(m, "layer1.0.conv1", 80, example_inputs=x),
    "outputs": lambda m, x: ts.set_outputs(m, 10, keep=[1, 2], example_inputs=x),
    "factorize": lambda m, x: ts.factorize(m, "layer4.1.conv2", rank=8),
    "several": lambda m, x: (
        ts.plan(m).replace("fc", nn.Linear(512, 10)).remove("layer3.1").wrap("fc", nn.Sequential).apply()
    ),
}
# What is computed otherwise than carried or sliced comes from the altered model's state dict.
WITH_STATE = {"kernel", "outputs", "factorize", "widen"}


@pytest.mark.parametrize("name", CASES)
def test_the_code_makes_the_same_change(name, resnet18, images):
    base, altered = copy.deepcopy(resnet18), resnet18
    code = ts.to_source(CASES[name](altered, images))
    assert "torchsurgery" not in code
    assert ("def alter(model, state_dict):" in code) is (name in WITH_STATE)
    space = {}
    exec(compile(code, "altered.py", "exec"), space)
    by_hand = space["alter"](base, altered.state_dict()) if name in WITH_STATE else space["alter"](base)
    assert {k: v.shape for k, v in by_hand.state_dict().items()} == {
        k: v.shape for k, v in altered.state_dict().items()
    }
    if name in ("instance", "several"):  # whose new weights are drawn anew
        by_hand.load_state_dict(altered.state_dict())
    with torch.no_grad():
        assert torch.allclose(by_hand(images), altered(images), atol=1e-5)
    assert all(module.training is False for module in by_hand.modules())


def test_a_plan_before_it_is_applied(resnet18):
    code = ts.to_source(ts.plan(resnet18).replace(nn.ReLU, nn.SiLU))
    assert "fresh(nn.SiLU(inplace=True), old, model)" in code
    assert isinstance(resnet18.relu, nn.ReLU)


def test_dtype_and_ties_follow():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).bfloat16()
    model[2].weight = model[0].weight
    base = copy.deepcopy(model)
    space = {}
    exec(ts.to_source(ts.insert(model, nn.LayerNorm(4), after=nn.ReLU)), space)
    by_hand = space["alter"](base)
    assert by_hand[1].after.weight.dtype is torch.bfloat16
    assert by_hand[0].weight is by_hand[2].weight


@pytest.mark.parametrize(
    ("alter", "match"),
    [
        (lambda m, x: ts.freeze_norms(m), "FrozenBatchNorm is a layer of this library"),
        (lambda m, x: ts.replace(m, "fc", lambda old: Secret(old, 7)), "makes it"),
    ],
)
def test_what_can_not_be_written_is_refused_by_name(alter, match, resnet18, images):
    with pytest.raises(ts.PlanError, match=match):
        ts.to_source(alter(resnet18, images))


def test_forwards_that_were_rewritten(networks):
    with pytest.raises(ts.PlanError, match=r"its module's forward calls F\.relu"):
        ts.to_source(ts.replace(networks("densenet121"), nn.functional.relu, nn.GELU))


class Secret(nn.Module):
    def __init__(self, old, times=3):
        super().__init__()
        self.old, self.hidden = old, times * 2.5

    def forward(self, x):
        return self.old(x) * self.hidden
