"""The benchmark of saves edits by every verb, and sees every bit that comes back otherwise."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import torchsurgery as ts

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
X = torch.ones(2, 3, 16, 16)


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import zoo_keep

    yield zoo_keep
    for name in [name for name in sys.modules if name.startswith("zoo_")]:
        sys.modules.pop(name, None)


def build():
    def block(into, out):
        return nn.Sequential(nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 1))

    return nn.Sequential(
        block(3, 8), block(8, 8), block(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(16, 4)
    )


@pytest.fixture
def subject(zoo):
    return zoo.Subject("here", "net", build, lambda model: ((X,), {}))


@pytest.fixture
def saved(zoo, tmp_path):
    """A model that was edited, with what its loader is to find."""
    model = build().eval()
    done, refused = zoo.edited(model, (X,), zoo.logits)
    zoo.trained(model)
    ts.save(model, tmp_path / "save")
    expected = {"told": zoo.told(model), "answers": zoo.answer_of(model, (X,), {})}
    torch.save(expected, tmp_path / "expected")
    return tmp_path, expected, done, refused


def test_every_verb_is_done_or_told_why_not(saved):
    _, _, done, refused = saved
    import zoo_chains

    assert {*done, *refused} == set(zoo_chains.VERBS)
    assert {"replace", "activations", "insert", "wrap", "convert", "fold", "prune", "widen"} <= set(done)
    assert all(refused.values())


def test_nothing_is_as_it_was_initialised(zoo):
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    zoo.trained(model)
    for name, tensor in model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name
        assert "var" not in name or (tensor > 0).all()


def test_what_is_loaded_is_the_same(zoo, subject, saved):
    found = zoo._compared(subject, saved[0])
    assert (found["tensors"], found["answers"]) == ("same", "same")


def test_another_bit_would_be_seen(zoo, subject, saved):
    folder, expected, *_ = saved
    name = next(name for name, what in expected["told"].items() if name.endswith("weight"))
    expected["told"][name][-1] = "another digest"
    expected["answers"][0] = expected["answers"][0] + 1e-7
    torch.save(expected, folder / "expected")
    found = zoo._compared(subject, folder)
    assert found["tensors"].startswith(f"{name}: ") and found["answers"] == "differ"


def test_layouts_ties_and_modes_are_told(zoo):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    before = zoo.told(model)
    for alter in (
        lambda: model.to(memory_format=torch.channels_last),
        lambda: model[0].requires_grad_(False),
        lambda: setattr(model[1], "weight", model[0].weight),
        lambda: model[0].eval(),
        lambda: setattr(model[1], "bias", None),
    ):
        alter()
        assert zoo._difference(zoo.told(model), before) != "same"
        before = zoo.told(model)


def test_a_model_that_fails_is_a_row(zoo):
    row = zoo.measure(zoo.Subject("here", "net", build, lambda model: ((torch.ones(2, 5),), {})))
    assert row.problem and row.tensors == row.answers == ""
