"""Ties, products and what follows from them, on atoms written by hand."""

import numpy as np

from torchsurgery.coupling.answers.paths import Paths
from torchsurgery.coupling.constraints.atoms import Ledger, broadcast
from torchsurgery.coupling.solving.solver import solve


def same(classes, *axes):
    """Whether entry i of all axes is in one class that is not frozen."""
    labels = [classes.of(axis) for axis in axes]
    return all(np.array_equal(labels[0], other) for other in labels) and bool((labels[0] > 0).all())


def alive(classes, axis, *dead):
    """Which entries of an axis live when the given atoms die."""
    flags = np.zeros(classes.count, bool)
    flags[classes.of(np.array(dead))] = True
    return classes.alive(flags)[classes.of(axis)].tolist()


def test_ties_make_classes():
    ledger = Ledger()
    a, b, c = (ledger.fresh(3) for _ in range(3))
    ledger.tie(a, b)
    ledger.tie(b, c[::-1])
    classes = solve(ledger)
    assert same(classes, a, b, c[::-1])
    assert len(np.unique(classes.of(a))) == 3


def test_freezing_reaches_what_is_tied():
    ledger = Ledger()
    a, b = ledger.fresh(3), ledger.fresh(3)
    ledger.tie(a, b)
    ledger.freeze(b[:1], "because")
    classes = solve(ledger)
    assert classes.of(a).tolist()[0] == 0
    assert (classes.of(a)[1:] > 0).all()
    assert Paths(ledger, classes).blame(int(a[0])).what == "because"


def test_split_makes_a_product():
    ledger = Ledger()
    row = ledger.fresh(6)
    heads, width = ledger.split(row, (2, 3))
    classes = solve(ledger)
    assert alive(classes, row, heads[1]) == [True] * 3 + [False] * 3
    assert alive(classes, row, width[0]) == [False, True, True] * 2
    assert alive(classes, row, heads[0], width[2]) == [False] * 3 + [True, True, False]


def test_factor_that_freezes_later_leaves_the_other():
    ledger = Ledger()
    row = ledger.fresh(6)
    heads, width = ledger.split(row, (2, 3))
    ledger.freeze(width, "rotated")
    classes = solve(ledger)
    assert same(classes, row, np.repeat(heads, 3))
    assert Paths(ledger, classes).blame(int(width[0])).what == "rotated"


def test_product_that_is_frozen_freezes_its_factors():
    ledger = Ledger()
    row = ledger.fresh(6)
    heads, width = ledger.split(row, (2, 3))
    ledger.freeze(row[:1], "the output")
    classes = solve(ledger)
    assert classes.of(heads).tolist()[0] == 0
    assert classes.of(width).tolist()[0] == 0
    assert classes.of(heads)[1] > 0
    paths = Paths(ledger, classes)
    assert paths.blame(int(heads[0])).what == paths.blame(int(width[0])).what == "the output"


def test_all_factors_frozen_freeze_the_product():
    ledger = Ledger()
    row = ledger.fresh(6)
    for part in ledger.split(row, (2, 3)):
        ledger.freeze(part, "each of them")
    classes = solve(ledger)
    assert not classes.of(row).any()
    assert Paths(ledger, classes).blame(int(row[5])).what == "each of them"


def test_products_of_one_class_match_factor_by_factor():
    ledger = Ledger()
    one, other = ledger.fresh(6), ledger.fresh(6)
    a, b = ledger.split(one, (2, 3)), ledger.split(other, (2, 3))
    ledger.tie(one, other)
    classes = solve(ledger)
    assert same(classes, a[0], b[0])
    assert same(classes, a[1], b[1])


def test_a_finer_product_refines_a_coarser_one():
    ledger = Ledger()
    one, other = ledger.fresh(12), ledger.fresh(12)
    coarse, fine = ledger.split(one, (2, 6)), ledger.split(other, (2, 3, 2))
    ledger.tie(one, other)
    classes = solve(ledger)
    assert same(classes, coarse[0], fine[0])
    assert alive(classes, coarse[1], fine[1][0]) == [False, False, True, True, True, True]
    assert len(classes.primes_of(classes.of(one))) == 2 + 3 + 2


def test_products_that_do_not_match_freeze_with_a_reason():
    ledger = Ledger()
    one, other = ledger.fresh(6), ledger.fresh(6)
    ledger.split(one, (2, 3))
    ledger.split(other, (3, 2))
    ledger.tie(one, other)
    classes = solve(ledger)
    assert not classes.of(one).any()
    assert "don't match" in Paths(ledger, classes).blame(int(one[0])).what


