"""What classes say of axes, on a small model written by hand: 2 heads of 3, and a row that is both."""

import numpy as np
import pytest

from torchsurgery.coupling.constraints.atoms import Ledger
from torchsurgery.coupling.solving.classes import Links
from torchsurgery.coupling.solving.solver import solve


@pytest.fixture
def axes():
    ledger = Ledger()
    row, other = ledger.fresh(6), ledger.fresh(2)
    heads, width = ledger.split(row, (2, 3))
    ledger.freeze(other[:1], "why")
    return solve(ledger), row, heads, width, other


def test_what_is_frozen_is_class_0_and_lives(axes):
    classes, _, _, _, other = axes
    assert classes.of(other).tolist()[0] == 0 and classes.of(other)[1] > 0
    assert classes.of(np.array([-3, 0])).tolist() == [0, 0]
    assert classes.alive(np.ones(classes.count, bool))[0]


def test_products_live_while_all_that_they_are_of_lives(axes):
    classes, row, heads, width, _ = axes
    dead = np.zeros(classes.count, bool)
    dead[classes.of(heads)[1]] = dead[classes.of(width)[0]] = True
    assert classes.alive(dead)[classes.of(row)].tolist() == [False, True, True, False, False, False]
    assert dead.sum() == 2, "what is asked is not written"


def test_primes_are_what_the_others_come_down_to(axes):
    classes, row, heads, width, other = axes
    primes = sorted({*classes.of(heads), *classes.of(width)})
    assert classes.primes_of(classes.of(row)).tolist() == primes
    assert classes.primes_of(classes.of(row[:1])).tolist() == sorted([classes.of(heads)[0], classes.of(width)[0]])
    assert classes.primes_of(classes.of(heads)).tolist() == sorted(classes.of(heads))
    assert classes.primes_of(classes.of(other)).tolist() == [classes.of(other)[1]]
    assert classes.primes_of(np.zeros(2, np.int64)).tolist() == []


def test_rows_are_of_products_only(axes):
    classes, row, heads, _, _ = axes
    assert sorted(classes.row_of[classes.of(row)]) == list(range(6))
    assert (classes.row_of[classes.of(heads)] == -1).all()
    assert classes.whole[classes.row_of[classes.of(row)]].tolist() == classes.of(row).tolist()


def test_links_tell_ties_what_is_frozen_and_what_follows():
    ledger = Ledger()
    a, b = ledger.fresh(2), ledger.fresh(2)
    ledger.tie(a, b)
    ledger.freeze(b[1:], "why")
    links = Links(ledger)
    assert not links.add(a[:0], b[:0], a[:0])
    assert links.add(a[:1], b[1:], np.array([-1 - 7]))
    one, other, source = (pairs.tolist() for pairs in links.arrays())
    assert list(zip(one, other, source, strict=True)) == [(1, 3, 0), (2, 4, 0), (4, -1, -1), (1, 4, -8)]
