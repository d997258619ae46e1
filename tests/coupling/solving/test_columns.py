"""Columns of classes held against each other."""

import numpy as np
import pytest

from torchsurgery.coupling.solving.columns import (
    determines,
    distinct,
    leaders,
    linked,
    one_pattern,
    paired,
    rows_in,
    side_by_side,
)


def array(*values):
    return np.array(values, np.int64)


def test_factors_side_by_side():
    assert side_by_side((array(1, 2), array(3, 4)), 3).tolist() == [[1, 3, 0], [2, 4, 0]]
    assert side_by_side((array(5, 6),), 1).tolist() == [[5], [6]]


def test_each_label_once():
    assert distinct(array(2, 2, 5).reshape(1, 3)).tolist() == [[5, 2, -1]]
    assert distinct(array(-1, 3, -1).reshape(1, 3)).tolist() == [[3, -1, -1]]


def test_leaders_are_the_first_of_their_label():
    assert leaders(array(1, 1, 4, 4, 4), array(7, 3, 9, 0, 2)).tolist() == [7, 7, 9, 9, 9]
    assert leaders(array(), array()).tolist() == []


@pytest.mark.parametrize(
    ("one", "other", "alike", "determined"),
    [
        ((1, 2, 1, 2), (8, 9, 8, 9), True, True),
        ((1, 2, 3, 4), (8, 9, 8, 9), False, True),
        ((1, 2, 1, 2), (8, 8, 9, 9), False, False),
        ((1, 1, 2, 2), (5, 5, 5, 5), False, True),
    ],
)
def test_patterns(one, other, alike, determined):
    assert one_pattern(array(*one), array(*other)) is alike
    assert determines(array(*one), array(*other)) is determined


def test_linked_rows():
    parts = linked(array(1, 1, 2, 3), array(1, 2, 2, 9))
    assert len({*parts[:3].tolist()}) == 1 and parts[3] != parts[0]


def test_pairs_are_numbered():
    assert paired(array(1, 1, 2, 1), array(5, 6, 5, 5)).tolist() == [0, 1, 2, 0]
    assert paired(array(4, 4, 4), array(1, 1, 2), array(3, 3, 3)).tolist() == [0, 0, 1]


def test_rows_that_are_there():
    known = array(1, 2, 3, 4).reshape(2, 2)
    assert rows_in(array(3, 4, 2, 1).reshape(2, 2), known).tolist() == [True, False]
