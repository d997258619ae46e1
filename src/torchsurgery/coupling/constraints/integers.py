"""Integers of the model's Python code that stand for the width of something.

`x.view(b, n, self.num_heads, self.head_dim)` must follow when heads go. While a model is traced, the integers among its
attributes, and the sizes that it reads off tensors, are integers that remember how they were computed. Wherever one of
them is given as a size, that is a site: the value must be the number of entries alive there. An integer that remembers
nothing must stay what it is, and so must the axis.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn

from ...layers.following import WIDTHS, axes_told
from .atoms import Axis, Where, words


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


def _forward(name: str) -> Callable[[Traced, Any], Any]:
    function = _FUNCTIONS[name]

    def method(self: Traced, other: Any) -> Any:
        if type(other) not in (int, Traced):
            return getattr(int, f"__{name}__")(self, other)
        result = function(int(self), int(other))
        return Traced(result, Term(name, self.expression, expression_of(other)), self.ledger)

    return method


def _backward(name: str) -> Callable[[Traced, Any], Any]:
    function = _FUNCTIONS[name]

    def method(self: Traced, other: Any) -> Any:
        if type(other) not in (int, Traced):
            return getattr(int, f"__r{name}__")(self, other)
        result = function(int(other), int(self))
        return Traced(result, Term(name, expression_of(other), self.expression), self.ledger)

    return method


for _name in _FUNCTIONS:
    setattr(Traced, f"__{_name}__", _forward(_name))
    setattr(Traced, f"__r{_name}__", _backward(_name))


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


# --- laying them into a model

# Sizes of windows and their like, which have nothing to do with channels.
_OTHER = words(
    """stride padding dilation kernel_size output_padding _version _reversed_padding_repeated_twice training
    padding_idx num_layers layer_idx call_super_init output_size"""
)
# What the forwards of torch.nn's own layers read.
_READ_BY_TORCH = sorted(
    words(
        """groups normalized_shape num_groups num_heads embed_dim head_dim hidden_size proj_size unflattened_size
        upscale_factor downscale_factor num_features"""
    )
)
# A longer list is a table, such as the numbers of each window's neighbours, and no list of widths.
_LONGEST = 512


@contextmanager
def laid_into(names: Mapping[nn.Module, str], integers: Integers) -> Iterator[None]:
    """A block in which the integer attributes of the modules, and of their configs, are traced."""
    undo: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module, name in names.items():
            only = _READ_BY_TORCH if type(module).__module__.startswith("torch.nn.") else None
            _lay_into(module.__dict__, name, "", integers, undo, only)
            if only is not None and "weight" in module._parameters:
                # And what the code of the layers above may read off them.
                _lay_into(module.__dict__, name, "", integers, undo, tuple(axes_told(module)))
        yield
    finally:
        for state, key, value in reversed(undo):
            state[key] = value


def pin(names: Mapping[nn.Module, str], integers: Integers) -> None:
    """Hold the widths that the code has read off layers to the axes of their weights, which are stand-ins by then."""
    used = {n for site in integers.sites for n in names_in(site.expression)} | integers.factors
    used |= {n for pair in integers.equations for expression in pair for n in names_in(expression)}
    told = [name for name in used if isinstance(name, Attribute) and name.key in WIDTHS]
    modules = {name: module for module, name in names.items()} if told else {}
    for name in told:
        dim = axes_told(modules[name.module]).get(name.key)
        notes = getattr(modules[name.module]._parameters.get("weight"), "_coupling", None)
        if dim is not None and notes is not None and len(notes.axes[dim]) > 1:
            integers.sites.append(Site(name, notes.axes[dim], Where("the width", name.module)))


_NO_INTEGERS = frozenset({bool, float, str, dict, set, OrderedDict, type(None), Tensor, nn.Parameter})


def _lay_into(
    state: dict[str, Any],
    module: str,
    prefix: str,
    integers: Integers,
    undo: list[tuple[dict[str, Any], str, Any]],
    only: Sequence[str] | None,
) -> None:
    for key, value in list(state.items()) if only is None else [(key, state[key]) for key in only if key in state]:
        if key in _OTHER or type(value) in _NO_INTEGERS:
            continue
        traced = _traced(value, module, prefix + key, integers)
        if traced is not None:
            undo.append((state, key, value))
            state[key] = traced


def _traced(value: Any, module: str, key: str, integers: Integers) -> Any:
    """What stands in for an attribute while the model is traced; None where it stays."""
    if type(value) is int:
        return integers.attribute(module, key, value) if value > 0 else None
    if type(value) in (tuple, list) and 0 < len(value) <= _LONGEST and all(type(item) is int for item in value):
        return type(value)(integers.attribute(module, f"{key}[{i}]", item) for i, item in enumerate(value))
    return config_copy(value, module, key, integers) if is_config(value) else None


def config_copy(value: Any, module: str, key: str, integers: Integers) -> Any:
    """A config of this module's own, so that one layer's integers can be told from another's."""
    twin = shallow(value)
    _lay_into(vars(twin), module, f"{key}.", integers, [], None)
    return twin


def shallow(value: Any) -> Any:
    """A copy of an object that shares its attributes, past whatever its class does on copying."""
    twin = object.__new__(type(value))
    vars(twin).update(vars(value))
    return twin


def is_config(value: Any) -> bool:
    """Whether this is an object of settings, such as Hugging Face's, which layers share."""
    return type(value).__name__.lower().endswith(("config", "cfg")) and isinstance(
        getattr(value, "__dict__", None), dict
    )


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
