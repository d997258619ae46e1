"""What the files of a save say: the recipe with its structures, and the state of the model."""

import json

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.strict import canonical
from torchsurgery.storage.contents import About, Contents, State, read_contents, write_contents
from torchsurgery.storage.folder import transaction
from torchsurgery.storage.opening import opened


def altered():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    ts.prune(net, "0", 0.5, example_inputs=torch.ones(1, 4))
    net[0].requires_grad_(False)
    net.eval()[1].train()
    return net


def contents(net):
    return Contents(ts.recipe_of(net), State.of(net), About.of(net, "torchvision:x"))


def written(folder, what, **changes):
    """A save of these contents, with members of its document changed."""
    with transaction(folder) as under_way:
        write_contents(under_way, what)
        under_way.commit(None)
    if changes:
        with opened(folder) as save:
            document = json.loads(save.read("recipe", 10**6)) | changes
            structure = save.read("structure", 10**6)
            indices = [(folder / file.name).read_bytes() for file in save.files.get("indices", ())]
        with transaction(folder) as under_way:
            under_way.add("recipe", "json", lambda sink: sink.write(canonical(document)))
            under_way.add("structure", "txt", lambda sink: sink.write(structure))
            for data in indices:
                under_way.add("indices", "safetensors", lambda sink, data=data: sink.write(data))
            under_way.commit(None)


def read(folder):
    with opened(folder) as save:
        return read_contents(save)


def test_there_and_back(tmp_path):
    net = altered()
    what = contents(net)
    written(tmp_path / "save", what)
    again = read(tmp_path / "save")
    assert again.state == what.state == State(frozenset({"0.weight", "0.bias"}), False, frozenset({"1"}))
    assert again.about == what.about
    assert again.recipe.base == what.recipe.base and again.recipe.result == what.recipe.result
    assert again.recipe.json == what.recipe.json
    for mine, theirs in zip(again.recipe.operations, what.recipe.operations, strict=True):
        assert all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in theirs.tensors)


def test_modes(tmp_path):
    net = altered()
    state = State.of(net)
    net.train()
    state.set_modes(net)
    assert [m.training for m in net.modules()] == [False, False, True, False]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"state": {"frozen": [], "training": 1, "otherwise": []}}, r"state\.training"),
        ({"state": {"frozen": [3], "training": True, "otherwise": []}}, r"state\.frozen\[0\]"),
        ({"state": {"frozen": []}}, "state"),
        ({"about": {"model": 3}}, "about"),
        ({"base": "0" * 64}, "the sha256 of the structure beside it"),
        ({"result": None}, "the sha256 of the structure beside it"),
        ({"weights_only": False}, "no member but"),
    ],
)
def test_what_is_wrong_is_said_with_its_file_and_path(changes, match, tmp_path):
    written(tmp_path / "save", contents(altered()), **changes)
    with pytest.raises(ts.RecipeError, match=match) as caught:
        read(tmp_path / "save")
    assert str(caught.value).startswith(str(tmp_path / "save" / "recipe-"))


def test_a_recipe_without_structures(tmp_path):
    with pytest.raises(ts.RecipeError, match="without its structures"):
        written(tmp_path / "save", Contents(ts.Recipe(), None, About.of(altered(), None)))
    assert not (tmp_path / "save").exists()


def test_names_that_no_line_can_hold(tmp_path):
    net = nn.Sequential()
    net.add_module("a\tb", nn.ReLU())
    with pytest.raises(ts.RecipeError, match="a tab or the end of a line"):
        ts.save(net, tmp_path / "save", recipe=ts.recipe_of(net))


def test_a_recipe_that_is_too_long(tmp_path, monkeypatch):
    from torchsurgery.storage import contents as module

    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with pytest.raises(ts.RecipeError, match="may have 100"):
        written(tmp_path / "save", contents(altered()))
    assert not (tmp_path / "save").exists()
