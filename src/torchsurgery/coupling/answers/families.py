"""Prime classes by the role that they play: those found in the same axes equally often are one family.

The 64 channels of a residual stream are a family, the 12 heads of a layer another, and the 64 entries of each head a
third. Channels of one family can stand for each other; which of them goes is a matter of importance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np

from ..constraints.atoms import Axis
from ..constraints.record import Record
from ..solving.classes import Classes, Flags
from ..solving.joining import joined, once, parted, tallied
from .lists import Lists

# A parameter or buffer, and which of its axes.
Place: TypeAlias = tuple[str, int]


class Uses(Lists):
    """Which prime classes are found in which axes of tensors, and how often: worked out once for each list.

    Attributes:
        places: All axes of tensors: (tensor, dimension).
        is_product: For each list whether some entry depends on several prime classes.
        list, prime, times: Three columns: a list, by its number; a prime class; how many entries depend on it.
    """

    def __init__(self, record: Record, classes: Classes, unrolled: Mapping[Place, Axis]) -> None:
        self.places = [(leaf, dim) for leaf, axes in record.leaves.items() for dim in range(len(axes))]
        axes = [axis for axes in record.leaves.values() for axis in axes]
        if unrolled:
            axes = [unrolled.get(place, axis) for place, axis in zip(self.places, axes, strict=True)]
        super().__init__(axes, classes)
        labels, number = self.labels, np.repeat(np.arange(len(self.lists)), self.lengths)
        number, labels = number[labels > 0], labels[labels > 0]
        row = classes.row_of[labels]
        deep = row >= 0
        self.is_product = np.zeros(len(self.lists), bool)
        self.is_product[number[deep]] = True
        columns = classes.primes[row[deep]]
        numbers = np.broadcast_to(number[deep][:, None], columns.shape)
        pairs = np.concatenate([number[~deep], numbers[columns > 0]]) * classes.count
        pairs += np.concatenate([labels[~deep], columns[columns > 0]])
        pairs, self.times = tallied(pairs)
        self.list, self.prime = np.divmod(pairs, classes.count)

    def classes_of(self, place: int) -> Axis:
        """The classes of the entries of an axis, by its number."""
        classes: Axis = self.lists[self.list_of[place]]
        return classes

    def summed(self, numbers: Axis) -> Axis:
        """For each list the sum of the numbers that its axes have."""
        sums = np.zeros(len(self.lists), np.int64)
        np.add.at(sums, self.list_of, numbers)
        return sums

    def spread(self, lists: Axis) -> tuple[Axis, Axis]:
        """The axes of some lists, by their numbers, and for each of them which of the lists it is of."""
        sizes = np.bincount(self.list_of, minlength=len(self.lists))
        starts, wanted = np.cumsum(sizes) - sizes, sizes[lists]
        which = np.repeat(np.arange(len(lists)), wanted)
        within = np.arange(len(which)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        return np.argsort(self.list_of, kind="stable")[starts[lists][which] + within], which


class Families:
    """Families of prime classes, and which axes they reach into.

    Attributes:
        lists: The classes of each family, in order.
        number: Class → its family, or −1.
        uses: Which axes they are found in.
        balanced: Lists of parts that must be of one size: what is found in other parts is another family.
    """

    def __init__(
        self,
        record: Record,
        classes: Classes,
        balanced: Sequence[Sequence[Axis]] = (),
        unrolled: Mapping[Place, Axis] | None = None,
    ) -> None:
        self.record, self.classes, self.balanced = record, classes, balanced
        self.uses = Uses(record, classes, unrolled or {})
        self.lists = self._grouped()
        self.number = np.full(classes.count, -1, np.int64)
        self.number[joined(self.lists)] = np.repeat(np.arange(len(self.lists)), [len(m) for m in self.lists])

    def _grouped(self) -> list[Axis]:
        signature, seen = self._signatures()
        found = np.nonzero(seen)[0]
        if not len(found):
            return []
        first = self.classes.first[found]
        block = np.searchsorted(np.array(self.record.ledger.starts), first, side="right")
        signature, parts = signature[found], self._parts[found]
        order = np.lexsort((first, block, parts, signature))
        starts = _starts(signature[order], parts[order], block[order])
        lists = parted(found[order], np.append(starts[1:], len(order)))
        begins = first[order[starts]]
        return [lists[number] for number in np.argsort(begins, kind="stable").tolist()]

    def _signatures(self) -> tuple[Axis, Flags]:
        """For each prime class a number that tells in which axes it is found how often."""
        random = np.random.default_rng(0).integers(1, 2**62, len(self.uses.places), np.int64)
        weights = self.uses.summed(random).astype(np.uint64)
        signature = np.zeros(self.classes.count, np.uint64)
        seen = np.zeros(self.classes.count, bool)
        seen[self.uses.prime] = True
        terms = weights[self.uses.list] * (np.uint64(1000003) + self.uses.times.astype(np.uint64))
        np.add.at(signature, self.uses.prime, terms)
        return signature.view(np.int64), seen

    @cached_property
    def _parts(self) -> Axis:
        """For each prime class a number that tells in which of the parts that must be of one size it is found."""
        weights = np.random.default_rng(1).integers(1, 2**62, sum(map(len, self.balanced)), np.int64)
        found, first = np.zeros(self.classes.count, np.int64), 0
        for parts, is_plain in zip(self.balanced, self.is_plainly_divided, strict=True):
            number, prime = self._primes_in(parts, is_plain)
            np.add.at(found, prime, weights[first + number])
            first += len(parts)
        return found

    def _primes_in(self, parts: Sequence[Axis], is_plain: bool) -> tuple[Axis, Axis]:
        """The prime classes in some parts, each once in each, as two columns: the number of the part, and the class."""
        if not is_plain:
            primes = [self.primes_of(part) for part in parts]
            return np.repeat(np.arange(len(parts)), [len(found) for found in primes]), joined(primes)
        # There may be hundreds of groups of a convolution: all at once.
        number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        pairs, _ = tallied(number * np.int64(self.classes.count) + self.classes.of(np.concatenate(parts)))
        return np.divmod(pairs, self.classes.count)

    @cached_property
    def is_plainly_divided(self) -> list[bool]:
        """For each of `balanced` whether every entry may go, and depends on one prime class only."""
        return [self.is_plain(np.concatenate(parts)) for parts in self.balanced]

    def primes_of(self, axis: Axis) -> Axis:
        """The prime classes that the entries of an axis depend on, each once."""
        return self.classes.primes_of(self.classes.of(axis))

    def is_plain(self, axis: Axis) -> bool:
        """Whether every entry of an axis may go, and depends on one prime class only."""
        labels = self.classes.of(axis)
        return bool((labels > 0).all() and (self.classes.row_of[labels] < 0).all())

    @cached_property
    def kinds(self) -> Axis:
        """For each family a number that tells in which axes and parts it is found, whatever their widths."""
        weights = np.random.default_rng(2).integers(1, 2**62, len(self.uses.places), np.int64)
        found = self._parts.copy()
        np.add.at(found, self.uses.prime, self.uses.summed(weights)[self.uses.list])
        return np.array([found[members[0]] for members in self.lists], np.int64)

    # --- where they are

    @cached_property
    def counts(self) -> tuple[Axis, Axis, Axis]:
        """Which families are found in which lists of `uses`, and how many classes of each: list, family, number."""
        pairs = self.uses.list * np.int64(len(self.lists) + 1) + self.number[self.uses.prime]
        pairs, numbers = tallied(pairs)
        number, family = np.divmod(pairs, len(self.lists) + 1)
        return number, family, numbers

    @cached_property
    def _places(self) -> list[Axis]:
        """The axes that each family reaches into, by their numbers."""
        number, family, _ = self.counts
        place, which = self.uses.spread(number)
        family = family[which]
        order = np.lexsort((place, family))
        return parted(place[order], np.searchsorted(family[order], np.arange(1, len(self.lists) + 1)))

    def reached(self, channels: Axis) -> list[int]:
        """The axes of tensors that some channels reach into, by their numbers in the model's order."""
        families = once(self.number[channels])
        found = [self._places[family] for family in families[families >= 0]]
        places: list[int] = (found[0] if len(found) == 1 else once(joined(found))).tolist()
        return places

    @cached_property
    def beside(self) -> list[int]:
        """For each family the first of those that lie beside it in the same axes, as rows of a division do."""
        found = list(range(len(self.lists)))
        for parts, is_plain in zip(self.balanced, self.is_plainly_divided, strict=True):
            if is_plain:
                first: dict[bytes, int] = {}
                for family in once(self.number[self.primes_of(np.concatenate(parts))]).tolist():
                    if family >= 0:
                        found[family] = first.setdefault(self._places[family].tobytes(), family)
        return found

    def owner(self, classes: Axis, members: Axis) -> Axis:
        """For each of some classes which of `members` it depends on, by its place among them, or −1."""
        place = self._scratch
        place[members] = np.arange(len(members))
        owner: Axis = place[classes]
        if len(self.classes.whole):
            row = self.classes.row_of[classes]
            deep = np.nonzero(row >= 0)[0]
            primes = self.classes.primes[row[deep]]
            owner[deep] = np.where(primes > 0, place[primes], -1).max(1, initial=-1)
        place[members] = -1
        return owner

    @cached_property
    def _scratch(self) -> Axis:
        """−1 for each class; whoever writes to it puts it back: a new one for each question would take longer."""
        return np.full(self.classes.count, -1, np.int64)

    def touches(self, classes: Axis, channels: Axis) -> Flags:
        """Which of some classes go if one of `channels` does."""
        row = self.classes.row_of[classes]
        plain = np.isin(classes, channels) & (row < 0)
        deep = row >= 0
        plain[deep] = np.isin(self.classes.primes[row[deep]], channels).any(1)
        return plain


def _starts(*columns: Axis) -> Axis:
    """The first row, and those that differ from the one before in some column."""
    differs = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.concatenate([np.zeros(1, np.int64), np.nonzero(differs)[0] + 1])
