"""What an operation says about the axes of its tensors: the registry of rules, and what a rule is given.

A rule states the axes of the results and the constraints that hold, in the words of `Call`. An operation without a rule
freezes all that comes near it, under its name. The rules themselves are in `elementwise`, `views`, `moves`, `layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..errors import TraceError
from ..inputs import Arguments
from .atoms import NOWHERE, Axis, Ledger, Where, broadcast, is_fixed
from .integers import Integers, Site, Traced, Widths, expression_of

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


class Call:
    """One call of an operation, as a rule sees it.

    Attributes:
        name: The operation's name without its namespace, such as "conv2d".
        args: Positional arguments.
        kwargs: Keyword arguments.
        out: What it answered: a tensor, several, or something else.
        tensors: All tensors among the arguments.
        outs: All tensors among the results.
    """

    def __init__(
        self, record: Record, op: Any, name: str, arguments: Arguments, tensors: list[Tensor], out: Any
    ) -> None:
        self.record, self.ledger = record, record.ledger
        self.op, self.name, self.tensors, self.out = op, name, tensors, out
        self.args, self.kwargs = arguments
        self.outs = [out] if isinstance(out, Tensor) else tensors_in(out)
        self.pending: list[tuple[Axis, int]] = []

    # --- arguments

    def arg(self, name: str, default: Any = None) -> Any:
        """An argument by the name that it has in the operation's schema."""
        known = _arguments(self.op).get(name)
        if known is None:
            return default
        if known[0] < len(self.args):
            return self.args[known[0]]
        return self.kwargs.get(name, known[1] if known[2] else default)

    def has(self, name: str) -> bool:
        """Whether the operation has an argument of this name."""
        return name in _arguments(self.op)

    def dim(self, name: str = "dim", default: int = 0, rank: int | None = None) -> int:
        """An argument that counts axes, from the front."""
        value = self.arg(name, default)
        rank = self.args[0].dim() if rank is None else rank
        return int(value) % max(rank, 1)

    def given(self, *functions: str) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments as the model's code gave them, if it called one of these Python functions."""
        if self.record.given is None or self.record.given[0] not in functions:
            return None
        return self.record.given[1:]

    @property
    def inside_torch(self) -> bool:
        """Whether the operation was called by PyTorch itself, which works its sizes out anew each time."""
        return self.record.given is None

    # --- tensors

    def axes(self, tensor: Tensor) -> list[Axis]:
        """The axes of a tensor, one array of ids each."""
        notes = getattr(tensor, "_coupling", None)
        if isinstance(notes, Notes) and len(notes.axes) == tensor.dim():
            return list(notes.axes)
        return [self.ledger.fixed(size, "a tensor that is neither parameter nor buffer") for size in tensor.shape]

    def roots(self, tensor: Tensor) -> frozenset[str]:
        """The parameters and buffers that a tensor is made of, if it is made of nothing else."""
        notes = getattr(tensor, "_coupling", None)
        return notes.roots if isinstance(notes, Notes) else NO_ROOTS

    def leaf(self, tensor: Tensor) -> str | None:
        """The name of the parameter or buffer that a tensor is."""
        notes = getattr(tensor, "_coupling", None)
        return notes.leaf if isinstance(notes, Notes) else None

    def give(self, tensor: Tensor, axes: Iterable[Axis]) -> None:
        """State the axes of a result."""
        axes = list(axes)
        if [len(axis) for axis in axes] != list(tensor.shape):
            raise ValueError(f"{self.name}: axes of {[len(axis) for axis in axes]} for {tuple(tensor.shape)}")
        tensor._coupling = Notes(axes, where=self.ledger.where)  # type: ignore[attr-defined]

    def give_fixed(self, why: str) -> None:
        """State that all axes of all results keep their size."""
        for tensor in self.outs:
            self.give(tensor, [self.ledger.fixed(size, why) for size in tensor.shape])

    # --- constraints

    def tie(self, one: Axis, other: Axis) -> None:
        """Entry i of both live or die together."""
        self.ledger.tie(one, other)

    def freeze(self, axis: Axis, why: str) -> None:
        """The axis keeps its size."""
        self.ledger.freeze(axis, why)

    def freeze_if_used(self, axis: Axis, why: str) -> None:
        """The axis keeps its size if the result is used for more than its shape."""
        if not is_fixed(axis):
            self.pending.append((axis, self.ledger.reason(why)))

    def fixed(self, length: int, why: str) -> Axis:
        """An axis that keeps its size."""
        return self.ledger.fixed(length, why)

    def broadcast(self, tensors: Sequence[Tensor], shape: Sequence[int]) -> list[Axis]:
        """The axes of an elementwise result of these tensors."""
        return broadcast(self.ledger, [(self.axes(t), t.shape) for t in tensors], shape)

    def broadcast_axes(self, lists: Sequence[Sequence[Axis]]) -> list[Axis]:
        """As `broadcast`, of lists of axes: aligned at the end, one entry stretches."""
        rank = max(len(axes) for axes in lists)
        shape = [max((len(a[i - rank]) for a in lists if i - rank + len(a) >= 0), default=1) for i in range(rank)]
        return broadcast(self.ledger, [(axes, [len(axis) for axis in axes]) for axes in lists], shape)

    def size(self, value: Any, axis: Axis) -> None:
        """The code gives this integer as the number of entries of an axis; a plain one must stay true."""
        if isinstance(value, Traced):
            if len(axis) > 1:
                self.record.integers.sites.append(Site(expression_of(value), axis, self.ledger.where))
        elif isinstance(value, (int, Tensor)) and value >= 0:
            self.freeze(axis, f"the code says {int(value)}")

    def size_if_used(self, value: Any, axis: Axis) -> None:
        """As `size`, where a plain integer only holds if the result is used for more than its shape."""
        if isinstance(value, Traced):
            self.size(value, axis)
        else:
            self.freeze_if_used(axis, f"the code counts {len(axis)} of its entries")

    def role(self, axis: Axis, role: str) -> None:
        """What an axis of a parameter is to its layer: "in", "out" or "both"."""
        whole = self.record.parts.get(id(axis))
        self.record.roles.setdefault(id(axis if whole is None else whole[1]), role)

    def mixes(self, axis: Axis, why: str) -> None:
        """The operation lets the entries of an axis influence each other."""
        if not is_fixed(axis):
            self.record.mixing.append((axis, self.ledger.reason(why)))

    def sums(self, one: Tensor, axis: Axis, other: Tensor, along: Axis, over: Axis | None = None) -> None:
        """The operation multiplies an axis of one tensor with one of another and sums over them; see `Term`."""
        if len(along) > 1:
            terms = (
                Term(axis, self.roots(one), axis),
                Term(along, self.roots(other), along if over is None else over),
            )
            self.record.sums.append(Sum(*terms, self.ledger.where))

    def works(self, constant: int, *axes: Axis) -> None:
        """The operation takes as many multiplications as the lengths of the axes, times a constant."""
        self.record.work.append((constant, axes))


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors among arguments or results."""
    found: list[Tensor] = []
    _gather(value if isinstance(value, (list, tuple)) else (value,), found)
    return found


def _gather(values: Iterable[Any], found: list[Tensor]) -> None:
    """A loop for all that is told by its class at once: each operation's arguments go through here."""
    for item in values:
        if type(item) in _NO_TENSORS:
            continue
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, (list, tuple)):
            _gather(item, found)
        elif isinstance(item, dict):
            _gather(item.values(), found)


