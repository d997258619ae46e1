"""What fits one layer, asked of it alone; how conditions are put together is in test_selection.py."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.matching import by_any, by_pattern, by_type, has


class Wider(nn.Conv2d):
    """A user's subclass."""


class Layer(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value


def test_a_class_answers_itself_as_what_was_asked_for():
    assert by_type(nn.Conv2d, exact=False)(Wider(1, 1, 1), None) is nn.Conv2d
    assert by_type(nn.Conv2d, exact=True)(Wider(1, 1, 1), None) is False
    assert by_type(Wider, exact=True)(Wider(1, 1, 1), None) is Wider
    with pytest.raises(ts.SelectionError, match=r"^torch\.Tensor is not a class of layers"):
        by_type(torch.Tensor, exact=False)


def test_of_several_classes_the_nearest_was_asked_for():
    for kinds in ((nn.Module, Wider, nn.Conv2d), (Wider, nn.Module), (nn.Conv2d, Wider)):
        assert by_any([by_type(kind, False) for kind in kinds])(Wider(1, 1, 1), None) is Wider
    assert by_any([by_type(nn.Linear, False), lambda module, spots: True])(Wider(1, 1, 1), None) is True
    assert by_any([by_type(nn.Linear, False)])(Wider(1, 1, 1), None) is False


def test_one_of_its_names_is_enough():
    class Spots:
        names = ("a.b", "c")

    assert by_pattern("c")(None, Spots) and by_pattern("a.*")(None, Spots) and not by_pattern("b")(None, Spots)


@pytest.mark.parametrize(
    ("there", "value", "fits"),
    [
        ((1, 1), 1, True),
        ((1, 3), 1, False),
        ((), 1, False),
        ((1, 3), [1, 3], True),
        ([1, 3], (1, 3), True),
        ("same", "same", True),
        (("same",), "same", False),
        (1, True, False),
        (True, True, True),
        (1, 1.0, True),
        (None, False, True),
        (None, True, False),
        (None, None, True),
        (torch.ones(2), True, True),
        (torch.ones(2), False, False),
        (nn.ReLU(), True, True),
    ],
    ids=str,
)
def test_values(there, value, fits):
    assert has(Layer(there), "value", value) is fits


def test_a_tensor_is_itself_only():
    weight = torch.ones(2)
    assert has(Layer(weight), "value", weight) and not has(Layer(weight), "value", torch.ones(2))


def test_what_is_not_there_has_no_value():
    assert not has(Layer(1), "other", None)


@given(st.one_of(st.integers(), st.text(), st.none(), st.booleans(), st.tuples(st.integers(), st.integers())))
def test_everything_has_the_value_that_it_has(value):
    assert has(Layer(value), "value", value)
