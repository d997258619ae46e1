"""Some entries of a tensor along some of its axes, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

# What is kept along an axis: the old entries, in order; or one such list for each of as many equal blocks of the first
# axis, as the groups of a convolution have, all of one length.
Entries: TypeAlias = "tuple[int, ...] | tuple[tuple[int, ...], ...]"
Index: TypeAlias = "npt.NDArray[np.int64]"

# Entries of the rows whose columns are taken before the next rows come: so many are still near the processor.
_AT_ONCE = 32_768


def blocks_of(entries: Entries) -> tuple[tuple[int, ...], ...]:
    """The lists of all blocks; of one list for all, that one."""
    first = next(iter(entries), None)
    return entries if isinstance(first, tuple) else (entries,)  # type: ignore[return-value]


def index_of(entries: tuple[int, ...]) -> Tensor:
    """Entries as a tensor. torch takes ten times as long to read a tuple."""
    return torch.from_numpy(_array(entries))


def _array(entries: tuple[int, ...]) -> Index:
    return np.fromiter(entries, np.int64, len(entries))


def taken(tensor: Tensor, entries: Mapping[int, Entries]) -> Tensor:
    """A tensor's entries along some axes, by the number of the axis; without axes the tensor itself."""
    blocks = {axis: blocks_of(entries[axis]) for axis in sorted(entries)}
    if list(blocks) == [0, 1] and len(blocks[0]) == len(blocks[1]) == 1 and _is_large(tensor):
        rows, columns = (_array(lists[0]) for lists in blocks.values())
        if _is_within(rows, len(tensor)) and _is_within(columns, tensor.shape[1]):
            return _by_rows(tensor, rows, columns)
    # The first axis comes first: blocks are runs of what is left of it.
    for axis, lists in blocks.items():
        parts = tensor.tensor_split(len(lists)) if len(lists) > 1 else (tensor,)
        each = zip(parts, lists, strict=True)
        parts = tuple(part.index_select(axis, index_of(block).to(tensor.device)) for part, block in each)
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
    return tensor


def _is_large(tensor: Tensor) -> bool:
    """Whether it is worth while, and numpy can read it where it lies."""
    floats = tensor.dtype in (torch.float32, torch.float64) and type(tensor) in (Tensor, nn.Parameter)
    return floats and tensor.numel() > _AT_ONCE and tensor.device.type == "cpu" and tensor.is_contiguous()


def _is_within(index: Index, length: int) -> bool:
    return len(index) > 0 and bool(index.min() >= 0 and index.max() < length)


def _by_rows(tensor: Tensor, rows: Index, columns: Index) -> Tensor:
    """Some columns of some rows, without a tensor of all columns of these in between. All are within the tensor."""
    old = tensor.detach().numpy()
    new = torch.empty((len(rows), len(columns), *old.shape[2:]), dtype=tensor.dtype)
    out, step = new.numpy(), max(1, _AT_ONCE // prod(old.shape[1:]))
    for start in range(0, len(rows), step):
        some = old.take(rows[start : start + step], 0, mode="clip")
        some.take(columns, 1, out=out[start : start + step], mode="clip")
    return new
