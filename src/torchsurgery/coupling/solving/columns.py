"""Columns of classes, one for each factor of some products, held against each other row by row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..constraints.atoms import Axis
from .joining import union


def side_by_side(factors: tuple[Axis, ...], width: int) -> Axis:
    """One column a factor, filled up with 0."""
    found = np.zeros((len(factors[0]), width), np.int64)
    for i, factor in enumerate(factors):
        found[:, i] = factor
    return found


def distinct(parts: Axis) -> Axis:
    """Each row's labels once, in falling order, filled up with −1."""
    if parts.shape[1] == 2:
        most, least = np.maximum(parts[:, 0], parts[:, 1]), np.minimum(parts[:, 0], parts[:, 1])
        return np.stack([most, np.where(most == least, -1, least)], 1)
    ordered = np.sort(parts, 1)
    again = np.zeros_like(ordered, dtype=bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return np.sort(np.where(again, -1, ordered), 1)[:, ::-1]


def leaders(labels: Axis, rows: Axis) -> Axis:
    """For each row the first one of the same label, given rows in the order of their labels."""
    if not len(rows):
        return rows
    first = np.concatenate([[True], labels[1:] != labels[:-1]])
    return rows[np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))]


def one_pattern(one: Axis, other: Axis) -> bool:
    """Whether two columns repeat in the same rhythm, so that they name the same things."""
    pairs = np.unique(np.stack([one, other], 1), axis=0)
    return len(pairs) == len(np.unique(one)) == len(np.unique(other))


def determines(one: Axis, other: Axis) -> bool:
    """Whether rows alike in `one` are alike in `other`."""
    return len(np.unique(np.stack([one, other], 1), axis=0)) == len(np.unique(one))


def linked(one: Axis, other: Axis) -> Axis:
    """For each row the part of the graph that it is in, if each row ties its value of `one` to that of `other`."""
    values, numbers = np.unique(np.concatenate([one, -1 - other]), return_inverse=True)
    left, right = np.split(numbers.reshape(-1), 2)
    return union(np.arange(len(values)), left, right)[left]


def paired(*columns: Axis) -> Axis:
    """One number for each set of values next to each other."""
    rows = np.stack([column.reshape(-1) for column in columns], 1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def rows_in(rows: Axis, known: Axis) -> npt.NDArray[np.bool_]:
    """Which of some rows are among the known ones."""
    there = {row.tobytes() for row in np.ascontiguousarray(known)}
    return np.array([row.tobytes() in there for row in np.ascontiguousarray(rows)], bool)
