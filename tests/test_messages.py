"""How errors read: what and where in the first line, then the particulars, last a line of code that works.

Each bad call of BAD is made on a fresh ResNet-18, which must be the same afterwards.
"""

import pytest
import torch
from torch import nn

import torchsurgery as ts

GELU = nn.GELU()
TOO_WIDE = nn.Conv2d(128, 64, 3, padding=1)

# call on the model, the kind of error, what the first line names, what the message says somewhere
BAD = {
    "nothing matched": (lambda m: ts.select(m, "layer1.0.conv3"), ts.SelectionError, "layer1.0.conv3", "layer1.0.conv"),
    "no such type": (lambda m: ts.select(m, nn.Dropout), ts.SelectionError, "Dropout", "BatchNorm2d"),
    "not a module type": (lambda m: ts.select(m, int), ts.SelectionError, "int", "nn.Module"),
    "another count": (lambda m: ts.select(m, nn.ReLU).expect(10), ts.SelectionError, "10", "layer1.0.relu"),
    "groups don't divide": (
        lambda m: ts.replace(m, "bn1", nn.GroupNorm, num_groups=7),
        ts.ConfigError,
        "bn1",
        "ts.divisor",
    ),
    "unknown argument": (lambda m: ts.replace(m, "bn1", nn.GroupNorm, groups=8), ts.ConfigError, "bn1", "num_groups"),
    "a factory of nothing": (lambda m: ts.replace(m, "fc", lambda old: None), ts.PlanError, "fc", "None"),
    "already in the model": (lambda m: ts.replace(m, "bn1", m.layer1[0].bn1), ts.PlanError, "layer1.0.bn1", "deepcopy"),
    "a pattern without a match": (lambda m: ts.remove(m, "layer[56].**"), ts.SelectionError, "layer[56].**", "'**'"),
    "a factory of another width": (
        lambda m: ts.replace(m, "layer1.0.conv1", lambda old: TOO_WIDE),
        ts.PlanError,
        "layer1.0.conv1",
        "expected 64",
    ),
    "a missing argument": (lambda m: ts.replace(m, "bn1", nn.GroupNorm), ts.ConfigError, "bn1", "num_groups"),
    "arguments for an instance": (
        lambda m: ts.replace(m, "relu", GELU, inplace=True),
        ts.PlanError,
        "relu",
        "give the class",
    ),
    "a wrapper that forgets": (
        lambda m: ts.wrap(m, "fc", lambda old: GELU),
        ts.PlanError,
        "fc",
        "self.inner = old",
    ),
    "nowhere to insert": (lambda m: ts.insert(m, GELU), ts.PlanError, "insert", "after=nn.ReLU"),
    "an instance for the model": (lambda m: ts.replace(m, "", GELU), ts.PlanError, "the model", "model = new"),
    "no optimizer": (
        lambda m: ts.plan(m).remove("relu").apply(optimizer=m),
        ts.PlanError,
        "ResNet",
        "torch.optim.AdamW",
    ),
    "no wrapper": (lambda m: ts.wrap(m, "fc", 3), ts.PlanError, "int", "ts.wrap(model, nn.Linear, Wrapper)"),
    "neither class nor factory": (lambda m: ts.replace(m, "fc", 3), ts.PlanError, "fc", "nn.GELU"),
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


def message(call, model):
    with pytest.raises(ts.SurgeryError) as caught:
        call(model)
    return f"{type(caught.value).__name__}: {caught.value}\n"


def test_all_of_them_as_they_read(resnet18, golden):
    texts = [f"# {title}\n{message(call, resnet18)}" for title, (call, *_) in BAD.items()]
    golden("errors.txt", "\n".join(texts))


SCRIPTED = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_a_model_in_script_form():
    before = SCRIPTED(torch.ones(1, 2))
    with pytest.raises(ts.SurgeryError) as caught:
        ts.replace(SCRIPTED, "1", nn.GELU())
    assert "1" in str(caught.value).splitlines()[0]
    assert "TorchScript" in str(caught.value)
    assert "torch.jit.script(model)" in caught.value.way_out
    assert torch.equal(SCRIPTED(torch.ones(1, 2)), before)
