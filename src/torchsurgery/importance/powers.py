"""Sums of powers of a tensor's entries along its axes; each way is the quickest for its case by far."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..slicing import numpy_reads

# A numpy array of floating-point numbers.
Values: TypeAlias = npt.NDArray[np.floating[Any]]

# Name of a tensor and exponent → axis → the sums for each index along that axis.
Sums: TypeAlias = "dict[tuple[str, int], dict[int, Values | Tensor]]"

# Entries that are summed along both axes before the next rows come: so many are still near the processor then.
_AT_ONCE = 1 << 17
_BOTH = frozenset([0, 1])
_FLOATS = frozenset([torch.float32, torch.float64])


def remembered(
    sums: Sums, name: str, tensor: Tensor, dims: Mapping[int, int], exponent: int
) -> Mapping[int, Values | Tensor]:
    """What `sums_of_powers` answers for a tensor of some name, worked out where it isn't in `sums` yet."""
    known = sums.setdefault((name, exponent), {})
    new = {dim: blocks for dim, blocks in dims.items() if dim not in known} if known else dims
    if new:
        known.update(sums_of_powers(tensor, new, exponent))
    return known


def sums_of_powers(tensor: Tensor, dims: Mapping[int, int], exponent: int) -> Mapping[int, Values | Tensor]:
    """For each of some axes the sum of |entry| ** exponent for each index along it.

    Args:
        tensor: Numbers of any kind that has sizes: real or complex ones.
        dims: Axis → in how many equal blocks of rows its entries are told apart: 1, or the groups of a convolution.
        exponent: A whole number.

    Returns:
        Axis → (blocks · length,), block by block, in 32 bits at least: sums in 16 overflow, or come out alike for many
        channels. As arrays where numpy can read the tensor, which takes a fraction of the time for small ones.
    """
    tensor = tensor.detach()
    if exponent == 2 and (tensor.dim() == 1 or dims.keys() == _BOTH) and dims.get(0) == 1 and numpy_reads(tensor):
        return {0: np.square(tensor.numpy())} if tensor.dim() == 1 else _squares(tensor.numpy(), dims[1])
    tensor = tensor.abs() if tensor.is_complex() else tensor
    tensor = tensor if tensor.dtype in _FLOATS else tensor.float()
    beside = {dim: side_by_side(tensor, blocks, dim) if blocks > 1 else tensor for dim, blocks in dims.items()}
    return {dim: _along(values, dim, exponent) for dim, values in beside.items()}


def side_by_side(tensor: Tensor, blocks: int, dim: int) -> Tensor:
    """(blocks · rows, …, entries, …) → (rows, …, blocks · entries, …): a weight of groups with all their entries."""
    rows = tensor.view(blocks, -1, *tensor.shape[1:]) if tensor.is_contiguous() else torch.stack(tensor.chunk(blocks))
    return rows.movedim(0, dim).flatten(dim, dim + 1)


def _squares(values: Values, blocks: int) -> dict[int, Values | Tensor]:
    """Along both axes of a weight."""
    length, columns, *kernel = values.shape
    rows = values.reshape(blocks, length // blocks, columns * prod(kernel))
    if blocks == 1:
        first, second = _in_one_pass(rows[0])
    else:  # numpy multiplies and adds without an array of squares
        first, second = np.einsum("bij,bij->bi", rows, rows), np.einsum("bij,bij->bj", rows, rows)
    second = second.reshape(blocks * columns, prod(kernel)).sum(1) if kernel else second
    return {0: first.reshape(-1), 1: second.reshape(-1)}


def _in_one_pass(rows: Values) -> tuple[Values, Values]:
    """Squares summed along both axes of a matrix that is read once, some rows after the other."""
    length, width = rows.shape
    step = min(length, max(1, _AT_ONCE // max(1, width)))
    squares, ones = np.empty((step, width), rows.dtype), np.ones(max(step, width), rows.dtype)
    first, second = np.empty(length, rows.dtype), np.zeros(width, rows.dtype)
    for start in range(0, length, max(1, step)):
        some = rows[start : start + step]
        here = np.square(some, out=squares[: len(some)])
        np.dot(here, ones[:width], out=first[start : start + step])
        second += np.dot(ones[: len(some)], here)
    return first, second


def _along(tensor: Tensor, dim: int, exponent: int) -> Tensor:
    if tensor.dim() == 1:
        return tensor.abs().pow(exponent)
    if dim == 0:
        norms: Tensor = torch.linalg.vector_norm(tensor, exponent, list(range(1, tensor.dim())))
        return norms.pow(exponent)
    rows, within = tensor.reshape(prod(tensor.shape[:dim]), prod(tensor.shape[dim:])), prod(tensor.shape[dim + 1 :])
    sums = (rows.square() if exponent == 2 else rows.abs().pow(exponent)).sum(0)
    return sums if within == 1 else sums.view(tensor.shape[dim], within).sum(1)
