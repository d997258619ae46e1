"""One call of an operation, as a rule sees it: the words in which rules say what holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...inputs import Arguments
from ..constraints.atoms import Axis, broadcast, is_fixed
from ..constraints.integers import Site, Traced, expression_of
from ..constraints.record import NO_ROOTS, Notes, Record, Sum, Term


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


def freeze_all(call: Call, why: str) -> None:
    """What isn't understood: whatever goes in and comes out keeps its size."""
    for tensor in call.tensors:
        # Those that it had: an operation may have given it other axes in place.
        notes = getattr(tensor, "_coupling", None)
        for axis in notes.axes if isinstance(notes, Notes) else ():
            call.freeze(axis, why)
    call.give_fixed(why)
