"""The integers of a model's code once some entries are gone: which attributes must have which value."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .atoms import Axis, Where
from .integers import Attribute, Expression, Integers, Length, Unsolved, evaluate, names_in

Count = Callable[[Axis], int]


def adjusted(integers: Integers, count: Count) -> dict[Attribute, int]:
    """Each attribute that must change, with its new value.

    Args:
        integers: What was seen of the model's integers.
        count: How many entries of an axis are left.

    Raises:
        Unsolved: if no value does; what it names must keep its size then.
    """
    return _Adjustment(integers, count).run()


class _Adjustment:
    def __init__(self, integers: Integers, count: Count) -> None:
        self.integers, self.count = integers, count
        self.known: dict[Attribute | Length, int] = {Length(i): count(axis) for i, axis in enumerate(integers.lengths)}
        self.said: dict[Attribute, list[Axis]] = {}

    def run(self) -> dict[Attribute, int]:
        demands = list(self._demands())
        self._take_direct(demands)
        while any(self._solve(demand, 1) for demand in demands if self._unknown(demand[0])):
            pass
        while any(self._solve(demand, 2) for demand in demands if self._unknown(demand[0])):
            pass
        self._keep_the_rest()
        for expression, wanted, axis, where in demands:
            if evaluate(expression, self.known) != wanted:
                raise Unsolved(self._involved(expression, axis), where, expression)
        before = self.integers.attributes
        return {
            name: value for name, value in self.known.items() if isinstance(name, Attribute) and value != before[name]
        }

    def _demands(self) -> Iterator[tuple[Expression, int, Axis | None, Where]]:
        for site in self.integers.sites:
            yield site.expression, self.count(site.axis), site.axis, site.where

    def _take_direct(self, demands: list[tuple[Expression, int, Axis | None, Where]]) -> None:
        """Attributes that are themselves given as a size; equal ones are compared afterwards."""
        for expression, wanted, axis, _ in demands:
            if isinstance(expression, Attribute):
                self.known.setdefault(expression, wanted)
                if axis is not None:
                    self.said.setdefault(expression, []).append(axis)
        for one, other in self.integers.equations:
            self._equate(one, other)
            self._equate(other, one)

    def _equate(self, one: Expression, other: Expression) -> None:
        if isinstance(one, Attribute) and one not in self.known:
            value = evaluate(other, self.known)
            if value is not None:
                self.known[one] = value

    def _unknown(self, expression: Expression) -> list[Attribute]:
        return [n for n in dict.fromkeys(names_in(expression)) if isinstance(n, Attribute) and n not in self.known]

    def _solve(self, demand: tuple[Expression, int, Axis | None, Where], most: int) -> bool:
        """Find one unknown of an expression that has at most `most` of them; answers whether it did."""
        expression, wanted, _, _ = demand
        before = self.integers.attributes
        # Of several the largest: a width rather than a number of parts.
        unknown = sorted(self._unknown(expression), key=lambda name: -before[name])
        if not unknown or len(unknown) > most:
            return False
        known: dict[Attribute | Length, int] = {**{name: before[name] for name in unknown}, **self.known}
        first = unknown[0]
        for value in (before[first], *range(1, 4 * max(wanted, before[first]) + 1)):
            if evaluate(expression, {**known, first: value}) == wanted:
                self.known[first] = value
                return True
        return False

    def _keep_the_rest(self) -> None:
        """Attributes that nothing determines stay what they are."""
        for name, value in self.integers.attributes.items():
            self.known.setdefault(name, value)

    def _involved(self, expression: Expression, axis: Axis | None) -> list[Axis]:
        axes = [] if axis is None else [axis]
        for name in names_in(expression):
            axes += [self.integers.lengths[name.number]] if isinstance(name, Length) else self.said.get(name, [])
        return axes
