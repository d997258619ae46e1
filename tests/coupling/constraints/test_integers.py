"""Integers remember how they were computed, and behave as integers otherwise."""

import copy
import math
import pickle

from torchsurgery.coupling.constraints.integers import Attribute, Integers, Traced, evaluate, in_words


def test_arithmetic_is_remembered():
    integers = Integers()
    heads, width = integers.attribute("", "heads", 4), integers.attribute("", "width", 6)
    row = heads * width
    assert row == 24
    assert isinstance(row, Traced)
    assert in_words(row.expression) == "heads * width"
    assert evaluate(row.expression, {Attribute("", "heads"): 2, Attribute("", "width"): 6}) == 12
    assert evaluate((3 * row // 2 - 1).expression, {Attribute("", "heads"): 2, Attribute("", "width"): 6}) == 17
    assert evaluate((-row).expression, {Attribute("", "heads"): 2, Attribute("", "width"): 6}) == -12
    assert evaluate(row.expression, {}) is None


def test_behaves_as_an_integer():
    four = Integers().attribute("", "n", 4)
    assert {4: "x"}[four] == "x"
    assert four / 2 == 2.0
    assert 2 / four == 0.5
    assert four**-0.5 == 0.5
    assert four**2 == 16
    assert math.sqrt(four) == 2.0
    assert 2**four == 16
    assert four > 3
    assert four != 5
    assert f"{four}" == "4"
    assert [1, 2, 3, 4, 5][four] == 5
    assert copy.deepcopy(four) is four
    assert type(pickle.loads(pickle.dumps(four))) is int


def test_what_becomes_a_factor_is_known():
    integers = Integers()
    width, other = integers.attribute("", "width", 4), integers.attribute("", "other", 4)
    assert (2 * width) ** -0.5 > 0
    assert other // 2 == 2
    assert integers.factors == {Attribute("", "width")}
