"""Joining axes as a whole comes to what joining their entries one by one does."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from torchsurgery.coupling.constraints.atoms import Ledger
from torchsurgery.coupling.solving.joining import Wholes, components, joined, once, parted, tallied, union


def test_union_gives_the_smallest_member():
    parent = union(np.arange(6), np.array([5, 3, 1]), np.array([3, 4, 2]))
    assert parent.tolist() == [0, 1, 1, 3, 3, 3]


def test_union_of_a_long_chain():
    n = 10_000
    parent = union(np.arange(n), np.arange(n - 1), np.arange(1, n))
    assert not parent.any()


def test_nothing_joined_is_empty():
    assert joined([]).tolist() == [] and joined([]).dtype == np.int64


def test_parts_are_those_of_split():
    numbers = np.arange(7.0)
    for ends in ([7], [0, 7], [3, 7], [2, 2, 5, 7], [7, 7]):
        wanted = np.split(numbers, ends[:-1])
        assert [part.tolist() for part in parted(numbers, np.array(ends))] == [part.tolist() for part in wanted]
    assert parted(numbers[:0], np.zeros(0, int)) == []


def test_an_empty_ledger():
    assert components(Ledger()).tolist() == [0]


def one_by_one(ledger):
    """The components from all pairs of entries."""
    one = joined([*(tie.one for tie in ledger.ties), *(axis for axis, _ in ledger.frozen)])
    other = joined([*(tie.other for tie in ledger.ties), *(np.zeros(len(axis), int) for axis, _ in ledger.frozen)])
    return union(np.arange(ledger.size), np.maximum(one, 0), np.maximum(other, 0))


def test_whole_axes_take_the_names_of_the_first():
    ledger = Ledger()
    a, b, c = (ledger.fresh(3) for _ in range(3))
    ledger.tie(c, b)
    ledger.tie(b, a)
    assert components(ledger).tolist() == [0, 1, 2, 3, 1, 2, 3, 1, 2, 3]


def test_an_axis_that_no_atom_started_in():
    ledger = Ledger()
    a, b = ledger.fresh(2), ledger.fresh(4)
    both, turned = np.concatenate([a, a]), b[::-1]
    ledger.tie(turned, both)
    parent = components(ledger)
    assert parent[turned].tolist() == parent[both].tolist() == [1, 2, 1, 2]


def test_freezing_one_of_several_tied_axes():
    ledger = Ledger()
    a, b, c = ledger.fresh(2), ledger.fresh(2), ledger.fresh(2)
    ledger.freeze(b, "because")
    ledger.tie(a, b)
    assert components(ledger).tolist() == [0, 0, 0, 0, 0, 5, 6]
    ledger.freeze(c[1:], "because")
    assert components(ledger).tolist() == [0, 0, 0, 0, 0, 5, 0]


@given(st.data())
def test_as_entry_by_entry(data):
    ledger = Ledger()
    ledger.fixed(4, "given")
    axes = [ledger.fresh(4) for _ in range(data.draw(st.integers(1, 5)))]
    axes += [np.concatenate([axes[0][:2], axes[-1][2:]]), axes[0][::-1], ledger.fixed(4, "given")]
    places = st.integers(0, len(axes) - 1)
    for one, other in data.draw(st.lists(st.tuples(places, places), max_size=8)):
        ledger.tie(axes[one], axes[other])
    for place, length in data.draw(st.lists(st.tuples(places, st.integers(1, 4)), max_size=3)):
        ledger.freeze(axes[place] if length == 4 else axes[place][:length], "because")
    assert components(ledger).tolist() == one_by_one(ledger).tolist()


@given(st.lists(st.integers(-5, 5)))
def test_each_number_once_and_how_often(numbers):
    given = np.array(numbers, np.int64)
    values, counts = np.unique(given, return_counts=True)
    assert once(given).tolist() == tallied(given)[0].tolist() == values.tolist()
    assert tallied(given)[1].tolist() == counts.tolist()


def test_axes_that_are_one_have_one_name():
    ledger = Ledger()
    one, other, apart = ledger.fresh(3), ledger.fresh(3), ledger.fresh(3)
    part = one[:2]
    ledger.tie(one, other)
    ledger.tie(apart[:2], part)
    wholes = Wholes(ledger)
    assert wholes.name(one) == wholes.name(other) != wholes.name(apart)
    assert len({wholes.name(axis) for axis in (one, apart, part, one[:2])}) == 4
