"""Lengths of bars."""

import pytest
from pages import parsed

from torchsurgery.html.bars import bar, lengths


@pytest.mark.parametrize(
    ("before", "after", "whole", "expected"),
    [
        (100, 72.2, 100, ("w200", "n144")),
        (1, 1, 1_000_000, ("w1", "n1")),  # something is never nothing
        (0, 50, 100, ("w0", "n100")),
        (50, 0, 100, ("w100", "n0")),
        (300, 100, 200, ("w200", "n100")),  # never longer than its place
    ],
)
def test_bars(before, after, whole, expected):
    assert parsed(bar(before, after, whole)).one("i").classes == ["bar", *expected]


def test_no_bar_for_nothing():
    assert bar(0, 0, 100) == "" == bar(1, 1, 0)


def test_every_length_has_its_rule():
    rules = lengths()
    assert ".w0::before,.n0::after{width:0%}" in rules
    assert ".w1::before,.n1::after{width:0.5%}" in rules
    assert rules.endswith(".w200::before,.n200::after{width:100%}")
    assert rules.count("{") == 201
