"""Atoms: every index of every axis of every tensor carries one id, and two kinds of constraint hold between ids.

    tie(a, b)              entry i of `a` and entry i of `b` live or die together
    product(m; u1 … uk)    entry i of `m` lives if entry i of each u does: axes that a view merges or splits

Ids above zero are atoms, which may go. Ids of zero and below are frozen for good, and say why: −k stands for
`reasons[k]`. So whatever is frozen can name what froze it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

# The ids along one axis of a tensor, one an entry.
Axis: TypeAlias = npt.NDArray[np.int64]


class Where(NamedTuple):
    """An operation and the module in whose forward it ran."""

    operation: str
    module: str

    def __str__(self) -> str:
        return f"{self.operation} in {self.module}" if self.module else self.operation


class Reason(NamedTuple):
    """Why an axis keeps its size: in words, and the operation to blame."""

    what: str
    where: Where

    def __str__(self) -> str:
        return f"{self.what} ({self.where})" if self.where.operation not in self.what else f"{self.what}{self._place()}"

    def _place(self) -> str:
        return f" in {self.where.module}" if self.where.module else ""


class Tie(NamedTuple):
    """Two axes whose entries live or die together, one by one."""

    one: Axis
    other: Axis
    where: Where


class Product(NamedTuple):
    """An axis whose entry lives if the entries of all factors do; each factor has the length of the whole."""

    whole: Axis
    factors: tuple[Axis, ...]
    where: Where


@dataclass(eq=False)
class Split:
    """An axis divided into rows of equal length, as by `x.view(n, rows, length)`.

    Attributes:
        number: Its product, among those of the ledger.
        whole: The axis that is divided.
        row, place: The axes that it is divided into.
        is_turned: Whether it was put together again place by place, as a channel shuffle does.
        taken: Where its places are those of a weight, as those of a convolution's groups: (parameter, axis, the number
            of the tie that says so).
        is_used: Whether an operation was given the places: then it matters which is which.
    """

    number: int
    whole: Axis
    row: Axis
    place: Axis
    is_turned: bool = False
    is_used: bool = False
    taken: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def turned(self) -> Axis:
        """The entries, place by place."""
        return np.ascontiguousarray(self.whole.reshape(len(self.row), len(self.place)).T).reshape(-1)


NOWHERE = Where("", "")
SINGLE = Reason("it has one entry only", NOWHERE)


class Ledger:
    """All atoms of a model and the constraints between them, as operations state them one after the other.

    Attributes:
        size: Atoms are 1 … size − 1.
        ties: See `Tie`.
        products: See `Product`.
        splits: Products of two axes, of which it may turn out that less holds; see `Split`.
        unused: The id of the places of a split, while no operation was given them → the split.
        frozen: Axes to be frozen, each with the index of its reason.
        reasons: Why axes are frozen.
        where: The operation that states the constraints at the moment.
        whole: The axes that have atoms of their own, and together all of them.
        starts: The first atom of each of these.
    """

    def __init__(self) -> None:
        self.size = 1
        self.ties: list[Tie] = []
        self.products: list[Product] = []
        self.splits: list[Split] = []
        self.unused: dict[int, Split] = {}
        self.frozen: list[tuple[Axis, int]] = []
        self.reasons: list[Reason] = [SINGLE]
        self.where = NOWHERE
        self.whole: list[Axis] = []
        self.starts: list[int] = []
        self._splits: dict[object, tuple[Axis, ...]] = {}
        self._merges: dict[object, Axis] = {}
        self._turned: dict[object, Split] = {}
        self._by_place: dict[int, Split] = {}
        self._numbers: dict[Reason, int] = {SINGLE: 0}
        self._fixed: dict[tuple[int, str, Where], Axis] = {}

    # --- axes

    def fresh(self, length: int) -> Axis:
        """New atoms; an axis of one entry has none, since that entry can't go."""
        if length <= 1:
            return np.zeros(length, np.int64)
        self.starts.append(self.size)
        self.size += length
        axis = np.arange(self.size - length, self.size, dtype=np.int64)
        self.whole.append(axis)
        return axis

    def fixed(self, length: int, why: str) -> Axis:
        """An axis that keeps its size, and says why."""
        if length <= 1:
            return np.zeros(length, np.int64)
        key = length, why, self.where
        axis = self._fixed.get(key)
        if axis is None:
            axis = self._fixed[key] = np.full(length, -self.reason(why), np.int64)
        return axis

    def reason(self, why: str) -> int:
        """The number under which `reasons` has this reason at the operation of the moment."""
        reason = Reason(why, self.where)
        number = self._numbers.get(reason)
        if number is None:
            number = self._numbers[reason] = len(self.reasons)
            self.reasons.append(reason)
        return number

    # --- constraints

    def tie(self, one: Axis, other: Axis) -> None:
        """Entry i of both live or die together."""
        if one is other:
            return
        if len(one) != len(other):
            raise ValueError(f"axes of {len(one)} and {len(other)} entries can't be tied")
        if not (is_fixed(one) and is_fixed(other)):
            self.ties.append(Tie(one, other, self.where))

    def freeze(self, axis: Axis, why: str) -> None:
        """The axis keeps its size."""
        if not is_fixed(axis):
            self.frozen.append((axis, self.reason(why)))

    def product(self, whole: Axis, factors: Sequence[Axis]) -> None:
        """Entry i of `whole` lives if entry i of every factor does."""
        self.products.append(Product(whole, tuple(factors), self.where))

    # --- views

    def split(self, axis: Axis, sizes: Sequence[int]) -> tuple[Axis, ...]:
        """The axes that a view splits one into, the last running fastest."""
        large = [i for i, size in enumerate(sizes) if size > 1]
        if len(large) <= 1:
            return tuple(axis if i in large else np.zeros(size, np.int64) for i, size in enumerate(sizes))
        key = (_digest(axis), tuple(sizes))
        if key not in self._splits:
            self._splits[key] = self._split(axis, tuple(sizes), large)
        return self._splits[key]

    def _split(self, axis: Axis, sizes: tuple[int, ...], large: list[int]) -> tuple[Axis, ...]:
        if is_fixed(axis):
            return tuple(np.full(size, axis[0]) if size > 1 else np.zeros(size, np.int64) for size in sizes)
        grid = axis.reshape(sizes)
        varying = [i for i in large if not (grid == grid.take([0], axis=i)).all()]
        parts = [self.fixed(size, "copies of one entry") for size in sizes]
        if not varying:
            self.freeze(axis, "copies of one entry")
        elif len(varying) == 1:
            index = tuple(slice(None) if i == varying[0] else 0 for i in range(len(sizes)))
            parts[varying[0]] = np.ascontiguousarray(grid[index])
        else:
            for i in varying:
                parts[i] = self.fresh(sizes[i])
            self.product(axis, [_spread(parts[i], i, sizes) for i in varying])
            self._merges[_key(parts)] = axis
            if len(large) == 2:
                self._note_rows(axis, *(parts[i] for i in varying))
        return tuple(parts)

    def _note_rows(self, axis: Axis, row: Axis, place: Axis) -> None:
        split = Split(len(self.products) - 1, axis, row, place)
        self.splits.append(split)
        self.unused[id(place)] = self._by_place[id(place)] = split
        self._turned[_key([place, row])] = split

    def take_places(self, place: Axis, own: Axis, leaf: str | None, dim: int) -> None:
        """Tie the places of a division to an axis of a weight whose first axis is divided into the same rows."""
        number = len(self.ties)
        self.tie(place, own)
        split = self._by_place.get(id(place))
        if split is not None and leaf is not None and len(self.ties) > number:
            split.taken.append((leaf, dim, number))

    def merge(self, axes: Sequence[Axis], sizes: Sequence[int]) -> Axis:
        """The one axis that a view merges several into, the last running fastest."""
        sizes = tuple(sizes)
        live = [i for i, axis in enumerate(axes) if not is_fixed(axis)]
        length = prod(sizes)
        if not live:
            return np.full(length, next((axis[0] for axis in axes if len(axis) > 1), 0), np.int64)
        if len(live) == 1:
            return axes[live[0]] if length == sizes[live[0]] else _spread(axes[live[0]], live[0], sizes)
        key = _key([axis if i in live else np.zeros(len(axis), np.int64) for i, axis in enumerate(axes)])
        split = self._turned.get(key)
        if split is not None and len(split.whole) == length:
            split.is_turned = True
            return split.turned
        merged = self._merges.get(key)
        if merged is None or len(merged) != length:
            merged = self._merges[key] = self.fresh(length)
            self.product(merged, [_spread(axes[i], i, sizes) for i in live])
            self._splits[(_digest(merged), sizes)] = tuple(axes)
        return merged


