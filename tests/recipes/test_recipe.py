"""Operations in order, between two structures; and the document that they are written as."""

import json

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.recipe import Recipe, read_recipe
from torchsurgery.recipes.strict import canonical


def net():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def test_what_is_printed():
    model = net()
    done = ts.plan(model).replace(nn.Linear, nn.Linear, bias=False).remove("1").apply()
    assert repr(done.recipe) == "Recipe of 2 operations"
    assert str(done.recipe).splitlines() == ["Recipe of 2 operations", "  replace 0, 2", "  remove 1"]
    assert len(done.recipe) == 2


def test_the_document_is_canonical_and_read_as_what_it_was():
    recipe = ts.replace(net(), nn.ReLU, nn.GELU).recipe
    document = json.loads(recipe.json)
    assert recipe.json.encode() == canonical(document)
    assert document["format"] == "torchsurgery recipe" and document["version"] == 1
    again, _ = read_recipe(recipe.json.encode(), "x")
    assert [op.data for op in again.operations] == [op.data for op in recipe.operations]
    assert document["base"] == recipe.base.sha256 and document["result"] == recipe.result.sha256


def test_recipes_chain():
    model = net()
    first = ts.replace(model, nn.ReLU, nn.GELU).recipe
    second = ts.insert(model, nn.Dropout, after=nn.GELU).recipe
    both = first + second
    assert len(both) == 2 and both.base == first.base and both.result == second.result
    assert both.json == ts.recipe_of(model).json
    with pytest.raises(ts.RecipeError, match="don't follow each other: they differ at 1"):
        second + first


def test_a_surgery_that_was_undone_leaves_nothing():
    model = net()
    ts.replace(model, nn.ReLU, nn.GELU).undo()
    assert len(ts.recipe_of(model)) == 0
    assert ts.recipe_of(model).base == ts.recipe_of(model).result


def test_what_was_altered_otherwise_is_found():
    model = net()
    ts.replace(model, nn.ReLU, nn.GELU)
    model[0].bias = None
    with pytest.raises(ts.RecipeError, match=r"0 was altered by other means") as caught:
        ts.recipe_of(model)
    assert caught.value.name == "0"
    ts.remove(model, "1")  # a later surgery doesn't hide it
    with pytest.raises(ts.RecipeError, match=r"0 was altered by other means"):
        ts.recipe_of(model)


class Heads(nn.Module):
    """What its constructor is given stands in a configuration."""

    def __init__(self, config):
        super().__init__()
        self.num_heads = config["heads"]


@pytest.mark.parametrize(
    ("layer", "name", "value", "told"),
    [
        (nn.Conv2d(2, 2, 3, stride=(1, 1)), "stride", (2, 2), r"expected \(1, 1\), as it was left\n  got \(2, 2\)"),
        (nn.Dropout(0.1), "p", 0.5, r"expected 0\.1, as it was left\n  got 0\.5"),
        (nn.LayerNorm(2, eps=1e-5), "eps", 1e-3, "got 0.001"),
        (nn.Upsample(scale_factor=2), "mode", "bilinear", "got 'bilinear'"),
        (Heads({"heads": 4}), "num_heads", 2, "expected 4, as it was left"),
    ],
)
def test_arguments_that_were_altered_otherwise_are_found_before_they_are_saved(tmp_path, layer, name, value, told):
    model = nn.Sequential(layer, nn.ReLU())
    ts.replace(model, nn.ReLU, nn.GELU)
    ts.recipe_of(model)
    was = getattr(layer, name)
    setattr(layer, name, value)
    with pytest.raises(ts.RecipeError, match=r"^0 was altered by other means") as caught:
        ts.save(model, tmp_path / "save")
    assert caught.match(told)
    assert not (tmp_path / "save").exists()
    setattr(layer, name, was)
    ts.save(model, tmp_path / "save")


def tie(model):
    model[2].weight = model[0].weight


def persist(model):
    model[0].register_buffer("scratch", torch.ones(2))


@pytest.mark.parametrize("alter", [tie, persist, lambda m: m[0].register_buffer("kept", torch.ones(3))])
def test_ties_and_buffers_that_were_altered_otherwise_are_found_before_they_are_saved(tmp_path, alter):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[0].register_buffer("scratch", torch.ones(2), persistent=False)
    model[0].register_buffer("kept", torch.ones(2))
    ts.replace(model, nn.ReLU, nn.GELU)
    ts.recipe_of(model)
    alter(model)
    with pytest.raises(ts.RecipeError, match=r"^[02] was altered by other means"):
        ts.save(model, tmp_path / "save")


def test_trial_runs_leave_nothing():
    model = net()
    plan = ts.plan(model).replace(nn.ReLU, nn.GELU)
    with plan.in_force():
        assert len(ts.recipe_of(model)) == 0
    with ts.temporarily(plan):
        assert len(ts.recipe_of(model)) == 1
    assert len(ts.recipe_of(model)) == 0


def test_a_compiled_model_is_the_model_inside():
    import torch

    model = net()
    ts.replace(model, nn.ReLU, nn.GELU)
    assert len(ts.recipe_of(torch.compile(model, backend="eager"))) == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "other"}, "format"),
        ({"version": 2}, "pip install --upgrade torchsurgery"),
        ({"version": 1.0}, "version 1"),
        ({"base": "x"}, "a sha256, or null"),
        ({"result": 3}, "a sha256, or null"),
        ({"operations": {}}, "a list"),
        ({"more": 1}, "no member but"),
    ],
)
def test_bad_documents(change, match):
    document = json.loads(ts.replace(net(), nn.ReLU, nn.GELU).recipe.json)
    with pytest.raises(ts.RecipeError, match=match):
        read_recipe(canonical(document | change), "recipe.json")


def test_an_empty_recipe():
    recipe = Recipe()
    assert str(recipe) == "Recipe of 0 operations" and recipe.needs == ()
    model = net()
    assert ts.plan(model).replay(recipe).changes == ()
