"""Constructors' arguments as data, and back."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes import values
from torchsurgery.recipes.strict import Field

plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text("ab\n", max_size=4)
) | st.sampled_from([torch.float32, torch.bfloat16, nn.Linear, nn.functional.relu])
arguments = st.recursive(
    plain,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.lists(inside, max_size=3).map(tuple)
        | st.dictionaries(st.text("abc", max_size=2) | st.integers(0, 9), inside, max_size=3)
    ),
    max_leaves=8,
)


def around(value):
    """Written, checked as what came from a file, and read."""
    tensors = values.Tensors()
    data = json.loads(json.dumps(values.written(value, tensors, no_layer)))
    values.checked(Field(data, "test"), lambda field, depth: field.refuse("no layer"))
    return values.read(data, tensors.found, no_layer)


def no_layer(layer):
    raise AssertionError(layer)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


@given(arguments)
def test_there_and_back(value):
    assert same(around(value), value)


def test_sizes_are_tuples():
    assert around(torch.Size([1, 2])) == (1, 2)


def test_tensors_are_kept_once_and_copied():
    tensors, weight = values.Tensors(), torch.ones(2)
    assert values.written([weight, weight], tensors, no_layer) == [{"tensor": "0"}, {"tensor": "0"}]
    weight.zero_()
    assert torch.equal(tensors.found["0"], torch.ones(2))


def test_equal_lists_are_kept_once():
    tensors, rows = values.Tensors(), (1, 2)
    assert tensors.add_indices(rows) == tensors.add_indices(rows) == tensors.add_indices(tuple([1, 2])) == "0"
    assert tensors.add_indices((1, 3)) == "1" and tensors.add_indices(((1, 2), (0, 3))) == "2"
    assert len({tensors.add_indices(tuple([number])) for number in range(99)}) == 99
    assert tensors.found["2"].tolist() == [[1, 2], [0, 3]]


@pytest.mark.parametrize("value", [object(), lambda x: x, {1}, 1j, b"x", print], ids=lambda value: type(value).__name__)
def test_what_can_not_be_data(value):
    with pytest.raises(values.Unwritable):
        values.written(value, values.Tensors(), no_layer)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"tuple": 3}, "a list"),
        ({"tuple": [], "dict": []}, "one member"),
        ({}, "one member"),
        ({"dict": [[1]]}, "a list of 2"),
        ({"dtype": "float31"}, "'"),
        ({"number": "NaN"}, "'inf' or '-inf' or 'nan'"),
        ({"tensor": "../x"}, "the name of a tensor"),
        ({"class": "os.system"}, "isn't registered here"),
        ({"function": 3}, "the key of a class"),
        ({"eval": "1"}, "tuple, dict, counter, layer, class, function, dtype, number or tensor"),
        (2**63 - 1, "a whole number from"),
        ("x" * 5000, "at most 4096"),
    ],
)
def test_bad_data(data, match):
    with pytest.raises(ts.RecipeError, match=match):
        values.checked(Field(data, "test"), lambda field, depth: None)


def test_nesting_has_an_end():
    data = 1
    for _ in range(30):
        data = [data]
    with pytest.raises(ts.RecipeError, match="at most 24 deep"):
        values.checked(Field(data, "test"), lambda field, depth: None)


def test_keys_of_dictionaries_are_plain():
    data = {"dict": [[[1], 2]]}
    values.checked(Field(data, "test"), no_layer)
    with pytest.raises(ts.RecipeError, match="a key of a dictionary can't be a list"):
        values.read(data, {}, no_layer)


def test_what_to_register_is_said():
    with pytest.raises(ts.RecipeError) as caught:
        values.known(Field("my.package.Fancy", "recipe.json", "operations[0].class"))
    assert "ts.register('my.package.Fancy', Fancy)" in str(caught.value)
    assert caught.value.expected == "my.package.Fancy"