def words(text: str) -> frozenset[str]:
    """Names separated by blanks."""
    return frozenset(text.split())


def is_fixed(axis: Axis) -> bool:
    """Whether none of the entries may go."""
    return len(axis) == 0 or not (axis.item(0) > 0 or axis.item(axis.argmax()) > 0)


def broadcast(ledger: Ledger, axes: Sequence[tuple[Sequence[Axis], Sequence[int]]], shape: Sequence[int]) -> list[Axis]:
    """The axes of an elementwise result: those of the tensors given, aligned at the end, tied where two meet."""
    result: list[Axis | None] = [None] * len(shape)
    for tensor_axes, tensor_shape in axes:
        for i, (axis, size) in enumerate(zip(tensor_axes, tensor_shape, strict=True), len(shape) - len(tensor_shape)):
            if size <= 1 or i < 0 or size != shape[i]:
                continue
            known = result[i]
            if known is None:
                result[i] = axis
            elif known is not axis:
                ledger.tie(known, axis)
                if is_fixed(axis):
                    result[i] = axis
    return [
        ledger.fixed(size, "no tensor gives it") if axis is None else axis
        for axis, size in zip(result, shape, strict=True)
    ]


def _spread(axis: Axis, at: int, sizes: tuple[int, ...]) -> Axis:
    """One axis of a grid of these sizes, repeated over all of it."""
    shape = [1] * len(sizes)
    shape[at] = sizes[at]
    return np.ascontiguousarray(np.broadcast_to(axis.reshape(shape), sizes)).reshape(-1)


def _digest(axis: Axis) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(axis).data, digest_size=16).digest()


def _key(axes: Sequence[Axis]) -> tuple[bytes, ...]:
    return tuple(_digest(axis) for axis in axes)
