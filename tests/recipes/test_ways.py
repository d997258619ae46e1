"""Conversions by name."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.assembling import build
from torchsurgery.recipes import ways
from torchsurgery.recipes.strict import Field
from torchsurgery.recipes.values import Tensors

CALLS = {
    "inputs": (nn.Conv2d(3, 4, 3), {"channels": 5, "fill": "repeat"}),
    "channels": (nn.BatchNorm2d(4), {"channels": 6}),
    "outputs": (nn.Linear(3, 4), {"rows": (2, None, 0), "why": "test"}),
    "low rank": (nn.Linear(8, 8), {"rank": 2, "separated": False}),
    "axes": (nn.Conv2d(3, 4, 3), {"own": 2, "new": 3, "centred": False, "kernel": None, "strided": True}),
    "frozen": (nn.BatchNorm2d(4), {"trainable": True}),
}


def test_there_is_a_call_of_each():
    assert CALLS.keys() == ways.WAYS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_written_checked_and_read(name):
    _, arguments = CALLS[name]
    tensors = Tensors()
    data = ways.written((name, arguments), tensors)
    ways.WAYS[name].check(Field(data["arguments"], "test"))
    assert ways.read(data, tensors.found) == (name, arguments)


@pytest.mark.parametrize("name", CALLS)
def test_a_converter_does_what_its_way_says(name):
    old, arguments = CALLS[name]
    converter = ways.converter("words", name, arguments)
    assert converter.way("anywhere") == (name, arguments)
    assert converter.__name__ == "words"
    torch.manual_seed(0)
    one = build(converter(old, "anywhere"), old)
    torch.manual_seed(0)
    other = build(ways.WAYS[name].decide(old, **arguments), old)
    assert type(one) is type(other)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_arguments_may_differ_from_layer_to_layer():
    converter = ways.converter("words", "channels", lambda name: {"channels": len(name)})
    assert converter(nn.BatchNorm2d(4), "four").config is not None
    assert converter.way("abc") == ("channels", {"channels": 3})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("inputs", {"channels": 0}),
        ("inputs", {"fill": "ones"}),
        ("channels", {"channels": True}),
        ("outputs", {"rows": [1, 2]}),
        ("outputs", {"why": 3}),
        ("low rank", {"rank": 0}),
        ("low rank", {"separated": 1}),
        ("axes", {"new": 4}),
        ("axes", {"kernel": 10**6}),
        ("axes", {"strided": None}),
        ("frozen", {"trainable": "yes"}),
        ("frozen", {"more": 1}),
    ],
)
def test_bad_arguments(name, change):
    data = ways.written((name, CALLS[name][1]), Tensors())["arguments"] | change
    with pytest.raises(ts.RecipeError):
        ways.WAYS[name].check(Field(data, "test"))


def test_rows_that_are_none():
    data = ways.written(("outputs", CALLS["outputs"][1]), Tensors())
    for rows in (None, torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2), torch.tensor([-2]), torch.tensor([])):
        with pytest.raises(ts.RecipeError, match="the list of rows '0'"):
            ways.read(data, {} if rows is None else {"0": rows})
    with pytest.raises(ts.ConfigError, match="beyond"):
        ways.WAYS["outputs"].decide(nn.Linear(3, 4), rows=(9,), why="")


def test_layers_that_a_way_does_not_fit():
    with pytest.raises(ts.ConfigError):
        ways.WAYS["low rank"].decide(nn.ReLU(), rank=2, separated=False)
    with pytest.raises(ts.ConfigError):
        ways.WAYS["frozen"].decide(nn.ReLU(), trainable=False)
    with pytest.raises(ts.ConfigError, match="needs no change"):
        ways.WAYS["axes"].decide(nn.ReLU(), **CALLS["axes"][1])
