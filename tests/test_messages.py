"""How errors read: what and where in the first line, then the particulars, last a line of code that works.

Each bad call of BAD is made on a fresh ResNet-18, which must be the same afterwards.
"""

import pytest
import torch
from torch import nn

import torchsurgery as ts

# call on the model, the kind of error, what the first line names, what the message says somewhere
BAD = {
    "nothing matched": (lambda m: ts.select(m, "layer1.0.conv3"), ts.SelectionError, "layer1.0.conv3", "layer1.0.conv"),
    "no such type": (lambda m: ts.select(m, nn.Dropout), ts.SelectionError, "Dropout", "BatchNorm2d"),
    "not a module type": (lambda m: ts.select(m, int), ts.SelectionError, "int", "nn.Module"),
    "another count": (lambda m: ts.select(m, nn.BatchNorm2d).expect(21), ts.SelectionError, "21", "20"),
    "groups don't divide": (
        lambda m: ts.replace(m, "bn1", nn.GroupNorm, num_groups=7),
        ts.ConfigError,
        "bn1",
        "ts.divisor",
    ),
    "unknown argument": (lambda m: ts.replace(m, "bn1", nn.GroupNorm, groups=8), ts.ConfigError, "bn1", "num_groups"),
    "a factory of nothing": (lambda m: ts.replace(m, "fc", lambda old: None), ts.PlanError, "fc", "None"),
    "already in the model": (lambda m: ts.replace(m, "bn1", m.layer1[0].bn1), ts.PlanError, "layer1.0.bn1", "deepcopy"),
}


def state(model):
    """What must not change: which objects, which versions, which mode, which random state."""
    modules = [(name, id(module), module.training) for name, module in model.named_modules(remove_duplicate=False)]
    tensors = [(name, id(tensor), tensor._version) for name, tensor in model.state_dict(keep_vars=True).items()]
    return modules, tensors, torch.random.get_rng_state().tolist()


@pytest.mark.parametrize(("call", "kind", "first", "somewhere"), BAD.values(), ids=BAD)
def test_message(resnet18, call, kind, first, somewhere):
    before = state(resnet18)
    with pytest.raises(kind) as caught:
        call(resnet18)
    error, lines = caught.value, str(caught.value).splitlines()
    assert first in lines[0], "the first line says what and where"
    assert somewhere in str(error)
    assert len(lines) >= 2, "more than one line: what is expected, and a way out"
    assert error.way_out, "there is a way out"
    assert str(error).endswith(error.way_out), "and it comes last"
    assert all(len(line) <= 160 for line in lines)
    assert state(resnet18) == before
