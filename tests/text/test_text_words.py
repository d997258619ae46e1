"""Lists that are folded, and cells in columns."""

import pytest

from torchsurgery.text.words import columns, few, first_shape, listed, plural


def test_listed():
    assert listed("abc") == "a, b, c"
    assert listed("abcdefgh", most=2) == "a, b and 6 more"


def test_few():
    rows = [str(i) for i in range(10)]
    assert few(rows[:8]) == rows[:8]
    assert few(rows) == [*rows[:8], "… 2 more"]


def test_columns():
    assert list(columns([("a", "bb", "c"), ("aaa", "b", "")], left={0, 2})) == ["a    bb  c", "aaa   b"]
    assert list(columns([("a", "bb"), ("aaa", "b")], left=())) == ["  a  bb", "aaa   b"]


@pytest.mark.parametrize(("number", "words"), [(0, "0 edits"), (1, "1 edit"), (1200, "1,200 edits")])
def test_plural(number, words):
    assert plural(number, "edit") == words


def test_first_shape():
    assert first_shape(()) == ""
    assert first_shape(((1, 2),)) == "(1, 2)"
    assert first_shape(((1, 2), (3,))) == "(1, 2) +1"
