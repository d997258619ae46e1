"""Layers as data: every class of torch.nn and of this library comes back as what it was."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes import naming, specs
from torchsurgery.recipes.strict import Field
from torchsurgery.recipes.structure import structure_of
from torchsurgery.recipes.values import Tensors, Unwritable

sys.path.insert(0, str(Path(__file__).parents[1] / "layers"))
from cases import CASES

NOT_REGISTERED = {"DataParallel", "Container", "Module", "ParameterList", "ParameterDict"}


def data_of(layer, old=None, place="here", describing=None):
    describing = describing or specs.Describing(Tensors())
    data = describing.describe(layer, old, place)
    return json.loads(json.dumps(data)), describing.tensors.found


def built(data, tensors=None, old=None, name="here"):
    specs.checked(Field(data, "test"))
    return specs.Building(dict(tensors or {})).build(data, old or nn.Identity(), name)


@pytest.mark.filterwarnings("ignore:`NLLLoss2d` has been deprecated:FutureWarning")
@pytest.mark.parametrize("name", sorted(set(CASES) - NOT_REGISTERED))
def test_every_class_of_torch(name):
    kind = getattr(nn, name)
    if naming.entry_of(f"torch.nn.{name}") is None:
        assert name.startswith("Lazy"), name
        return
    for config in CASES[name].configs():
        layer = kind(**config)
        try:
            data, tensors = data_of(layer)
        except Unwritable:
            # A function or an object of options that has no key: who uses it registers one.
            assert any(callable(v) or type(v).__module__.startswith("torch") for v in config.values()), (name, config)
            continue
        assert structure_of(built(data, tensors)) == structure_of(layer), config


@pytest.mark.parametrize(
    "layer",
    [
        ts.FrozenBatchNorm(4),
        ts.LowRankLinear(8, 6, rank=2),
        ts.like(nn.Conv2d(4, 6, 3), ts.LowRankConv2d, rank=2),
        ts.SeparateAttention(8, 2),
        nn.Sequential(nn.Linear(2, 2), nn.ModuleList([nn.ReLU()]), nn.ModuleDict({"a": nn.Tanh()})),
        nn.ModuleDict(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_librarys_own_and_containers(layer):
    assert structure_of(built(*data_of(layer))) == structure_of(layer)


def test_the_old_layer_and_its_parts_go_along():
    old = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    data, _ = data_of(nn.Sequential(old[0], nn.Dropout(0.2), old), old)
    assert data["parts"][0] == ["0", {"old": "0"}] and data["parts"][2] == ["2", {"old": ""}]
    new = built(data, old=old)
    assert new[0] is old[0] and new[2] is old


def test_one_layer_in_several_places():
    describing, shared = specs.Describing(Tensors()), nn.ReLU()
    first, _ = data_of(shared, None, "a", describing)
    second, _ = data_of(nn.Sequential(shared), None, "b", describing)
    assert second["parts"] == [["0", {"placed": "a", "path": ""}]]
    building = specs.Building({})
    building.placed["a"] = building.build(first, nn.Identity(), "a")
    assert building.build(second, nn.Identity(), "b")[0] is building.placed["a"]
    with pytest.raises(ts.RecipeError, match="nothing was put at 'a'"):
        specs.Building({}).build(second, nn.Identity(), "b")


def test_arguments_that_are_defaults_are_left_out():
    assert data_of(nn.Linear(2, 3))[0]["arguments"] == {"in_features": 2, "out_features": 3}
    assert data_of(nn.Linear(2, 3, bias=False))[0]["arguments"]["bias"] is False


def test_what_no_constructor_makes_can_not_be_written():
    class Odd(nn.Module):
        def __init__(self, secret):
            super().__init__()
            self.kept = secret * 2

    with pytest.raises(Unwritable, match="Odd"):
        data_of(Odd(3))


def test_a_factory_gets_the_old_layer_and_its_name():
    seen = []

    @ts.register("test/factory")
    def factory(old, name, width):
        seen.append((old, name))
        return nn.Linear(width, width)

    old = nn.ReLU()
    new = built({"factory": "test/factory", "arguments": {"width": 4}}, old=old, name="layer.act")
    assert new.in_features == 4 and seen == [(old, "layer.act")]


def test_schemas_of_registered_classes():
    @ts.register("test/scaled", schema={"width": range(1, 8), "how": str, "share": lambda value: 0 <= value < 1})
    class Scaled(nn.Module):
        def __init__(self, width, how="a", share=0.5):
            super().__init__()
            self.width, self.how, self.share = width, how, share

    def call(**arguments):
        return built({"class": "test/scaled", "arguments": arguments})

    assert call(width=7, how="b", share=0.25).width == 7
    for arguments in ({"width": 8}, {"width": True}, {"width": 2, "how": 3}, {"width": 2, "share": 2.0}):
        with pytest.raises(ts.RecipeError, match="as registered for test/scaled"):
            call(**arguments)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"class": "torch.nn.Linear", "arguments": {"in": 3}}, "arguments of torch.nn.Linear"),
        ({"class": "torch.nn.Linear", "arguments": {"in_features": "3"}}, "expected a whole number"),
        ({"class": "torch.nn.Linear", "arguments": []}, "an object"),
        ({"class": "torch.nn.Linear", "parts": []}, "a container"),
        ({"class": "torch.nn.Sequential", "parts": [["a.b", {"old": ""}]]}, "the name of a part"),
        ({"class": "torch.nn.Sequential", "parts": [["a"]]}, "a list of 2"),
        ({"class": 3, "arguments": {}}, "the key of a class"),
        ({"old": 3}, "a path"),
        ({"placed": "a"}, "a member 'path'"),
        ([], "an object"),
    ],
)
def test_bad_data(data, match):
    with pytest.raises(ts.RecipeError, match=match):
        built(data)


def test_what_a_class_refuses_is_said_with_the_call():
    with pytest.raises(ts.RecipeError, match=r"Conv2d\(in_channels=3, out_channels=4, kernel_size=1, groups=2\)"):
        arguments = {"in_channels": 3, "out_channels": 4, "kernel_size": 1, "groups": 2}
        built({"class": "torch.nn.Conv2d", "arguments": arguments})
    with pytest.raises(ts.RecipeError, match="has no part 'b'"):
        built({"old": "b"}, old=nn.Sequential(nn.ReLU()))


def test_tensors_among_arguments():
    data, tensors = data_of(nn.CrossEntropyLoss(torch.tensor([1.0, 2.0])))
    assert data["arguments"]["weight"] == {"tensor": "0"}
    assert torch.equal(built(data, tensors).weight, torch.tensor([1.0, 2.0]))
    with pytest.raises(ts.RecipeError, match="the tensor '0'"):
        built(data)
