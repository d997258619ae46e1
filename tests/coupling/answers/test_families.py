"""Families, where they are found, and how many entries of each axis are flagged."""

import numpy as np
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.answers.bundles import _each_once


class Heads(nn.Module):
    """A projection to three heads of four, taken apart, and put together again."""

    def __init__(self):
        super().__init__()
        self.heads, self.into, self.out = 3, nn.Linear(5, 12), nn.Linear(12, 5)

    def forward(self, x):
        y = self.into(x).view(x.shape[0], self.heads, 4)
        return self.out((y * y.mean((0, 2), keepdim=True)).flatten(1))


def families():
    return ts.trace(Heads(), torch.zeros(2, 5)).families


def test_each_axis_has_its_classes():
    found = families()
    record, uses = found.record, found.uses
    for place, (leaf, dim) in enumerate(uses.places):
        assert uses.classes_of(place).tolist() == found.classes.of(record.leaves[leaf][dim]).tolist()


def test_counts_are_those_of_each_axis():
    found = families()
    flags = np.random.default_rng(0).integers(0, 2, found.classes.count).astype(bool)
    each = [int(flags[found.uses.classes_of(place)].sum()) for place in range(len(found.uses.places))]
    assert found.uses.counts(flags)[found.uses.list_of].tolist() == each


def test_axes_of_the_same_classes_are_of_one_list():
    uses = families().uses
    for place, number in enumerate(uses.list_of):
        assert uses.classes_of(place) is uses.lists[number]
    assert len({labels.tobytes() for labels in uses.lists}) == len(uses.lists) < len(uses.places)
    lists = np.array([1, 0, 1])
    places, which = uses.spread(lists)
    for i, number in enumerate(lists):
        assert places[which == i].tolist() == np.nonzero(uses.list_of == number)[0].tolist()
    assert uses.summed(np.arange(len(uses.places)))[0] == places[which == 1].sum()


def test_who_owns_an_entry():
    found = families()
    (heads,) = (members for members in found.lists if len(members) == 3)
    place = found.uses.places.index(("into.weight", 0))
    assert found.owner(found.uses.classes_of(place), heads).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert place in found.reached(heads)


def test_a_family_is_in_the_order_of_its_axis():
    coupling = ts.trace(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.zeros(1, 4))
    (members,) = coupling.families.lists
    assert members.tolist() == coupling.classes.of(coupling.axis("0")).tolist()


def test_equal_rows_once():
    rows = np.array([[3, 1, 2], [0, 0, 0], [3, 1, 2], [3, 1, 0], [0, 0, 0]])
    assert sorted(map(tuple, _each_once(rows).tolist())) == [(0, 0, 0), (3, 1, 0), (3, 1, 2)]
    assert _each_once(rows[:0]).shape == (0, 3)
    assert _each_once(np.zeros((4, 0), np.int64)).size == 0


def test_what_is_in_which_part_is_found_for_all_parts_at_once():
    net = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 1, groups=4), nn.Conv2d(8, 2, 1))
    found = ts.trace(net.eval(), torch.zeros(1, 2, 4, 4)).families
    assert found.balanced and all(found.is_plainly_divided)
    for parts, is_plain in zip(found.balanced, found.is_plainly_divided, strict=True):
        assert is_plain == all(map(found.is_plain, parts))
        one, other = (found._primes_in(parts, way) for way in (True, False))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
