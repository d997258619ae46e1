"""Plans in one file: nothing in it is trusted."""

import json

import pytest

from torchsurgery.cli.planfile import _in_words, _of_this_file
from torchsurgery.cli.values import Input, input_of
from torchsurgery.errors import RecipeError


@pytest.fixture
def saved(run, nets):
    """A plan for a network of torchvision, as a document; what is done with it is written again by `write`."""
    words = ["-i", "1,3,32,32", "-e", "prune: {target: 'layer1.0.conv1', amount: 0.5}", "-o", "plan.json"]
    assert run("plan", "torchvision:resnet18", *words).code == 0
    with open("plan.json") as file:
        return json.load(file)


def write(document):
    with open("plan.json", "w") as file:
        file.write(document if isinstance(document, str) else json.dumps(document))


def test_it_can_be_read_by_people(saved):
    assert saved["model"] == "torchvision:resnet18"
    assert saved["inputs"] == ["1,3,32,32"]
    recipe = next(file for name, file in saved["files"].items() if name.startswith("recipe"))
    assert "layer1.0.conv1" in recipe["text"]


def test_it_is_shown_verified_and_reported_like_a_recipe(run, saved):
    assert "1 of 68 modules" not in run("plan", "plan.json").err
    assert "~ layer1.0.conv1  out_channels 64 → 32" in run("plan", "plan.json").out
    assert run("verify", "plan.json").code == 0
    assert run("report", "plan.json", "-o", "r.html").code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: "{", "no JSON"),
        (lambda d: "[]", "an object with format"),
        (lambda d: {**d, "format": "other"}, "format"),
        (lambda d: {**d, "version": 2}, "version 1"),
        (lambda d: {**d, "version": True}, "version 1"),
        (lambda d: {**d, "more": 1}, "no member but"),
        (lambda d: {k: v for k, v in d.items() if k != "files"}, "a member 'files'"),
        (lambda d: {**d, "model": 3}, "a text, or null"),
        (lambda d: {**d, "inputs": ["x"]}, "an input such as"),
        (lambda d: {**d, "inputs": [3]}, "an input such as"),
        (lambda d: {**d, "files": {"../evil": {"text": ""}}}, "files with plain names"),
        (lambda d: {**d, "files": {f"a{i}": {"text": ""} for i in range(20)}}, "files with plain names"),
        (lambda d: {**d, "files": {"a": {}}}, "either text or base64"),
        (lambda d: {**d, "files": {"a": {"text": "", "base64": ""}}}, "either text or base64"),
        (lambda d: {**d, "files": {"a": {"text": 3}}}, "a text"),
        (lambda d: {**d, "files": {"a": {"base64": "ä!"}}}, "text in UTF-8, or base64"),
        (lambda d: {**d, "files": {"a": {"text": "\ud800"}}}, "no JSON"),
        (lambda d: {**d, "files": {}}, "plan.json"),
    ],
)
def test_what_is_not_as_it_was_written(run, saved, change, words):
    write(change(saved))
    answer = run("apply", "plan.json", "-o", "slim")
    assert answer.code == 2
    assert answer.err.startswith("RecipeError: ")
    assert words in answer.err
    assert "plan.json" in answer.err


def test_every_character_of_the_plan_counts(run, saved):
    name = next(name for name in saved["files"] if name.startswith("recipe"))
    saved["files"][name]["text"] = saved["files"][name]["text"].replace("layer1.0.conv1", "layer1.0.conv2")
    write(saved)
    answer = run("apply", "plan.json", "-o", "slim")
    assert answer.code == 2
    assert "plan.json: " in answer.err
    assert "/tmp" not in answer.err.replace("torchsurgery plan", "")


def test_another_model(run, saved):
    write({**saved, "model": "torchvision:resnet34"})
    answer = run("apply", "plan.json", "-o", "slim")
    assert answer.code == 2
    assert "it differs at layer1.2" in answer.err


@pytest.mark.parametrize("model", ["os:system(command='touch evil')", "evil.py:build", None])
def test_code_is_run_only_where_the_user_says_so(run, saved, model, tmp_path):
    (tmp_path / "evil.py").write_text("open('evil', 'w')")
    write({**saved, "model": model})
    answer = run("apply", "plan.json", "-o", "slim")
    assert answer.code == 2
    assert "--base" in answer.err
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("words", ["1,3", "x=1,3:int64", "4:bool"])
def test_inputs_are_written_as_they_are_given(words):
    assert _in_words(input_of(words)) == words
    assert input_of(_in_words(Input("a", (1, 2), "float16"))) == Input("a", (1, 2), "float16")


def test_a_recipe_in_json_is_no_plan(run, nets, tmp_path):
    (tmp_path / "recipe.json").write_text('[{"remove": "ReLU"}]')
    assert "1  remove ReLU" in run("plan", "nets.py:small", "recipe.json").out
    assert "an object with format" in run("apply", "recipe.json", "-o", "slim").err


@pytest.mark.parametrize(
    ("way_out", "told"),
    [
        ("ts.register('Mine', Mine)", "ts.register('Mine', Mine)"),
        ("save again", "make the plan anew:  torchsurgery plan … -o p.json"),
    ],
)
def test_what_would_not_be_mended_by_a_new_plan_is_not_told_to_be(way_out, told):
    error = _of_this_file(RecipeError("/scratch/recipe.json: no.", "why", way_out=way_out), "/scratch", "p.json")
    assert str(error) == f"p.json: recipe.json: no.\n  why\n  {told}"
