"""Whether the data of an argument is of the type that a constructor declares."""

from typing import Any, Literal, Optional, Union

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.strict import Field
from torchsurgery.recipes.typed import hints_of, refuse_other_type

T = {"tuple": [1, 2]}


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -1, 2**31 - 1], [True, 1.0, "1", None, 2**31, [1], T]),
        (bool, [True, False], [0, 1, "true", None]),
        (float, [0.5, 1, {"number": "inf"}], [True, "1", None, {"tuple": []}]),
        (str, ["", "a"], [1, None, ["a"]]),
        (Optional[int], [None, 3], [True, "3"]),  # noqa: UP045
        (int | None, [None, 3], [True, "3"]),
        (Union[int, tuple[int, int]], [1, T, [1, 2]], [{"tuple": [True]}, {"tuple": ["a"]}, "a"]),  # noqa: UP007
        (tuple[int | None, ...], [{"tuple": [None, 3]}], [{"tuple": [None, "3"]}, 3]),
        (list[int], [[1]], [["1"], 1]),
        (Literal["zeros", "reflect"], ["zeros", "x"], [1, None]),  # which texts, the constructor says
        (Any, [1, "a", None, T], []),
        (nn.Module | None, [1, "a"], []),
    ],
)
def test_types(hint, good, bad):
    for value in good:
        refuse_other_type(Field(value, "x"), hint)
    for value in bad:
        with pytest.raises(ts.RecipeError, match="expected"):
            refuse_other_type(Field(value, "x"), hint)


def test_what_is_expected_is_said_in_words():
    with pytest.raises(ts.RecipeError, match="expected a whole number or a tuple, each a whole number or null"):
        refuse_other_type(Field("x", "x"), int | tuple[int | None, ...])


def test_hints():
    assert hints_of(nn.Linear)["in_features"] is int

    class Odd(nn.Module):
        def __init__(self, x: "NotThere"):  # noqa: F821
            super().__init__()

    assert hints_of(Odd) == {}
