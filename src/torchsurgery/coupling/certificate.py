"""Proof that an altered model is the old one with entries left out: traced again, its classes lie inside the old ones.

A model that runs is not yet right: an index swapped in one of two coupled layers, heads cut at the wrong place or a
stale integer give the right shapes. But they put entries into one class that were in different ones before. What no
trace tells apart, such as the positions of one channel, is held against the classes that were to live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..errors import VerificationError
from ..origins import Entries, blocks_of, number_of
from .answers.groups import Coupling
from .constraints.atoms import Axis
from .cuts.cut import Cut, answer_shapes
from .solving.classes import Classes, Flags
from .solving.rows import Rows

_FAULT = "this is a fault of torchsurgery: please report it with the model"


def certify(before: Coupling, after: Coupling, cut: Cut, dead: Flags) -> None:
    """Raise unless `after` is what `cut` makes of `before`.

    Args:
        before: The model as it was.
        after: The altered model, traced on the same inputs.
        cut: What was kept.
        dead: The prime classes that went.

    Raises:
        VerificationError: naming the tensors that don't fit.
    """
    _same_answers(before, after, cut)
    _same_sizes(before, after, cut)
    _same_classes(before, after, cut, dead)
    _same_entries(before, cut, dead)


def _same_classes(before: Coupling, after: Coupling, cut: Cut, dead: Flags) -> None:
    old, new, places = _entries(before, after, cut)
    entries = old, new
    vanished = _vanished(before, dead)
    old, new = _canonical(before.classes, vanished)[old], _canonical(after.classes, np.zeros(0, np.int64))[new]
    known = (old > 0) & (new > 0)
    old, new, places = old[known], new[known], places[known]
    order = np.argsort(new, kind="stable")
    old, new, places = old[order], new[order], places[order]
    if not len(new):
        return None
    first = np.concatenate([[True], new[1:] != new[:-1]])
    lead = np.maximum.accumulate(np.where(first, np.arange(len(new)), 0))
    wrong = np.nonzero(old != old[lead])[0]
    if not len(wrong):
        _same_parts(before, after, *entries)
        return _same_products(before.classes, after.classes, *entries)
    one, other = (_place(before, int(places[i])) for i in (wrong[0], lead[wrong[0]]))
    raise VerificationError(
        f"the altered model puts entries together that were apart: {one} and {other}.",
        f"{len(wrong)} of {len(new)} entries don't fit; nothing has been changed",
        way_out=_FAULT,
    )


def _same_answers(before: Coupling, after: Coupling, cut: Cut) -> None:
    expected, got = (answer_shapes(before) if cut.answers is None else cut.answers), answer_shapes(after)
    # Where a model chooses by values, as a detector does, there is no telling how many boxes it finds.
    first = 1 if before.record.computed or after.record.computed else 0
    if [shape[first:] for shape in expected] != [shape[first:] for shape in got]:
        raise VerificationError(
            f"the altered {before.model_name} answers tensors of other shapes.",
            f"expected {expected[:4]}, got {got[:4]}",
            expected=expected,
            got=got,
            way_out=_FAULT,
        )


def _same_sizes(before: Coupling, after: Coupling, cut: Cut) -> None:
    if list(before.record.leaves) != list(after.record.leaves):
        odd = set(before.record.leaves).symmetric_difference(after.record.leaves)
        raise VerificationError(
            f"the altered model has other tensors than before: {', '.join(sorted(odd)[:4])}.",
            "a tensor that was shared is no longer, or the other way round",
            way_out=_FAULT,
        )
    for leaf, axes in before.record.leaves.items():
        others = after.record.leaves.get(leaf, [])
        want = [_length(axis, cut.kept.get(leaf, {}).get(dim)) for dim, axis in enumerate(axes)]
        if [len(axis) for axis in others] != want:
            raise VerificationError(
                f"{leaf} of the altered model has shape {[len(axis) for axis in others]}.",
                f"expected {want}",
                name=leaf,
                way_out=_FAULT,
            )


def _same_entries(before: Coupling, cut: Cut, dead: Flags) -> None:
    """Raise unless what lives is kept, and entries that go together, or stay, are in the order in which they were.

    A trace tells neither what is left of a family of which one entry is left, nor positions of one channel apart.
    """
    alive, alike = before.classes.alive(dead), _canonical(before.classes, np.zeros(0, np.int64))
    rows = [_numbered(before, rows) for rows in before.rows]
    for leaf, axes in cut.kept.items():
        for dim, kept in axes.items() if leaf in before.record.leaves else ():
            for classes, block in _blocks(before, (leaf, dim), cut.kept[leaf]):
                right = _is_what_lives(alike[classes], alive[classes], block)
                near = (row for row in rows if row[classes[0]] >= 0)
                if not right or not all(_is_in_rows(row[classes], block) for row in near):
                    raise VerificationError(
                        f"{leaf} of the altered model is made of other entries than those that are left.",
                        f"its axis {dim} keeps {len(block)} of {number_of(kept)} in another order, or others",
                        name=leaf,
                        way_out=_FAULT,
                    )


def _numbered(before: Coupling, rows: Rows) -> Axis:
    """Class → in which row of a division it is, or −1."""
    found = np.full(before.classes.count, -1, np.int64)
    split = rows.split
    found[before.classes.of(split.whole)] = np.arange(len(split.whole)) // len(split.place)
    found[0] = -1
    return found


def _is_in_rows(rows: Axis, kept: Axis) -> bool:
    """Whether the rows of an axis, if it consists of them, stand behind each other as they did."""
    one_by_one = bool((rows >= 0).all() and (np.diff(rows) >= 0).all())
    return not one_by_one or bool((np.diff(rows[kept]) >= 0).all())


def _is_what_lives(classes: Axis, alive: Flags, kept: Axis) -> bool:
    if not np.array_equal(np.unique(kept), np.nonzero(alive)[0]):
        return False
    labels = classes[kept]
    order = np.argsort(labels, kind="stable")
    again = labels[order][1:] == labels[order][:-1]
    # What is there several times, as it is when a model gets wider, stands behind its part.
    return len(kept) > int(np.count_nonzero(alive)) or bool((np.diff(kept[order])[again] > 0).all())


def _blocks(before: Coupling, place: tuple[str, int], kept: Mapping[int, Entries]) -> Iterator[tuple[Axis, Axis]]:
    """The old classes along an axis and what is kept of them; for each block that has a list of its own."""
    leaf, dim = place
    axis, whole = before.record.leaves[leaf][dim], before.unrolled.get(place)
    lists = [np.array(block) for block in blocks_of(kept[dim])]
    if whole is None:
        yield from ((before.classes.of(axis), block) for block in lists)
        return
    for row, block in zip(_rows_left(before, leaf, whole.reshape(-1, len(axis)), kept), lists, strict=False):
        yield before.classes.of(row), block


def _rows_left(before: Coupling, leaf: str, rows: Axis, kept: Mapping[int, Entries]) -> Axis:
    first = np.arange(len(before.record.leaves[leaf][0]))
    left = np.array(blocks_of(kept[0])[0]) if 0 in kept else first
    alive: Axis = rows[np.unique(left * len(rows) // len(first))]
    return alive


def _entries(before: Coupling, after: Coupling, cut: Cut) -> tuple[Axis, Axis, Axis]:
    """Old class, new class and place of every entry that is still there."""
    old, new, places = [], [], []
    # Which experts run is a matter of values: those that did not this time say nothing of their own.
    silent = tuple(f"{name}." for name in after.alike)
    for number, (leaf, axes) in enumerate(before.record.leaves.items()):
        for dim in range(0 if leaf.startswith(silent) else len(axes)):
            if len(after.record.leaves[leaf][dim]) > 1:
                there, here = _met(before, after, (leaf, dim), cut.kept.get(leaf, {}))
                old.append(before.classes.of(there))
                new.append(after.classes.of(here))
                places.append(np.full(len(here), number * 64 + dim))
    empty = [np.zeros(0, np.int64)]
    return np.concatenate(empty + old), np.concatenate(empty + new), np.concatenate(empty + places)


def _length(axis: Axis, kept: Entries | None) -> int:
    return len(axis) if kept is None else number_of(kept)


def _met(before: Coupling, after: Coupling, place: tuple[str, int], kept: Mapping[int, Entries]) -> tuple[Axis, Axis]:
    """The ids of an axis before, of what is kept, and after; block by block where either has blocks of its own."""
    leaf, dim = place
    axis, new = before.record.leaves[leaf][dim], after.leaf_axis(leaf, dim)
    lists = [np.array(block) for block in blocks_of(kept.get(dim, tuple(range(len(axis)))))]
    whole = before.unrolled.get(place)
    if whole is not None:
        alive = _rows_left(before, leaf, whole.reshape(-1, len(axis)), kept)
        there = np.concatenate([row[lists[i % len(lists)]] for i, row in enumerate(alive)])
    else:
        there = np.concatenate([axis[block] for block in lists])
    most = max(len(there), len(new))
    return np.tile(there, most // len(there)), np.tile(new, most // len(new))


def _same_parts(before: Coupling, after: Coupling, old: Axis, new: Axis) -> None:
    """Raise unless what is in one of several parts of equal size, such as a group, was in that part before."""
    if [len(parts) for parts in before.balanced] != [len(parts) for parts in after.balanced]:
        return
    was = np.zeros(after.classes.count, np.int64)
    # A product of which one factor has vanished is no longer one: there is nothing to compare it with.
    plain = ~np.isin(old, before.classes.whole)
    was[new[plain]] = old[plain]
    for mine, theirs in zip(before.balanced, after.balanced, strict=True):
        if not all(map(before.families.is_plain, mine)) or not all(map(after.families.is_plain, theirs)):
            continue
        for one, other in zip(mine, theirs, strict=True):
            there = was[after.families.primes_of(other)]
            strangers = np.setdiff1d(there[there > 0], before.families.primes_of(one))
            if len(strangers):
                raise VerificationError(
                    "the altered model divides its channels otherwise than before, such as into other halves.",
                    f"{len(strangers)} of {len(there)} entries of a part were in another one",
                    way_out=_FAULT,
                )


def _same_products(before: Classes, after: Classes, old: Axis, new: Axis) -> None:
    """Raise unless all that a new prime class is found in has an old one in common: a head must lie in one head."""
    pairs = np.unique(np.stack([new, old], 1)[(new > 0) & (old > 0)], axis=0)
    if not len(pairs):
        return
    row, mine = _expanded(after, pairs[:, 0])
    again, theirs = _expanded(before, pairs[row, 1])
    met = np.stack([mine[again], theirs], 1)
    known, times = np.unique(met, axis=0, return_counts=True)
    best = np.zeros(after.count, np.int64)
    np.maximum.at(best, known[:, 0], times)
    wrong = np.nonzero(best < np.bincount(mine, minlength=after.count))[0]
    if len(wrong):
        raise VerificationError(
            "the altered model divides its channels otherwise than before, such as into other heads.",
            f"{len(wrong)} of {len(np.unique(mine))} sets of entries lie across several old ones",
            way_out="a size in its code does not follow: keep this layer, with  ignore=",
        )


def _expanded(classes: Classes, of: Axis) -> tuple[Axis, Axis]:
    """The prime classes of each given class, with which one it was."""
    row = np.full(classes.count, -1, np.int64)
    row[classes.whole] = np.arange(len(classes.whole))
    at = row[of]
    columns = np.zeros((len(of), max(1, classes.primes.shape[1] if classes.primes.ndim == 2 else 1)), np.int64)
    columns[:, 0] = of
    if (at >= 0).any():
        columns[at >= 0] = classes.primes[at[at >= 0]]
    which, column = np.nonzero(columns > 0)
    return which, columns[which, column]


def _vanished(before: Coupling, dead: Flags) -> Axis:
    """Prime classes that are the last of their family: nothing tells them from what has only one entry."""
    left = [members[~dead[members]] for members in before.families.lists]
    return np.concatenate([np.zeros(0, np.int64), *(members for members in left if len(members) == 1)])


def _canonical(classes: Classes, vanished: Axis) -> Axis:
    """Class → a number that is the same for products of the same primes, those that have vanished left out."""
    number = np.arange(classes.count)
    if not len(classes.whole):
        return number
    primes = np.where(np.isin(classes.primes, vanished), 0, classes.primes)
    primes = np.sort(primes, 1)[:, ::-1]
    _, first, inverse = np.unique(primes, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    single = (primes > 0).sum(1) <= 1
    number[classes.whole] = np.where(single, primes[:, 0], classes.whole[first][inverse])
    return number


def _place(coupling: Coupling, number: int) -> str:
    return f"{list(coupling.record.leaves)[number // 64]} (axis {number % 64})"
