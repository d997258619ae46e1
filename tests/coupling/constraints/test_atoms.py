"""Axes as rules make and divide them, before anything is solved; what follows is in solving/test_classes.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsurgery.coupling.constraints.atoms import NOWHERE, Ledger, Reason, Where, broadcast, is_fixed


def test_an_axis_of_one_entry_has_no_atom():
    ledger = Ledger()
    assert is_fixed(ledger.fresh(1))
    assert ledger.size == 1


def test_tie_of_different_lengths_is_refused():
    ledger = Ledger()
    with pytest.raises(ValueError, match="3 and 4 entries"):
        ledger.tie(ledger.fresh(3), ledger.fresh(4))


def test_split_and_merge_are_inverse():
    ledger = Ledger()
    row = ledger.fresh(6)
    parts = ledger.split(row, (2, 3))
    assert ledger.merge(parts, (2, 3)) is row
    assert ledger.split(row, (2, 3)) == parts
    assert len(ledger.products) == 1


def test_merge_with_a_fixed_axis_repeats_the_other():
    ledger = Ledger()
    channels, positions = ledger.fresh(2), ledger.fixed(3, "positions")
    assert ledger.merge((channels, positions), (2, 3)).tolist() == np.repeat(channels, 3).tolist()
    assert ledger.merge((positions, channels), (3, 2)).tolist() == np.tile(channels, 3).tolist()
    assert ledger.products == []


def test_split_of_copies_gives_the_original():
    ledger = Ledger()
    channels = ledger.fresh(2)
    parts = ledger.split(np.repeat(channels, 3), (2, 3))
    assert parts[0].tolist() == channels.tolist()
    assert is_fixed(parts[1])


def test_atoms_are_numbered_one_after_the_other():
    ledger = Ledger()
    assert [ledger.fresh(n).tolist() for n in (2, 1, 3)] == [[1, 2], [0], [3, 4, 5]]
    assert (ledger.size, ledger.starts) == (6, [1, 3])


def test_a_frozen_axis_says_why_and_where():
    ledger = Ledger()
    ledger.where = Where("softmax", "head")
    axis = ledger.fixed(3, "softmax over it")
    assert ledger.fixed(3, "softmax over it") is axis
    ledger.where = Where("softmax", "other")
    assert ledger.fixed(3, "softmax over it") is not axis
    assert str(ledger.reasons[-axis[0]]) == "softmax over it in head"
    assert is_fixed(axis) and len(set(axis.tolist())) == 1


@pytest.mark.parametrize(
    ("what", "where", "text"),
    [
        ("the code says 8", Where("view", "a"), "the code says 8 (view in a)"),
        ("the code says 8", Where("view", ""), "the code says 8 (view)"),
        ("view takes it", Where("view", "a"), "view takes it in a"),
        ("view takes it", Where("view", ""), "view takes it"),
        ("it has one entry only", NOWHERE, "it has one entry only"),
    ],
)
def test_reasons_in_words(what, where, text):
    assert str(Reason(what, where)) == text


def test_nothing_is_said_of_what_can_not_go():
    ledger = Ledger()
    fixed = ledger.fixed(3, "why")
    ledger.tie(fixed, ledger.fixed(3, "another"))
    ledger.freeze(fixed, "again")
    assert (ledger.ties, ledger.frozen) == ([], [])


@pytest.mark.parametrize("axis", [[], [0], [0, 0], [-1, -2], [0, -3]])
def test_frozen_axes(axis):
    assert is_fixed(np.array(axis, np.int64))


@pytest.mark.parametrize("axis", [[1], [0, 4], [-1, 0, 2, 0]])
def test_axes_of_which_something_may_go(axis):
    assert not is_fixed(np.array(axis, np.int64))


def test_a_view_of_ones_changes_nothing():
    ledger = Ledger()
    axis = ledger.fresh(4)
    one, same, other = ledger.split(axis, (1, 4, 1))
    assert same is axis and is_fixed(one) and is_fixed(other)
    assert ledger.merge((one, same, other), (1, 4, 1)) is axis


@given(st.lists(st.integers(2, 4), min_size=2, max_size=3))
def test_a_product_says_for_each_entry_of_which_it_is(sizes):
    ledger = Ledger()
    whole = ledger.fresh(int(np.prod(sizes)))
    parts = ledger.split(whole, sizes)
    (product,) = ledger.products
    assert product.whole is whole
    at = np.unravel_index(np.arange(len(whole)), sizes)
    assert all(np.array_equal(f, part[i]) for f, part, i in zip(product.factors, parts, at, strict=True))


def test_rows_that_are_put_together_place_by_place_are_the_entries_turned():
    ledger = Ledger()
    axis = ledger.fresh(6)
    row, place = ledger.split(axis, (2, 3))
    assert ledger.merge((place, row), (3, 2)).tolist() == axis.reshape(2, 3).T.flatten().tolist()
    assert ledger.splits[0].is_turned and len(ledger.products) == 1


def test_a_weight_may_take_the_places():
    ledger = Ledger()
    own = ledger.fresh(3)
    _, place = ledger.split(ledger.fresh(6), (2, 3))
    ledger.take_places(place, own, "conv.weight", 1)
    assert ledger.splits[0].taken == [("conv.weight", 1, 0)]
    assert ledger.ties[0][:2] == (place, own)
    ledger.take_places(own, place, "other.weight", 1)
    assert len(ledger.splits[0].taken) == 1, "it is not these places that are taken"


def test_where_no_tensor_gives_an_axis_it_stays():
    ledger = Ledger()
    axes = broadcast(ledger, [([ledger.fixed(1, "")], (1,))], (4,))
    assert is_fixed(axes[0]) and "no tensor gives it" in str(ledger.reasons[-axes[0][0]])


def test_of_two_that_meet_the_frozen_one_goes_on():
    ledger = Ledger()
    live, frozen = ledger.fresh(3), ledger.fixed(3, "why")
    assert broadcast(ledger, [([live], (3,)), ([frozen], (3,))], (3,))[0] is frozen
    assert broadcast(ledger, [([frozen], (3,)), ([live], (3,))], (3,))[0] is frozen
