"""Tensors come back as they lay in memory, so that kernels are chosen as before."""

import json

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.errors import RecipeError
from torchsurgery.recipes.strict import read_json
from torchsurgery.storage.layouts import laid, layout_of, read, written


@pytest.mark.parametrize(
    ("tensor", "layout"),
    [
        (torch.ones(2, 3), None),
        (torch.ones(()), None),
        (torch.ones(0, 3).t(), (1, 0)),
        (torch.ones(2, 3).t(), (1, 0)),
        (torch.ones(3, 1).t(), None),
        (torch.ones(2, 3, 4).permute(2, 0, 1), (1, 2, 0)),
        (torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last), "channels_last"),
        (torch.empty(8, 1, 3, 3, memory_format=torch.channels_last), "channels_last"),
        (torch.empty(8, 4, 1, 1, memory_format=torch.channels_last), "channels_last"),
        (torch.empty(8, 4, 3, 3, 3, memory_format=torch.channels_last_3d), "channels_last_3d"),
        (torch.ones(4, 6)[:, ::2], None),  # with gaps
        (torch.ones(1, 3).expand(2, 3), None),
    ],
)
def test_layouts(tensor, layout):
    assert layout_of(tensor) == layout
    if layout is not None:
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
        again = laid(tensor.contiguous(), layout, "it")
        assert again.stride() == tensor.stride() and torch.equal(again, tensor)


def test_layouts_as_data():
    layouts = {"a": "channels_last", "b": (1, 0), "c": "channels_last"}
    rows = written(layouts)
    assert rows == [["channels_last", ["a", "c"]], [[1, 0], ["b"]]]
    assert read(read_json(json.dumps(rows).encode(), "recipe.json").items()) == layouts


@pytest.mark.parametrize(
    "row", [["channels_first", []], [[0, 0], []], [[1], []], [[True], []], [[0, 2], ["a"]], ["channels_last", [1]], []]
)
def test_other_data(row):
    with pytest.raises(RecipeError, match=r"recipe\.json: \[0\]"):
        read(read_json(json.dumps([row]).encode(), "recipe.json").items())


def build():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Flatten())


def lying(model):
    return {name: tensor.stride() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("given", ["builder", "model"])
def test_a_model_in_channels_last(tmp_path, given):
    net = build().eval()
    ts.replace(net, nn.ReLU, nn.GELU)
    net.to(memory_format=torch.channels_last)
    net[1].weight = nn.Parameter(net[1].weight.detach().permute(1, 0, 2, 3))  # and one that only we know
    ts.save(net, tmp_path / "save")
    loaded = ts.load(tmp_path / "save", base=build if given == "builder" else build())
    x = torch.randn(2, 3, 9, 9).to(memory_format=torch.channels_last)
    assert lying(loaded) == lying(net)
    assert torch.equal(loaded(x), net(x))
    ts.save(loaded, tmp_path / "again")
    assert lying(ts.load(tmp_path / "again", base=build)) == lying(net)


def test_a_layout_for_other_axes(tmp_path):
    with pytest.raises(RecipeError, match="0 has 2 axes, and can't lie in memory as channels_last"):
        laid(torch.ones(2, 3), "channels_last", "0")
    with pytest.raises(RecipeError, match="0 has 2 axes"):
        laid(torch.ones(2, 3), (0, 2, 1), "0")


def test_what_lies_as_usual_is_not_told(tmp_path):
    net = build()
    ts.replace(net, nn.ReLU, nn.GELU)
    ts.save(net, tmp_path / "save")
    (recipe,) = (tmp_path / "save").glob("recipe-*")
    assert "layouts" not in json.loads(recipe.read_text())["state"]
