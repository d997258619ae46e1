"""Recipes as they are written: what is read, and on which line something is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import text

import torchsurgery as ts
from torchsurgery.cli.recipes import read_file, read_text

RECIPE = text(
    """
    # a remark
    - replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 8, eps: 1e-4}
    - prune:
        target: "layer*.*.conv1"
        amount: 0.25
    - set_outputs: 10
    - remove: [Dropout, "head.*"]
    - fold
    """
)


def told(steps):
    return [(step.verb, step.value) for step in steps]


def test_what_is_read():
    steps = read_text(RECIPE, "slim.yaml")
    assert told(steps) == [
        ("replace", {"target": "BatchNorm2d", "with": "GroupNorm", "num_groups": 8, "eps": 1e-4}),
        ("prune", {"target": "layer*.*.conv1", "amount": 0.25}),
        ("set_outputs", 10),
        ("remove", ["Dropout", "head.*"]),
        ("fold", None),
    ]
    assert [step.place for step in steps] == [f"slim.yaml, line {n}" for n in (2, 3, 6, 7, 8)]
    assert steps[1].places == {"target": "slim.yaml, line 4", "amount": "slim.yaml, line 5"}


def test_json_is_read_the_same():
    steps = read_text(RECIPE, "slim.yaml")
    written = json.dumps([{step.verb: step.value} for step in steps[:-1]], indent=2)
    again = read_text(written, "slim.json")
    assert told(again) == told(steps[:-1])
    assert again[0].place == "slim.json, line 2"


@pytest.mark.parametrize("written", ["remove: ReLU", "- remove: ReLU", "{remove: ReLU}", '[{"remove": "ReLU"}]'])
def test_one_edit_needs_no_list(written):
    assert told(read_text(written, "x")) == [("remove", "ReLU")]


def refusal(written):
    with pytest.raises(ts.RecipeError) as caught:
        read_text(written, "r.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("written", "place", "words"),
    [
        ("", "r.yaml", "there is no edit in it"),
        ("[]", "r.yaml", "there is no edit in it"),
        ("remove: [a\n- b", "r.yaml, line 2, column 4", "this is neither YAML nor JSON"),
        ("- remove: ReLU\n\tx", "r.yaml, line 2, column 1", "this is neither YAML nor JSON"),
        ("a: 1\n--- \nb: 2", "r.yaml, line 2, column 1", "this is neither YAML nor JSON"),
        ("- remove: ReLU\n- [a]", "r.yaml, line 2", "an edit is one verb with its arguments"),
        ("- replace:\n  target: ReLU\n  with: GELU", "r.yaml, line 1", "are the arguments indented"),
        ("- remove: ReLU\n- replace: {target: ReLU, with: GELU, target: Conv2d}", "r.yaml, line 2", "given twice"),
        ("- replace: {on: ReLU}", "r.yaml, line 1", "'on' is no name of an argument"),
        ("- replace: {[a]: ReLU}", "r.yaml, line 1", "a list is no name of an argument"),
        ("- replace: !!python/object:os.system {a: b}", "r.yaml, line 1, column 12", "neither YAML nor JSON"),
        ("- replace: !!python/name:os.system", "r.yaml, line 1, column 12", "neither YAML nor JSON"),
        ("- {replace: *unknown}", "r.yaml, line 1, column 13", "neither YAML nor JSON"),
        ("\x08", "r.yaml", "neither YAML nor JSON"),
        ("edits: 3\nmore: 4", "r.yaml, line 1", "one verb"),
        ("[" * 3000, "r.yaml", "neither YAML nor JSON"),
    ],
)
def test_what_is_wrong_and_where(written, place, words):
    error = refusal(written)
    assert error.place == place
    assert words in str(error)


def test_files(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_bytes("- remove: ReLU # ä".encode("utf-8-sig"))
    assert told(read_file(str(file))) == [("remove", "ReLU")]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe\x00", "is no text in UTF-8"), (b"#" * (1 << 20) + b"##", "is larger than"), (None, "can't be read")],
)
def test_files_that_cannot_be_read(tmp_path, content, words):
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ts.RecipeError, match=words):
        read_file(str(file))


def test_too_many_edits():
    assert "at most 10,000 edits" in str(refusal("- fold\n" * 10_001))


@given(st.text())
def test_any_text_is_read_or_refused_with_its_place(written):
    try:
        assert read_text(written, "r.yaml")
    except ts.RecipeError as error:
        assert error.place.startswith("r.yaml")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(_VALUES)
def test_any_json_is_read_or_refused_with_its_place(value):
    try:
        assert read_text(json.dumps(value), "r.json")
    except ts.RecipeError as error:
        assert error.place.startswith("r.json")
