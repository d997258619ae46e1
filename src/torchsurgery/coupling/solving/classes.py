"""Classes of atoms: what lives and dies together, and which pairs of atoms that follows from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..constraints.atoms import Axis, Ledger, Where
from .joining import Wholes, joined, once

Flags = npt.NDArray[np.bool_]


@dataclass
class Links:
    """Pairs of atoms that are in one class, with where that comes from.

    Attributes:
        ledger: Its ties, and what it freezes, are links, too.
        one: Ids, frozen ones negative or zero.
        other: Their partners.
        source: For what follows from product k, −1 − k.
    """

    ledger: Ledger
    one: list[Axis] = field(default_factory=list)
    other: list[Axis] = field(default_factory=list)
    source: list[Axis] = field(default_factory=list)

    def add(self, one: Axis, other: Axis, source: Axis) -> bool:
        """Note some pairs; answers whether there were any."""
        if len(one):
            self.one.append(one)
            self.other.append(other)
            self.source.append(source)
        return bool(len(one))

    def arrays(self) -> tuple[Axis, Axis, Axis]:
        """All pairs; those of the ledger's ties have the number of the tie for their source."""
        ties, frozen = self.ledger.ties, self.ledger.frozen
        one = joined([*(tie.one for tie in ties), *(axis for axis, _ in frozen), *self.one])
        stays = [np.full(len(axis), -reason) for axis, reason in frozen]
        other = joined([*(tie.other for tie in ties), *stays, *self.other])
        numbers = [np.full(len(tie.one), number) for number, tie in enumerate(ties)]
        return one, other, joined([*numbers, *(np.full(len(axis), -1) for axis in stays), *self.source])


@dataclass(frozen=True, eq=False)
class Classes:
    """What lives and dies together.

    Attributes:
        labels: Atom → class; class 0 is what is frozen.
        first: Class → its first atom.
        whole: Classes that are products of others, each once.
        factors: For each of `whole` the classes that it is a product of, filled up with 0.
        primes: For each of `whole` the classes that are no products which it comes down to, filled up with 0.
        links: All pairs of atoms that are one, for `paths.py`.
        products: The operation of each product that links follow from.
        one: Which axes are one as wholes.
    """

    labels: Axis
    first: Axis
    whole: Axis
    factors: Axis
    primes: Axis
    links: Links
    products: tuple[Where, ...]
    one: Wholes = field(repr=False)

    @property
    def count(self) -> int:
        """How many classes there are."""
        return len(self.first)

    def of(self, axis: Axis) -> Axis:
        """The class of each entry of an axis."""
        return self.labels[np.maximum(axis, 0)]

    def alive(self, dead: Flags) -> Flags:
        """For each class whether it lives when the prime classes flagged in `dead` go."""
        alive = ~dead
        alive[0] = True
        if len(self.whole):
            alive[self.whole] = alive[self.primes.T].all(0)  # what they are filled up with lives
        return alive

    def primes_of(self, classes: Axis) -> Axis:
        """The prime classes, each once and in order, on which the given ones depend."""
        classes = once(classes)
        row = self.row_of[classes]
        composite = row >= 0
        if not composite.any():
            return classes[classes > 0]
        found = once(np.concatenate([classes[~composite], self.primes[row[composite]].reshape(-1)]))
        return found[found > 0]

    @cached_property
    def row_of(self) -> Axis:
        """Class → its row among the products, or −1."""
        row = np.full(self.count, -1, np.int64)
        row[self.whole] = np.arange(len(self.whole))
        return row
