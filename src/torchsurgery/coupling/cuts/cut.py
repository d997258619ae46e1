"""What becomes of a model when some classes go, or come several times: as plain data, by names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ...origins import Entries
from ..answers.groups import Coupling
from ..constraints.atoms import Axis, Where
from ..constraints.integers import Attribute, Length, Unsolved, Widths, names_in
from ..constraints.record import Record
from ..solving.classes import Flags


@dataclass(frozen=True, eq=False)
class Cut:
    """Which entries each tensor is made of afterwards, and which integers follow.

    Attributes:
        kept: Parameter or buffer → axis → the old entries that it has then, in order; one that is widened has some of
            them several times. What isn't named stays whole.
        attributes: Integer attributes of modules with their new values.
        mixing: Operations because of which the rest is computed otherwise: normalisations, means.
        left: Layers of which some channels were to go and stay after all → why.
        shares: Parameter or buffer → axis → what each entry is multiplied by.
        answers: The shapes of the model's answers afterwards, where they are asked to change.
    """

    kept: Mapping[str, Mapping[int, Entries]]
    attributes: Mapping[Attribute, int]
    mixing: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, Mapping[int, tuple[float, ...]]] = field(default_factory=dict)
    answers: list[tuple[int, ...]] | None = None


class Numbers(ABC):
    """How many entries each axis will have, and the integers that follow from it."""

    def __init__(self, coupling: Coupling) -> None:
        self.coupling = coupling

    @abstractmethod
    def count(self, axis: Axis) -> int:
        """How many entries an axis will have."""

    def attributes(self) -> dict[Attribute, int]:
        """Integers of the code that must change.

        Raises:
            Unsolved: if there is no value for one of them.
        """
        demands = self.coupling.demands
        return demands.met([self.count(axis) for axis in demands.axes])

    def params(self, names: frozenset[str]) -> int:
        """How many entries the named leaves have."""
        leaves = self.coupling.record.leaves
        return sum(int(np.prod([self.count(axis) for axis in leaves[name]], dtype=np.int64)) for name in names)

    def macs(self) -> int:
        """Multiplications of all operations."""
        work = self.coupling.record.work
        return sum(constant * int(np.prod([self.count(a) for a in axes], dtype=np.int64)) for constant, axes in work)


class Remains(Numbers):
    """What is left of each axis when the prime classes flagged in `dead` go."""

    def __init__(self, coupling: Coupling, dead: Flags) -> None:
        super().__init__(coupling)
        self.dead, self.alive = dead, coupling.classes.alive(dead)
        self.uses = coupling.families.uses
        self._counts: dict[int, tuple[Axis, int]] = {}

    @cached_property
    def counts(self) -> Axis:
        """How many entries of each list of `uses` live."""
        return self.uses.counts(self.alive)

    def flags(self, axis: Axis) -> Flags:
        """Which entries of an axis live."""
        return self.alive[self.coupling.classes.of(axis)]

    def count(self, axis: Axis) -> int:
        """How many entries of an axis live."""
        # The same axis is asked for wherever the code reads its length.
        known = self._counts.get(id(axis))
        if known is None:
            known = self._counts[id(axis)] = axis, int(np.count_nonzero(self.flags(axis)))
        return known[1]

    def differ(self, parts: Sequence[Axis]) -> bool:
        """Whether of some axes of one length not all have as many entries that live."""
        counts = self.flags(np.concatenate(parts)).reshape(len(parts), -1).sum(1)
        return bool((counts != counts[0]).any())

    def attributes(self) -> dict[Attribute, int]:
        """Integers of the code that must change, worked out once.

        Raises:
            Unsolved: if there is no value for one of them.
        """
        if isinstance(self._solved, Unsolved):
            raise self._solved
        return self._solved

    @property
    def unsolved(self) -> Unsolved | None:
        """What there is no value for."""
        return self._solved if isinstance(self._solved, Unsolved) else None

    @cached_property
    def _solved(self) -> dict[Attribute, int] | Unsolved:
        demanded = self.coupling.demanded
        try:
            return self.coupling.demands.met(demanded.counts(self.alive)[demanded.list_of].tolist())
        except Unsolved as error:
            return error

    def emptied(self) -> tuple[str, int] | None:
        """A tensor and its axis of which nothing would be left, if there is one."""
        places, leaves = self.uses.places, self.coupling.record.leaves
        is_empty = (self.counts == 0) & (self.uses.lengths > 1)
        found = [places[i] for i in np.nonzero(is_empty[self.uses.list_of])[0][:1]]
        # Blocks that lose entries of their own are counted end to end above; the axis that they share is asked here.
        found += [(leaf, dim) for leaf, dim in self.coupling.unrolled if not self.flags(leaves[leaf][dim]).any()]
        return found[0] if found else None

    def cut(
        self, left: Mapping[str, str] | None = None, orders: Mapping[str, Mapping[int, Entries]] | None = None
    ) -> Cut:
        """As plain data.

        Args:
            left: Layers of which some channels were to go and stay after all → why.
            orders: Parameter or buffer → axis → what is left of it, where that is not in the old order.

        Raises:
            Unsolved: if there is no value for an integer of the code.
        """
        kept = self._kept()
        for leaf, ordered in (orders or {}).items():
            kept.get(leaf, {}).update({dim: order for dim, order in ordered.items() if dim in kept.get(leaf, {})})
        return Cut(kept, self.attributes(), tuple(dict.fromkeys(self._mixing())), left or {})

    def _kept(self) -> dict[str, dict[int, Entries]]:
        kept: dict[str, dict[int, Entries]] = {}
        uses, leaves = self.uses, self.coupling.record.leaves
        narrower = {
            number: self.alive[uses.lists[number]] for number in np.nonzero(self.counts < uses.lengths)[0].tolist()
        }
        entries = {number: tuple(np.nonzero(flags)[0].tolist()) for number, flags in narrower.items()}
        for (leaf, dim), number in zip(uses.places, uses.list_of.tolist(), strict=True):
            if number not in narrower:
                continue
            flags, axis = narrower[number], leaves[leaf][dim]
            if len(flags) == len(axis):
                kept.setdefault(leaf, {})[dim] = entries[number]
            elif not self.flags(axis).all():
                kept.setdefault(leaf, {})[dim] = in_blocks(flags, len(axis))
        return kept

    def _mixing(self) -> list[str]:
        reasons = self.coupling.record.ledger.reasons
        found = [str(reasons[i]) for axis, i in self.coupling.record.mixing if not self.flags(axis).all()]
        return found + [
            f"a factor in the code depends on its width ({where})"
            for axis, where in factors(self.coupling)
            if not self.flags(axis).all()
        ]


def in_blocks(flags: Flags, length: int) -> Entries:
    """What each block of a weight keeps of so many entries; one list where that is the same for all."""
    blocks = [tuple(np.nonzero(block)[0].tolist()) for block in flags.reshape(-1, length) if block.any()]
    return blocks[0] if len(set(blocks)) == 1 else tuple(blocks)


def widths_of(record: Record, numbers: Numbers) -> Widths:
    """The shapes of tensors and the integers of the code that come of other numbers of entries.

    Raises:
        Unsolved: if there is no value for an integer of the code.
    """
    shapes = {leaf: tuple(map(numbers.count, axes)) for leaf, axes in record.leaves.items()}
    changed = {name: shape for name, shape in shapes.items() if shape != tuple(map(len, record.leaves[name]))}
    return Widths(changed, numbers.attributes())


def answer_shapes(coupling: Coupling, count: Callable[[Axis], int] = len) -> list[tuple[int, ...]]:
    """The shapes of the tensors that a model answers, given how many entries each axis has."""
    return [tuple(map(count, axes)) for axes in coupling.record.answers]


def factors(coupling: Coupling) -> Iterator[tuple[Axis, Where]]:
    """Axes of whose width the code computes a fraction or a root, such as head_dim ** -0.5."""
    integers = coupling.record.integers
    for site in integers.sites:
        if not integers.factors.isdisjoint(names_in(site.expression)):
            yield site.axis, site.where
    for name in integers.factors:
        if isinstance(name, Length):
            yield integers.lengths[name.number], Where("size", "")
