"""Which operations there are, and what each may say."""

import copy

import pytest

import torchsurgery as ts
from torchsurgery.recipes.schema import KINDS, checked_operations
from torchsurgery.recipes.strict import Field

LAYER = {"class": "torch.nn.ReLU", "arguments": {}}
WAY = {"name": "channels", "arguments": {"channels": 3}}
GOOD = {
    "replace": {"do": "replace", "layers": [{"at": ["a", ""], "layer": LAYER, "carries": {"weight": "weight"}}]},
    "insert": {"do": "insert", "where": "after", "layers": [{"at": ["a"], "layer": LAYER}]},
    "wrap": {"do": "wrap", "layers": [{"at": ["a"], "layer": LAYER}]},
    "remove": {"do": "remove", "at": ["a"]},
    "fold": {"do": "fold", "takings": [["a", None, "b"]]},
    "resize": {
        "do": "resize",
        "asked": "x",
        "layers": [{"at": ["a"], "way": WAY}],
        "attributes": [["", "config.n", 3]],
    },
    "prune": {
        "do": "prune",
        "asked": "x",
        "layers": ["a"],
        "kept": [["a.weight", 0, "0"]],
        "attributes": [["a", "kernel[1]", 3]],
        "caches": [["a", "cache"]],
    },
    "widen": {
        "do": "widen",
        "asked": "x",
        "layers": ["a"],
        "kept": [["a.weight", 0, "0"]],
        "attributes": [["a", "kernel[1]", 3]],
        "caches": [["a", "cache"]],
        "shares": [["b.weight", 1, "1"]],
        "noise": 0.0,
        "seed": 3,
        "added": [["a.weight", 0, 2]],
        "rows": None,
    },
    "calls": {
        "do": "calls",
        "calls": [{"in": "", "method": "forward", "text": "F.relu(x)", "which": 0, "layer": "relu"}],
    },
}


def check(operation):
    checked_operations(Field([operation], "recipe.json", "operations"))


def test_there_is_a_good_one_of_each():
    assert GOOD.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", GOOD)
def test_good(kind):
    check(GOOD[kind])


@pytest.mark.parametrize("kind", GOOD)
def test_each_member_has_to_be_there_and_no_other(kind):
    for name in GOOD[kind]:
        less = {key: value for key, value in GOOD[kind].items() if key != name}
        with pytest.raises(ts.RecipeError, match=r"operations\[0\]"):
            check(less)
    with pytest.raises(ts.RecipeError, match="no member but"):
        check(GOOD[kind] | {"more": 1})


@pytest.mark.parametrize("kind", GOOD)
def test_each_member_has_its_type(kind):
    fine = [("noise", 7), ("seed", 7), ("rows", None)]
    for name in GOOD[kind]:
        for junk in (7, "junk\n", {"x": 1}, [[[]]], None, True):
            if (name, junk) in fine and junk is not True:
                continue
            with pytest.raises(ts.RecipeError, match=r"operations\[0\]"):
                check(GOOD[kind] | {name: junk})


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("replace", ["layers", 0, "at"], []),
        ("replace", ["layers", 0, "layer", "class"], "os.system"),
        ("replace", ["layers", 0, "carries", "weight"], 3),
        ("replace", ["layers", 0], {"at": ["a"]}),
        ("replace", ["layers", 0, "way"], {"name": "eval", "arguments": {}}),
        ("replace", ["layers", 0, "by"], {"class": "torch.nn.ReLU", "arguments": {"in": 1}}),
        ("replace", ["layers", 0, "retype"], "os.system"),
        ("insert", ["where"], "inside"),
        ("fold", ["takings", 0], ["a", None, None]),
        ("fold", ["takings", 0, 0], None),
        ("resize", ["attributes", 0, 1], "__class__"),
        ("resize", ["attributes", 0, 1], "a.__dict__.b"),
        ("resize", ["attributes", 0, 2], True),
        ("resize", ["attributes", 0, 2], 2**31),
        ("resize", ["layers", 0, "way", "arguments", "channels"], 0),
        ("prune", ["kept", 0, 1], -1),
        ("prune", ["kept", 0, 2], [0, 1, 2]),
        ("prune", ["attributes", 0, 1], "forward()"),
        ("prune", ["attributes", 0, 2], 1.5),
        ("calls", ["calls", 0, "which"], -1),
    ],
)
def test_bad_values_are_said_with_their_path(kind, path, value):
    operation = copy.deepcopy(GOOD[kind])
    above = operation
    for step in path[:-1]:
        above = above[step]
    above[path[-1]] = value
    with pytest.raises(ts.RecipeError) as caught:
        check(operation)
    assert f"operations[0].{path[0]}" in str(caught.value)


def test_labels_of_classes():
    operation = copy.deepcopy(GOOD["resize"])
    operation["attributes"] = [["", "config.id2label", {"dict": [[0, "cat"], [1, "dog"]]}]]
    check(operation)
    operation["attributes"][0][2]["dict"][0][1] = {"layer": LAYER}
    with pytest.raises(ts.RecipeError, match="a label or its number"):
        check(operation)


def test_what_is_no_operation():
    for operation in (None, [], "replace", {}, {"do": "x"}, {"do": ["replace"]}):
        with pytest.raises(ts.RecipeError, match=r"operations\[0\]"):
            check(operation)
