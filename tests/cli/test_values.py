"""The pieces of a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsurgery.cli.values import Input, input_of, pair_of, value_of


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("width=32", ("width", 32)),
        ("p=1e-3", ("p", 1e-3)),
        ("pretrained=true", ("pretrained", True)),
        ("weights=None", ("weights", None)),
        ("depths=[1, 2]", ("depths", [1, 2])),
        ("name=a=b", ("name", "a=b")),
        ("act='relu'", ("act", "relu")),
        (" act = relu ", ("act", "relu")),
        ("empty=", ("empty", "")),
    ],
)
def test_pairs(text, pair):
    assert pair_of(text) == pair


@pytest.mark.parametrize("text", ["width", "=3", "a b=3", ""])
def test_what_is_no_pair(text):
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        pair_of(text)


@given(st.text())
def test_any_text_is_a_value(text):
    value_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,3,224,224", Input("", (1, 3, 224, 224), "")),
        ("1x3x8", Input("", (1, 3, 8), "")),
        ("7", Input("", (7,), "")),
        ("1,16:int64", Input("", (1, 16), "int64")),
        ("1,16:long", Input("", (1, 16), "int64")),
        ("1,16:torch.float16", Input("", (1, 16), "float16")),
        ("input_ids=1,16:int64", Input("input_ids", (1, 16), "int64")),
    ],
)
def test_inputs(text, expected):
    assert input_of(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no shape"),
        ("1,a", "is no shape"),
        ("1,-3", "is no shape"),
        ("1,3:complex", "is no dtype"),
        ("a b=1,3", "is no name"),
        ("0,3", "has 0 entries"),
        ("99999,99999,9", "entries; expected"),
    ],
)
def test_what_is_no_input(text, words):
    with pytest.raises(ValueError, match=words):
        input_of(text)


@given(st.text())
def test_any_text_is_an_input_or_refused(text):
    try:
        assert input_of(text).shape
    except ValueError as error:
        assert str(error)
