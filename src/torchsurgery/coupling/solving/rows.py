"""Axes divided into rows of which it doesn't matter what stands at the same place of each.

`x.view(n, 4, c // 4)` says that an entry lives if its row does and its place does, so that one place goes in all rows
together. Where the places are only counted, or reduced over, or the axis is put together again at once, as by a channel
shuffle, less will do: each row may lose entries of its own, as long as all rows lose equally many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..constraints.atoms import Axis, Ledger, Product, Split
from ..constraints.record import Record
from .joining import components, joined


@dataclass(frozen=True, eq=False)
class Rows:
    """A division of which only the number of places must stay the same in all rows.

    Attributes:
        split: The division.
        product: What holds of it instead: an entry lives if its row does and it does itself.
        parts: The entries themselves, row by row; those of the first row are the places of the division, whose number
            the code asks.
        reason: Why all rows stay, by its number, if the axis is put together otherwise afterwards; else None.
    """

    split: Split
    product: Product
    parts: tuple[Axis, ...]
    reason: int | None


def rows_of(record: Record) -> tuple[Rows, ...]:
    """The divisions of a model whose rows may lose entries of their own."""
    ledger = record.ledger
    # What a shuffle makes of a narrower model can only be told if that can be traced.
    free = [split for split in ledger.splits if not split.is_used and not (split.is_turned and record.computed)]
    if free:
        free = list(_unconstrained(record, free))
    while free:
        kept = list(_undivided(ledger, free))
        if len(kept) == len(free):
            break
        free = kept
    return tuple(_rows(ledger, split) for split in free)


def _rows(ledger: Ledger, split: Split) -> Rows:
    parts = (split.place, *(ledger.fresh(len(split.place)) for _ in split.row[1:]))
    old = ledger.products[split.number]
    ledger.where = old.where
    reason = ledger.reason("the number of rows of a shuffle") if split.is_turned else None
    return Rows(split, Product(split.whole, (old.factors[0], np.concatenate(parts)), old.where), parts, reason)


def _unconstrained(record: Record, splits: list[Split]) -> Iterator[Split]:
    """Those whose places nothing is said of but how many there are, and that they are mixed."""
    ledger = record.ledger
    owner = np.full(ledger.size, -1, np.int64)
    leaves = Counter((leaf, dim) for split in ledger.splits for leaf, dim, _ in split.taken)
    own, fitting = {split.number for split in splits}, set()
    for i, split in enumerate(splits):
        owner[split.place] = i
        for leaf, dim, number in split.taken:
            # A weight that is used twice would have to lose the same in both places.
            if leaves[leaf, dim] == 1:
                owner[record.leaves[leaf][dim]] = i
                fitting.add(number)
    ties = (tie for number, tie in enumerate(ledger.ties) if number not in fitting)
    said = [axis for tie in ties for axis in (tie.one, tie.other)]
    said += [axis for axis, _ in ledger.frozen]
    said += [a for i, p in enumerate(ledger.products) if i not in own for a in (p.whole, *p.factors)]
    told = [site.axis for site in record.integers.sites] + [axis for axis, _ in record.mixing]
    places = {id(split.place) for split in splits}
    said += [axis for axis in told if id(axis) not in places]
    is_said = np.zeros(len(splits) + 1, bool)
    is_said[owner[np.maximum(joined(said), 0)]] = True  # −1, nobody's, is the last
    return (split for i, split in enumerate(splits) if not is_said[i] and len(split.taken) <= 1)


def _undivided(ledger: Ledger, splits: list[Split]) -> Iterator[Split]:
    """Those whose axis no other view divides place by place: the two could not be brought together.

    Where the rows themselves can't go, nothing has to be.
    """
    parent = components(ledger)
    own = {split.number for split in splits}
    divided = np.zeros(ledger.size, bool)
    for i, product in enumerate(ledger.products):
        if i not in own:
            divided[parent[np.maximum(product.whole, 0)]] = True
    divided[0] = False
    for split in splits:
        stays = split.is_turned or not parent[split.row].any()
        if stays or not divided[parent[np.maximum(split.whole, 0)]].any():
            yield split
