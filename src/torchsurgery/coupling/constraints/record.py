"""What a trace gathers: what is known of each tensor, and what was said of the axes of all.

Rules write it, through `rules.call`; all that comes behind reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .atoms import NOWHERE, Axis, Ledger, Where
from .integers import Integers, Widths

NO_ROOTS: frozenset[str] = frozenset()


class Notes:
    """What is known of one tensor.

    Attributes:
        axes: The ids along each axis.
        pending: Axes to be frozen, with the reason's number, if the tensor's values are used: a slice that is only
            asked for its shape freezes nothing.
        leaf: The name of the parameter or buffer that it is, or None.
        where: The operation that made it.
        roots: The parameters and buffers that it is made of, if it is made of nothing else.
        filled: What it is filled with, if it holds one value only; see `filled.py`.
    """

    __slots__ = ("axes", "filled", "leaf", "pending", "roots", "where")

    def __init__(
        self,
        axes: list[Axis],
        pending: tuple[tuple[Axis, int], ...] = (),
        leaf: str | None = None,
        where: Where = NOWHERE,
    ) -> None:
        self.axes, self.pending, self.leaf, self.where = axes, pending, leaf, where
        self.roots: frozenset[str] = NO_ROOTS if leaf is None else frozenset({leaf})
        self.filled: Any = None


class Term(NamedTuple):
    """One of two tensors that are multiplied and summed over an axis.

    Attributes:
        axis: That axis.
        roots: The parameters and buffers that the tensor is made of, if it is made of nothing else.
        over: For each entry of the axis what it is summed over with: its place in its group, where groups are summed
            over one by one; mostly the axis itself.
    """

    axis: Axis
    roots: frozenset[str]
    over: Axis


class Sum(NamedTuple):
    """Two axes multiplied entry by entry and summed over, as a matrix product does."""

    one: Term
    other: Term
    where: Where


class Record:
    """What a trace gathers besides constraints.

    Attributes:
        ledger: The constraints.
        integers: The integers of the model's code.
        leaves: Parameter or buffer → the axes it started with.
        parameters: Those leaves that are parameters.
        touched: The leaves that some operation was given.
        roles: The id of a leaf's axis → "in", "out" or "both".
        counted: The id of a leaf's axis → the axis along which its layer's channels are counted, where that is another:
            the units of a recurrent layer behind its gates.
        balanced: Axes that must have equal numbers of entries: the parts of a `chunk`.
        parts: The id of a run of a leaf's axis, as a projection of several has them → itself and that axis.
        tied: A layer whose tensor is another's → the name of that tensor.
        apart: Axes that must not come to just so many entries, with the reason.
        instead: What the model is taken to be of, or None where it is taken as it is.
        computed: Whether the model was run for real, since it reads values.
        deciding: Modules whose code reads whether something is true, so that it may take another way on other inputs.
        answers: The axes of the tensors that the model returned.
        caches: (module, attribute) of dictionaries into which the forward puts tensors.
        mixing: Axes over which an operation reduces or normalises, so that zeroing an entry isn't removing it.
        sums: Where two axes are multiplied and summed over: what is there twice counts twice.
        work: What the multiplications of an operation are the product of: axes and a constant.
        unknown: Operations without a rule, with how often they came.
        given: The Python function called, with its arguments as the code gave them; None inside PyTorch.
    """

    def __init__(self, computed: bool = False, instead: Widths | None = None) -> None:
        self.computed, self.instead = computed, instead
        self.ledger = Ledger()
        self.integers = Integers(instead={} if instead is None else instead.attributes)
        self.leaves: dict[str, list[Axis]] = {}
        self.parameters: set[str] = set()
        self.roles: dict[int, str] = {}
        self.counted: dict[int, Axis] = {}
        self.touched: set[str] = set()
        self.balanced: list[list[Axis]] = []
        self.parts: dict[int, tuple[Axis, Axis]] = {}
        self.tied: dict[str, str] = {}
        self.apart: list[tuple[Axis, int, str]] = []
        self.deciding: dict[str, None] = {}
        self.answers: list[list[Axis]] = []
        self.caches: list[tuple[str, str]] = []
        self.mixing: list[tuple[Axis, int]] = []
        self.sums: list[Sum] = []
        self.work: list[tuple[int, tuple[Axis, ...]]] = []
        self.unknown: dict[str, int] = {}
        self.given: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None

    def unseen(self) -> list[str]:
        """Layers with parameters that nothing was computed with."""
        unused = self.parameters - self.touched
        return list(dict.fromkeys(layer_of(leaf) for leaf in self.leaves if leaf in unused)) if unused else []

    def freeze_untouched(self) -> None:
        """Nothing is known of what a tensor needs with which nothing was computed."""
        for leaf in [leaf for leaf in self.leaves if leaf not in self.touched]:
            self.ledger.where = Where("", layer_of(leaf))
            for axis in self.leaves[leaf]:
                self.ledger.freeze(axis, "not used on these inputs")


def layer_of(leaf: str) -> str:
    """The name of the layer that a tensor is of; one under a parametrization is its layer's."""
    layer, is_parametrized, _ = f".{leaf}".partition(".parametrizations.")
    return layer[1:] if is_parametrized else leaf.rpartition(".")[0]