_NO_TENSORS = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device})


@cache
def _arguments(op: Any) -> dict[str, tuple[int, Any, bool]]:
    """Name → place, default, and whether there is a default, of an operation's arguments."""
    return {
        argument.name: (i, argument.default_value, argument.has_default_value())
        for i, argument in enumerate(op._schema.arguments)
    }


Rule: TypeAlias = Callable[[Call], None]
_R = TypeVar("_R", bound=Rule)

RULES: dict[str, Rule] = {}
USER_RULES: dict[str, Rule] = {}


def serves(names: str) -> Callable[[_R], _R]:
    """Registers a rule for operations of PyTorch, by their names without namespace, separated by blanks."""

    def register(function: _R) -> _R:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return register


def rule(operation: Any) -> Callable[[_R], _R]:
    """Tell the trace what an operation of your own does with the axes of its tensors.

    Args:
        operation: Its qualified name, "mylib::myop", or the operation itself, `torch.ops.mylib.myop`.

    Returns:
        A decorator for the rule: a function of a `Call`, which states the axes of the results (`call.give`) and what
        hangs together (`call.tie`, `call.freeze`).

    Raises:
        TraceError: if it names no operation.

    Example:
        >>> @ts.rule("mylib::scale_rows")
        ... def scale_rows(call):
        ...     x, scale = call.args
        ...     call.tie(call.axes(x)[0], call.axes(scale)[0])
        ...     call.give(call.out, call.axes(x))
    """
    name = operation if isinstance(operation, str) else _qualified_name(operation)
    if name is None or name.count("::") != 1:
        raise TraceError(
            f"a rule is for an operation, got {operation!r}.",
            got=operation,
            way_out='give its qualified name:  @ts.rule("mylib::myop")',
        )

    def register(function: _R) -> _R:
        USER_RULES[name] = function
        return function

    return register


def _qualified_name(operation: Any) -> str | None:
    if isinstance(operation, torch._ops.OpOverload):
        return operation._schema.name
    name = getattr(operation, "_qualified_op_name", None)
    return name if isinstance(name, str) else None


def rule_for(op: Any) -> tuple[str, Rule | None]:
    """The name under which an operation is known, and its rule if it has one."""
    qualified = op._schema.name
    namespace, _, name = qualified.partition("::")
    if qualified in USER_RULES:
        return name, USER_RULES[qualified]
    if namespace not in ("aten", "prims"):
        return name, None
    for known in _spellings(name):
        if known in RULES:
            return known, RULES[known]
    if torch.Tag.pointwise in op.tags:
        return name, RULES["_elementwise"]
    if torch.Tag.reduction in op.tags and not is_composite(op):
        return name, RULES["_reduction"]
    return name, None


def _spellings(name: str) -> Iterable[str]:
    yield name
    if name.endswith("_") and not name.endswith("__"):
        yield name[:-1]
    if name.startswith("_unsafe_"):
        yield name.removeprefix("_unsafe_")
    if name.endswith("_copy"):
        yield name.removesuffix("_copy")


def is_composite(op: Any) -> bool:
    """Whether an operation is made of others, which can be followed in its place."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), key))


def freeze_all(call: Call, why: str) -> None:
    """What isn't understood: whatever goes in and comes out keeps its size."""
    for tensor in call.tensors:
        # Those that it had: an operation may have given it other axes in place.
        notes = getattr(tensor, "_coupling", None)
        for axis in notes.axes if isinstance(notes, Notes) else ():
            call.freeze(axis, why)
    call.give_fixed(why)