def test_two_products_that_refine_each_other():
    """24 = 4 · 6 = 12 · 2: a grouped convolution after a normalisation of finer groups. They share a factor of 3."""
    ledger = Ledger()
    axis = ledger.fresh(24)
    coarse, inside = ledger.split(axis, (4, 6))
    fine, least = ledger.split(axis, (12, 2))
    classes = solve(ledger)
    assert (classes.of(np.concatenate([coarse, inside, fine, least])) > 0).all()
    assert alive(classes, axis, coarse[0]) == [False] * 6 + [True] * 18
    assert alive(classes, axis, least[0]) == [False, True] * 12
    middle = np.setdiff1d(classes.primes_of(classes.of(axis)), classes.of(np.concatenate([coarse, least])))
    assert len(middle) == 3
    gone = []
    for prime in middle:
        flags = np.zeros(classes.count, bool)
        flags[prime] = True
        lives = classes.alive(flags)
        which = int(np.nonzero(~lives[classes.of(inside)])[0][0]) // 2
        gone.append(which)
        assert lives[classes.of(axis)].tolist() == [i // 2 % 3 != which for i in range(24)]
        assert lives[classes.of(fine)].tolist() == [i % 3 != which for i in range(12)]
        assert lives[classes.of(inside)].tolist() == [i // 2 != which for i in range(6)]
    assert sorted(gone) == [0, 1, 2]


def test_path_through_products():
    ledger = Ledger()
    from torchsurgery.coupling.constraints.atoms import Where

    row, other = ledger.fresh(6), ledger.fresh(2)
    ledger.where = Where("view", "a")
    heads, _width = ledger.split(row, (2, 3))
    ledger.where = Where("add", "b")
    ledger.tie(heads, other)
    ledger.freeze(_width, "there")
    classes = solve(ledger)
    found = Paths(ledger, classes).between(int(row[0]), other)
    assert [str(step) for step in found] == ["view in a", "add in b"]
    assert Paths(ledger, classes).between(int(row[0]), other[1:]) is None


def test_broadcast_ties_where_two_meet():
    ledger = Ledger()
    a, b, c = ledger.fresh(2), ledger.fresh(3), ledger.fresh(3)
    one = ledger.fixed(1, "")
    axes = broadcast(ledger, [([a, b], (2, 3)), ([one, c], (1, 3))], (2, 3))
    assert axes[0] is a
    assert axes[1] is b
    assert same(solve(ledger), b, c)


def test_what_lies_beside_a_whole_product_stays():
    """Positions · (heads · width) laid out as positions · stream: the stream is heads · width, the positions stay."""
    ledger = Ledger()
    heads, width, stream, positions = ledger.fresh(2), ledger.fresh(3), ledger.fresh(6), ledger.fresh(4)
    whole = ledger.fresh(24)
    place, rest = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    ledger.product(whole, [heads[rest // 3], width[rest % 3]])
    ledger.product(whole, [positions[place], stream[rest]])
    classes = solve(ledger)
    assert (classes.of(positions) == 0).all()
    assert alive(classes, stream, heads[1]) == [True] * 3 + [False] * 3
    assert alive(classes, whole, width[0]) == [False, True, True] * 8
    assert Paths(ledger, classes).blame(int(positions[0])).what == "every channel is multiplied with it"


def test_what_matches_later_is_not_given_up_early():
    """Heads that come to be one for each picture only once the pictures' copies of them are known to be alike."""
    ledger = Ledger()
    stream, many, width = ledger.fresh(6), ledger.fresh(4), ledger.fresh(3)
    for picture in range(2):
        ledger.product(stream, [np.repeat(many[2 * picture : 2 * picture + 2], 3), np.tile(width, 2)])
    whole, rows, again = ledger.fresh(24), ledger.fresh(4), ledger.fresh(6)
    index = np.arange(24)
    ledger.product(whole, [many[index // 3 % 4], width[index % 3]])
    ledger.product(whole, [rows[index // 6], again[index % 6]])
    classes = solve(ledger)
    assert (classes.of(many) > 0).all()
    assert classes.of(many)[:2].tolist() == classes.of(many)[2:].tolist()
    assert alive(classes, again, many[0]) == [False] * 3 + [True] * 3


def test_what_a_product_is_multiplied_with_and_does_not_need_stays():
    ledger = Ledger()
    a, b, c = ledger.fresh(2), ledger.fresh(3), ledger.fresh(2)
    ledger.tie(np.repeat(ledger.merge((a, b), (2, 3)), 2), ledger.merge((a, b, c), (2, 3, 2)))
    classes = solve(ledger)
    assert (classes.of(c) == 0).all()
    assert (classes.of(a) > 0).all()
    assert (classes.of(b) > 0).all()
    assert "multiplied" in Paths(ledger, classes).blame(int(c[0])).what
