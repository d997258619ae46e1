"""The integers of a model's code once some entries are gone: which attributes must have which value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..constraints.atoms import Axis, Where
from ..constraints.integers import Attribute, Expression, Integers, Length, Unsolved, evaluate, names_in


@dataclass(frozen=True, eq=False, slots=True)
class Demand:
    """An integer in the code that must be the number of entries of an axis.

    Attributes:
        number: That of the axis, among those of all demands.
        names: The attributes that it is computed from, each once.
    """

    expression: Expression
    number: int
    where: Where
    names: tuple[Attribute, ...]


class Demands:
    """All that a model's code demands of its integers; what doesn't depend on the numbers of entries is read once.

    Attributes:
        all: In the order of the code, those that say the same once.
        axes: The axes whose numbers of entries count, each once.
    """

    def __init__(self, integers: Integers) -> None:
        self.integers = integers
        self.axes: list[Axis] = []
        self._number: dict[int, int] = {}
        told: dict[tuple[Expression, int], Where] = {}
        for site in integers.sites:
            told.setdefault((site.expression, self._number_of(site.axis)), site.where)
        self.all = [Demand(*said, where, _attributes_in(said[0])) for said, where in told.items()]
        self.lengths = [(Length(i), self._number_of(axis)) for i, axis in enumerate(integers.lengths)]
        # The others are known once the axes are counted.
        self.computed = [i for i, d in enumerate(self.all) if d.names and not isinstance(d.expression, Attribute)]

    def _number_of(self, axis: Axis) -> int:
        number = self._number.setdefault(id(axis), len(self.axes))
        if number == len(self.axes):
            self.axes.append(axis)
        return number

    def met(self, counts: Sequence[int]) -> dict[Attribute, int]:
        """Each attribute that must change, with its new value.

        Args:
            counts: How many entries of each of the axes are left.

        Raises:
            Unsolved: if no value does; what it names must keep its size then.
        """
        return _Adjustment(self, counts).run()


def _attributes_in(expression: Expression) -> tuple[Attribute, ...]:
    return tuple(dict.fromkeys(name for name in names_in(expression) if isinstance(name, Attribute)))


class _Adjustment:
    def __init__(self, demands: Demands, counts: Sequence[int]) -> None:
        self.demands, self.integers = demands, demands.integers
        self.wanted = [counts[demand.number] for demand in demands.all]
        self.known: dict[Attribute | Length, int] = {length: counts[number] for length, number in demands.lengths}

    def run(self) -> dict[Attribute, int]:
        self._take_direct()
        for most in (1, 2):
            while any(self._solve(number, most) for number in self.demands.computed):
                pass
        before = self.integers.attributes
        for name, value in before.items():  # what nothing determines stays what it is
            self.known.setdefault(name, value)
        for demand, wanted in zip(self.demands.all, self.wanted, strict=True):
            if evaluate(demand.expression, self.known) != wanted:
                raise Unsolved(self._involved(demand), demand.where, demand.expression)
        return {
            name: value for name, value in self.known.items() if isinstance(name, Attribute) and value != before[name]
        }

    def _take_direct(self) -> None:
        """Attributes that are themselves given as a size; equal ones are compared afterwards."""
        for demand, wanted in zip(self.demands.all, self.wanted, strict=True):
            if isinstance(demand.expression, Attribute):
                self.known.setdefault(demand.expression, wanted)
        for one, other in self.integers.equations:
            self._equate(one, other)
            self._equate(other, one)

    def _equate(self, one: Expression, other: Expression) -> None:
        if isinstance(one, Attribute) and one not in self.known:
            value = evaluate(other, self.known)
            if value is not None:
                self.known[one] = value

    def _solve(self, number: int, most: int) -> bool:
        """Find one unknown of an expression that has at most `most` of them; answers whether it did."""
        demand, wanted, before = self.demands.all[number], self.wanted[number], self.integers.attributes
        unknown = [name for name in demand.names if name not in self.known]
        if not unknown or len(unknown) > most:
            return False
        # Of several the largest: a width rather than a number of parts.
        first = max(unknown, key=lambda name: before[name])
        known: dict[Attribute | Length, int] = {**{name: before[name] for name in unknown}, **self.known}
        for value in (before[first], *range(1, 4 * max(wanted, before[first]) + 1)):
            known[first] = value
            if evaluate(demand.expression, known) == wanted:
                self.known[first] = value
                return True
        return False

    def _involved(self, demand: Demand) -> list[Axis]:
        """The axis itself, those of the lengths in its expression, and those whose size its attributes are given as."""
        axes = [self.demands.axes[demand.number]]
        for name in names_in(demand.expression):
            if isinstance(name, Length):
                axes.append(self.integers.lengths[name.number])
            else:
                said = (other.number for other in self.demands.all if other.expression == name)
                axes += [self.demands.axes[number] for number in said]
        return axes
