"""Integers of the model's Python code that stand for the width of something.

`x.view(b, n, self.num_heads, self.head_dim)` must follow when heads go. While a model is traced, the integers among its
attributes, and the sizes that it reads off tensors, are integers that remember how they were computed. Wherever one of
them is given as a size, that is a site: the value must be the number of entries alive there. An integer that remembers
nothing must stay what it is, and so must the axis.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from .atoms import Axis, Where


class Attribute(NamedTuple):
    """An integer attribute of a module: `key` is "groups", "kernel[1]" or "config.hidden_size"."""

    module: str
    key: str


class Length(NamedTuple):
    """The length of an axis, as it was read off a tensor."""

    number: int


class Term(NamedTuple):
    """Two integers and what was done with them."""

    function: str
    one: Expression
    other: Expression


Expression: TypeAlias = "int | Attribute | Length | Term"

_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "mul": operator.mul,
    "add": operator.add,
    "sub": operator.sub,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


class Widths(NamedTuple):
    """What a model is taken to be of, in place of what it is.

    Attributes:
        shapes: Parameter or buffer → its shape.
        attributes: Integer attributes of modules.
    """

    shapes: Mapping[str, tuple[int, ...]]
    attributes: Mapping[Attribute, int]


class Traced(int):
    """An integer that remembers how it was computed."""

    expression: Expression
    ledger: Integers

    def __new__(cls, value: int, expression: Expression, ledger: Integers) -> Traced:
        self = super().__new__(cls, value)
        self.expression, self.ledger = expression, ledger
        return self

    def __deepcopy__(self, memo: object) -> Traced:
        return self

    def __reduce__(self) -> Any:
        return int, (int(self),)

    # A width that becomes a factor, such as head_dim ** -0.5, changes what is computed when it changes.
    def __float__(self) -> float:
        self.ledger.factors.update(names_in(self.expression))
        return float(int(self))

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        if isinstance(other, float) or other < 0:
            return float(self) ** other
        return int(self) ** int(other)

    def __truediv__(self, other: Any) -> Any:
        return float(self) / other if isinstance(other, (int, float)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return other / float(self) if isinstance(other, (int, float)) else NotImplemented

    def __neg__(self) -> int:
        return Traced(-int(self), Term("sub", 0, self.expression), self.ledger)

    def __eq__(self, other: object) -> bool:
        same = int(self) == other
        # What the code compares and finds equal, it will want to find equal again.
        if same and isinstance(other, Traced) and other.expression != self.expression:
            self.ledger.equations.append((self.expression, other.expression))
        return same

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


def _operator(name: str, reflected: bool) -> Callable[[Traced, Any], Any]:
    function, plain = _FUNCTIONS[name], f"__{'r' if reflected else ''}{name}__"

    def method(self: Traced, other: Any) -> Any:
        if type(other) not in (int, Traced):
            return getattr(int, plain)(self, other)
        one, two = (other, self) if reflected else (self, other)
        result = function(int(one), int(two))
        return Traced(result, Term(name, expression_of(one), expression_of(two)), self.ledger)

    return method


for _name in _FUNCTIONS:
    setattr(Traced, f"__{_name}__", _operator(_name, False))
    setattr(Traced, f"__r{_name}__", _operator(_name, True))


def expression_of(value: int) -> Expression:
    """How an integer was computed; a plain one is itself."""
    return value.expression if isinstance(value, Traced) else int(value)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """An integer in the code that must be the number of entries alive in an axis."""

    expression: Expression
    axis: Axis
    where: Where


@dataclass
class Integers:
    """All that was seen of a model's integers.

    Attributes:
        attributes: Each integer attribute with its value.
        lengths: The axes whose length was read, by the number of their `Length`.
        sites: Where an integer is given as a size.
        equations: What was compared and found equal.
        factors: What the code computes a fraction or a root of.
        instead: Attributes that the model is taken to have other values of.
    """

    attributes: dict[Attribute, int] = field(default_factory=dict)
    lengths: list[Axis] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    equations: list[tuple[Expression, Expression]] = field(default_factory=list)
    factors: set[Attribute | Length] = field(default_factory=set)
    instead: Mapping[Attribute, int] = field(default_factory=dict)

    def length(self, axis: Axis) -> Traced:
        """The length of an axis, as code will see it."""
        self.lengths.append(axis)
        return Traced(len(axis), Length(len(self.lengths) - 1), self)

    def attribute(self, module: str, key: str, value: int) -> Traced:
        """An attribute, as code will see it."""
        name = Attribute(module, key)
        value = self.attributes[name] = self.instead.get(name, value)
        return Traced(value, name, self)


# --- what they must become


class Unsolved(Exception):
    """An integer that can't be what two sites ask for; the axes involved must keep their size."""

    def __init__(self, axes: list[Axis], where: Where, expression: Expression) -> None:
        self.axes, self.where, self.expression = axes, where, expression
        super().__init__(f"{in_words(expression)} in {where}")


def in_words(expression: Expression) -> str:
    """An expression as code: `num_heads * head_dim`."""
    if isinstance(expression, Attribute):
        return expression.key
    if isinstance(expression, Length):
        return "a size read"
    if isinstance(expression, Term):
        sign = {"mul": "*", "add": "+", "sub": "-", "floordiv": "//", "mod": "%"}[expression.function]
        return f"{in_words(expression.one)} {sign} {in_words(expression.other)}"
    return str(expression)


def evaluate(expression: Expression, known: Mapping[Attribute | Length, int]) -> int | None:
    """The value of an expression; None where it depends on something that is not known."""
    if isinstance(expression, Term):
        one, other = evaluate(expression.one, known), evaluate(expression.other, known)
        if one is None or other is None or (other == 0 and expression.function in ("floordiv", "mod")):
            return None
        return _FUNCTIONS[expression.function](one, other)
    return expression if isinstance(expression, int) else known.get(expression)


def names_in(expression: Expression) -> Iterator[Attribute | Length]:
    """The attributes and lengths that an expression is made of."""
    if isinstance(expression, Attribute | Length):
        yield expression
    elif isinstance(expression, Term):
        yield from names_in(expression.one)
        yield from names_in(expression.other)
