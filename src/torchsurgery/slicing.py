"""Some entries of a tensor along some of its axes, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

# What is kept along an axis: the old entries, in order; or one such list for each of as many equal blocks of the first
# axis, as the groups of a convolution have, all of one length.
Entries: TypeAlias = "tuple[int, ...] | tuple[tuple[int, ...], ...]"

# Entries of the rows whose columns are taken before the next rows come: so many are still near the processor.
_AT_ONCE = 32_768
_BOTH = frozenset([0, 1])


class Index(NamedTuple):
    """A list of entries as torch and numpy read it, which take ten times as long to read a tuple."""

    tensor: Tensor
    least: int
    most: int

    def fits(self, length: int) -> bool:
        """Whether there is something in it, and all of that within an axis of this length."""
        return len(self.tensor) > 0 and self.least >= 0 and self.most < length


def blocks_of(entries: Entries) -> tuple[tuple[int, ...], ...]:
    """The lists of all blocks; of one list for all, that one."""
    first = next(iter(entries), None)
    return entries if isinstance(first, tuple) else (entries,)  # type: ignore[return-value]


def index_of(entries: tuple[int, ...]) -> Index:
    """A list of entries, read."""
    array = np.fromiter(entries, np.int64, len(entries))
    least, most = np.minimum.reduce(array, initial=0), np.maximum.reduce(array, initial=0)
    return Index(torch.from_numpy(array), int(least), int(most))


def read(entries: Entries) -> tuple[Index, ...]:
    """The lists of all blocks, read."""
    return tuple(map(index_of, blocks_of(entries)))


class Reader:
    """Reads each list once, as one stands for an axis of many tensors."""

    def __init__(self) -> None:
        # With the list itself, so that no other one gets its id.
        self._known: dict[int, tuple[Entries, tuple[Index, ...]]] = {}

    def __call__(self, entries: Entries) -> tuple[Index, ...]:
        known = self._known.get(id(entries))
        if known is None:
            known = self._known[id(entries)] = entries, read(entries)
        return known[1]


def taken(
    tensor: Tensor, entries: Mapping[int, Entries], reader: Callable[[Entries], tuple[Index, ...]] = read
) -> Tensor:
    """A tensor's entries along some axes, by the number of the axis; without axes the tensor itself."""
    if entries.keys() == _BOTH and tensor.numel() > _AT_ONCE and numpy_reads(tensor):
        rows, columns = reader(entries[0]), reader(entries[1])
        if len(rows) == len(columns) == 1 and rows[0].fits(len(tensor)) and columns[0].fits(tensor.shape[1]):
            return _by_rows(tensor, rows[0], columns[0])
    # The first axis comes first: blocks are runs of what is left of it.
    for axis in sorted(entries):
        lists = reader(entries[axis])
        if len(lists) == 1:
            tensor = _along(tensor, axis, lists[0])
        else:
            parts = zip(tensor.tensor_split(len(lists)), lists, strict=True)
            tensor = torch.cat([_along(part, axis, index) for part, index in parts])
    return tensor


def _along(tensor: Tensor, axis: int, index: Index) -> Tensor:
    return tensor.index_select(axis, index.tensor if tensor.is_cpu else index.tensor.to(tensor.device))


def numpy_reads(tensor: Tensor) -> bool:
    """Whether numpy can read a tensor's floating-point numbers where they lie, in rows one after the other."""
    is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.dtype in (torch.float32, torch.float64)
    return is_plain and tensor.is_cpu and tensor.is_contiguous()


def _by_rows(tensor: Tensor, rows: Index, columns: Index) -> Tensor:
    """Some columns of some rows, without a tensor of all columns of these in between. All are within the tensor."""
    old, down, across = tensor.detach().numpy(), rows.tensor.numpy(), columns.tensor.numpy()
    new = torch.empty((len(down), len(across), *old.shape[2:]), dtype=tensor.dtype)
    out, step = new.numpy(), max(1, _AT_ONCE // prod(old.shape[1:]))
    for start in range(0, len(down), step):
        some = old.take(down[start : start + step], 0, mode="clip")
        some.take(across, 1, out=out[start : start + step], mode="clip")
    return new
