"""Families that must lose the same number of channels, since one integer of the code counts them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..constraints.atoms import Axis
from ..constraints.integers import Expression
from ..solving.joining import joined, once
from ..solving.rows import Rows
from .groups import Coupling


@dataclass(frozen=True, eq=False)
class Bundle:
    """Families that change by equal numbers, or where they are of several lengths, by equal shares.

    Attributes:
        number: Its place among all bundles.
        families: Prime classes, one list a family.
        unit: How many entries of the narrowest axis that they are found in belong to one channel.
        part: The classes of one of the parts that must be of one size; of one family where all are of one length.
        is_shared_out: Whether the model itself must tell how many of each family are left when so many of a part are:
            the families are of several lengths, or put in another order by a shuffle.
    """

    number: int
    families: tuple[Axis, ...]
    unit: int
    part: Axis
    is_shared_out: bool = False

    @property
    def size(self) -> int:
        """How many channels each part has."""
        return len(self.part)


def _bundle(number: int, families: tuple[Axis, ...], unit: int, part: Axis | None, is_shuffled: bool) -> Bundle:
    is_even = part is None or len({len(members) for members in families}) == 1
    return Bundle(number, families, unit, families[0] if is_even else part, is_shuffled or not is_even)  # type: ignore[arg-type]


class Bundles:
    """All bundles of a model.

    Attributes:
        all: In the order of the model.
    """

    def __init__(self, coupling: Coupling) -> None:
        self.coupling, self.families = coupling, coupling.families
        self._root = list(range(len(self.families.lists)))
        self._parts: list[tuple[int, Axis]] = []
        self._tie_parts()
        self._tie_integers()
        roots = list(map(self._find, self._root))
        numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
        self._bundle_of = np.array([numbers[root] for root in roots], np.int64)
        members: list[list[Axis]] = [[] for _ in numbers]
        for number, channels in zip(self._bundle_of.tolist(), self.families.lists, strict=True):
            members[number].append(channels)
        units, parts, shuffled = self._units(len(members)), self._shortest_parts(), self._shuffled()
        self.all = tuple(
            _bundle(i, tuple(lists), max(1, unit), parts.get(i), i in shuffled)
            for i, (lists, unit) in enumerate(zip(members, units, strict=True))
        )

    def of(self, primes: Axis) -> list[Bundle]:
        """The bundles of some prime classes."""
        return [self.all[number] for number in self._numbers_of(self.families.number[primes]).tolist()]

    def _numbers_of(self, families: Axis) -> Axis:
        """The numbers of the bundles of some families, each once; −1 stands for what is of none."""
        families = once(families)
        return once(self._bundle_of[families[families >= 0]])

    def one_of_each_product(
        self, bundles: Sequence[Bundle], cost: Callable[[Bundle], float | None], *, everywhere: bool = False
    ) -> list[Bundle]:
        """Of bundles that are multiplied with each other, one of least cost.

        That is the channels of each group of a convolution rather than whole groups; else those that more layers take,
        so that more goes with them; else the outermost, heads before their width.

        Args:
            bundles: To choose from.
            cost: How badly a bundle comes to what is asked for; None if it can't lose any.
            everywhere: Whether all layers are asked to lose some: then groups that take one channel each go as a whole,
                for only so does the stream of these channels.
        """
        in_groups = self._in_groups - self._of_streams if everywhere else self._in_groups
        costs = {bundle.number: cost(bundle) for bundle in bundles}
        able = [
            (c, number not in in_groups, -self._takers[number], len(self._around[number]), number)
            for number, c in costs.items()
            if c is not None
        ]
        chosen: list[Bundle] = []
        taken: set[int] = set()
        for *_, number in sorted(able):
            if not self._multiplied[number] & taken:
                chosen.append(self.all[number])
                taken.add(number)
        return sorted(chosen, key=lambda b: b.number)

    @cached_property
    def _takers(self) -> list[int]:
        """For each bundle how many axes take its channels, counting each layer's input once."""
        families, record = self.families, self.coupling.record
        uses, (number, family, _) = families.uses, families.counts
        inputs = [record.roles.get(id(record.leaves[leaf][dim])) == "in" for leaf, dim in uses.places]
        pairs = once(self._bundle_of[family] * len(uses.lists) + number)
        bundle, number = np.divmod(pairs, max(len(uses.lists), 1))
        times = np.zeros(len(self.all), np.int64)
        np.add.at(times, bundle, uses.summed(np.array(inputs, np.int64))[number])
        return [int(number) for number in times]

    @cached_property
    def _in_groups(self) -> set[int]:
        """The bundles of channels that each group has of its own, and that nothing mixes within it."""
        mixed = {id(axis) for axis, _ in self.coupling.record.mixing}
        return self._at_places(rows for rows in self.coupling.rows if id(rows.split.place) not in mixed)

    @cached_property
    def _of_streams(self) -> set[int]:
        """The bundles of what a convolution makes of single channels, where each of these is a group."""
        place, family, _ = self.families.counts
        streams = family[~self.families.uses.is_product[place]]
        return self._at_places(
            rows
            for rows in self.coupling.rows
            if np.isin(self.families.number[self.families.primes_of(rows.split.row)], streams).any()
        )

    def _at_places(self, divisions: Iterable[Rows]) -> set[int]:
        return {bundle.number for rows in divisions for bundle in self.of(self.families.primes_of(rows.split.place))}

    def levels(self, bundles: Sequence[Bundle], heads: bool | None) -> list[Bundle]:
        """Of bundles that are multiplied with each other those on the outside, such as heads, or on the inside.

        Args:
            bundles: To choose from.
            heads: True for the outermost, False for the innermost, None for all.
        """
        there = {bundle.number for bundle in bundles}

        def fits(number: int) -> bool:
            around = self._around[number] & there
            return not around if heads else around == self._multiplied[number] & there

        return [bundle for bundle in bundles if heads is None or fits(bundle.number)]

    # --- what counts together

    def _find(self, family: int) -> int:
        while self._root[family] != family:
            self._root[family] = family = self._root[self._root[family]]
        return family

    def _tie(self, axes: Iterable[Axis]) -> None:
        """Families that these axes consist of, if each axis is one family in full."""
        found = [family for family in map(self._only_family, axes) if family is not None]
        for other in found[1:]:
            if len(self.families.lists[found[0]]) == len(self.families.lists[other]):
                one, two = sorted((self._find(found[0]), self._find(other)))
                self._root[two] = one

    def _only_family(self, axis: Axis) -> int | None:
        families = once(self.families.number[self.coupling.classes.of(axis)])
        one = len(families) == 1 and families[0] >= 0 and len(self.families.lists[families[0]]) == len(axis)
        return int(families[0]) if one else None

    def _tie_parts(self) -> None:
        """Parts of equal size lose equally many, whatever families they consist of, if the model can tell how many."""
        for parts, is_plain in zip(self.coupling.balanced, self.families.is_plainly_divided, strict=True):
            is_even = len({len(part) for part in parts}) == 1
            if self.coupling.again is None or not is_even or not is_plain:
                self._tie(parts)
                continue
            families = once(self._families_of(np.concatenate(parts)))
            first = self._find(int(families[0]))
            for other in families[1:]:
                one, two = sorted((first, self._find(int(other))))
                self._root[two] = first = one
            self._parts.append((first, self.families.primes_of(parts[0])))

    def _families_of(self, axis: Axis) -> Axis:
        return self.families.number[self.families.primes_of(axis)]

    def _shortest_parts(self) -> dict[int, Axis]:
        """Bundle → the classes of the shortest of the parts that it is found in."""
        found: dict[int, Axis] = {}
        for family, part in self._parts:
            number = int(self._bundle_of[family])
            if number not in found or len(part) < len(found[number]):
                found[number] = part
        return found

    def _shuffled(self) -> set[int]:
        """The bundles of what a shuffle brings into another order."""
        turned = [rows.split.whole for rows in self.coupling.rows if rows.split.is_turned]
        return set(self._numbers_of(joined(list(map(self._families_of, turned)))).tolist())

    def _tie_integers(self) -> None:
        axes: dict[Expression, list[Axis]] = {}
        for site in self.coupling.record.integers.sites:
            axes.setdefault(site.expression, []).append(site.axis)
        for sites in axes.values():
            if len(sites) > 1:
                self._tie(sites)

    # --- what is multiplied

    def _units(self, count: int) -> list[int]:
        """For each of so many bundles the fewest entries of an axis that one of its channels has."""
        number, family, numbers = self.families.counts
        uses = self.families.uses
        several = np.bincount(number, minlength=len(uses.lists)) > 1
        units = np.where((several & uses.is_product)[number], np.maximum(1, uses.lengths[number] // numbers), 1)
        found = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(found, self._bundle_of[family], units)
        return [int(unit) for unit in found]

    @cached_property
    def _multiplied(self) -> list[set[int]]:
        """For each bundle those that it is multiplied with in some tensor of the model."""
        found: list[set[int]] = [set() for _ in self.all]
        classes = self.coupling.classes
        there = np.zeros(classes.count, bool)
        for labels in self._product_lists():
            there[labels] = True
        primes = classes.primes[there[classes.whole]]
        bundles = np.where(primes > 0, self._bundle_of[self.families.number[primes]], -1)
        for row in _each_once(np.sort(bundles, 1)).tolist():
            numbers = {number for number in row if number >= 0}
            for number in numbers:
                found[number] |= numbers - {number}
        return found

    @cached_property
    def _around(self) -> list[set[int]]:
        """For each bundle those that it is multiplied with and lies inside of, as a head's width does in the heads."""
        found: list[set[int]] = [set() for _ in self.all]
        asked: set[tuple[int, int]] = set()
        for number, here in self._found_in.items():
            pairs = {(one, other) for one in here for other in self._multiplied[one] & here if one < other}
            for one, other in sorted(pairs - asked):
                classes = self.families.uses.lists[number]
                inner, outer = sorted((one, other), key=lambda bundle: -self._runs(classes, bundle))
                found[inner].add(outer)
            asked |= pairs
        return found

    @cached_property
    def _found_in(self) -> dict[int, set[int]]:
        """Which bundles are found in each list of `uses` some entries of which depend on several prime classes."""
        found: dict[int, set[int]] = {}
        number, family, _ = self.families.counts
        deep = self.families.uses.is_product[number]
        pairs = once(number[deep] * len(self.all) + self._bundle_of[family[deep]])
        for pair in pairs.tolist():
            of_list, bundle = divmod(pair, len(self.all))
            found.setdefault(of_list, set()).add(bundle)
        return found

    def _product_lists(self) -> Iterator[Axis]:
        """The classes of axes of tensors some entries of which depend on several prime classes."""
        uses = self.families.uses
        return (uses.lists[number] for number in np.nonzero(uses.is_product)[0].tolist())

    def _runs(self, classes: Axis, number: int) -> int:
        """How often one channel of a bundle follows another along an axis."""
        owner = self.families.owner(classes, np.concatenate(self.all[number].families))
        return int(np.count_nonzero(owner[1:] != owner[:-1]))


def _each_once(rows: Axis) -> Axis:
    """Equal rows once. `np.unique` of rows compares bytes; numbers for what their columns begin with are quicker."""
    number = np.zeros(len(rows), np.int64)
    for column in rows.T:
        pairs = number * np.int64(len(rows) + 1) + np.unique(column, return_inverse=True)[1]
        _, first, number = np.unique(pairs, return_index=True, return_inverse=True)
    return rows[first] if rows.size else rows[:0]
