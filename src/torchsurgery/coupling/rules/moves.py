"""Rules of operations that move, join, repeat or pick entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ..constraints.atoms import Axis, is_fixed
from .call import Call, freeze_all
from .elementwise import dims_of
from .registry import serves


@serves("cat concat concatenate")
def cat(call: Call) -> None:
    """One axis end to end, the others are one."""
    out = call.out
    tensors = [t for t in call.args[0] if not (t.dim() == 1 and t.shape[0] == 0 and out.dim() != 1)]
    dim = call.dim(rank=out.dim())
    all_axes, result = [call.axes(t) for t in tensors], []
    for i in range(out.dim()):
        column = [axes[i] for axes in all_axes]
        result.append(np.concatenate(column) if i == dim else _unified(call, column))
    call.give(out, result)


def _unified(call: Call, axes: Sequence[Axis]) -> Axis:
    for axis in axes[1:]:
        call.tie(axes[0], axis)
    return next((axis for axis in axes if not is_fixed(axis)), axes[0])


@serves("stack")
def stack(call: Call) -> None:
    """A new axis, as long as the list of tensors."""
    tensors = list(call.args[0])
    axes = call.broadcast(tensors, tensors[0].shape)
    axes.insert(call.dim(rank=call.out.dim()), call.fixed(len(tensors), "stacked from a list"))
    call.give(call.out, axes)


@serves("constant_pad_nd pad")
def pad(call: Call) -> None:
    """Entries come or go at both ends of some axes; those that come stay."""
    x, widths = call.args[0], [int(width) for width in call.arg("pad")]
    if call.name == "pad" and call.arg("mode", "constant") != "constant":
        return mirror_pad(call)
    axes = call.axes(x)
    for i in range(len(widths) // 2):
        dim, left, right = x.dim() - 1 - i, widths[2 * i], widths[2 * i + 1]
        axis = axes[dim]
        if left < 0 or right < 0:
            call.freeze(axis[: max(-left, 0)], "cut off by a number")
            call.freeze(axis[len(axis) - max(-right, 0) :], "cut off by a number")
            axis = axis[max(-left, 0) : len(axis) - max(-right, 0)]
        ends = [call.fixed(max(width, 0), "padded with a constant") for width in (left, right)]
        # An axis of two entries and more has atoms where that of one had none.
        axes[dim] = np.concatenate([_padding(call, ends[0], left), axis, _padding(call, ends[1], right)])
    return call.give(call.out, axes)


def _padding(call: Call, axis: Axis, width: int) -> Axis:
    return call.fixed(2, "padded with a constant")[:1] if width == 1 else axis


@serves(
    """reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    _pad_circular _pad_enum"""
)
def mirror_pad(call: Call) -> None:
    """Positions are repeated at both ends; they are no channels."""
    x, out = call.args[0], call.out
    axes = call.axes(x)
    for i, (before, after) in enumerate(zip(x.shape, out.shape, strict=True)):
        if before != after:
            call.freeze(axes[i], f"positions of {call.name}")
            axes[i] = call.fixed(after, f"positions of {call.name}")
    call.give(out, axes)


@serves("flip fliplr flipud repeat tile repeat_interleave")
def relabelled(call: Call) -> None:
    """The operation itself, done on the ids: entry after entry it shows what comes from where."""
    x, out = call.args[0], call.out
    if not isinstance(x, Tensor) or len(call.tensors) > 1:
        return freeze_all(call, f"{call.name} by numbers that aren't known beforehand")
    axes = call.axes(x)
    found: list[Axis | None] = [None] * out.dim()
    for dim, axis in enumerate(axes):
        if not is_fixed(axis):
            _relabel(call, x, dim, axis, found)
    pairs = zip(found, out.shape, strict=True)
    return call.give(out, [call.fixed(n, f"made by {call.name}") if axis is None else axis for axis, n in pairs])


def _relabel(call: Call, x: Tensor, dim: int, axis: Axis, found: list[Axis | None]) -> None:
    """Where the entries of one axis come to lie on an axis of the result."""
    shape = [1] * x.dim()
    shape[dim] = len(axis)
    with _disable_current_modes():
        labels = torch.from_numpy(axis).view(shape).expand(x.shape)
        moved = call.op(labels, *call.args[1:], **call.kwargs)
        varying = [i for i in range(moved.dim()) if bool((moved != moved.narrow(i, 0, 1)).any())]
        grid = moved
        for i in reversed(range(moved.dim())):
            if i not in varying:
                grid = grid.select(i, 0)
        flat = grid.contiguous().numpy()
    if not varying:
        call.freeze(axis, f"{call.name} spreads one entry")
    elif len(varying) == 1:
        found[varying[0]] = flat
    else:
        call.freeze(axis, f"{call.name} lays it over several axes")


@serves("roll")
def roll(call: Call) -> None:
    """Entries move on by a number of places: what moves keeps its size."""
    axes = call.axes(call.args[0])
    for i in dims_of(call.arg("dims"), len(axes)):
        call.freeze(axes[i], "rolled by a number of places")
    call.give(call.out, axes)


@serves("pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle")
def shuffle(call: Call) -> None:
    """Channels and positions, or groups and channels, regrouped by a factor that stays."""
    x, factor = call.args[0], int(call.args[1])
    axes, out = call.axes(x), call.out
    if "pixel" not in call.name:
        groups, channels = call.ledger.split(axes[1], (factor, x.shape[1] // factor))
        call.freeze(groups, "the number of groups")
        axes[1] = call.ledger.merge((channels, groups), (len(channels), factor))
        return call.give(out, axes)
    for axis in axes[-2:]:
        call.freeze(axis, f"positions of {call.name}")
    tail = [call.fixed(size, f"positions of {call.name}") for size in out.shape[-2:]]
    if call.name == "pixel_shuffle":
        channels, *fine = call.ledger.split(axes[-3], (out.shape[-3], factor, factor))
        for axis in fine:
            call.freeze(axis, "the factor of pixel_shuffle")
    else:
        fine = [call.fixed(factor, "the factor of pixel_unshuffle")] * 2
        channels = call.ledger.merge((axes[-3], *fine), (x.shape[-3], factor, factor))
    return call.give(out, [*axes[:-3], channels, *tail])


@serves("unfold")
def sliding(call: Call) -> None:
    """Windows over one axis."""
    axes, dim = call.axes(call.args[0]), call.dim("dimension")
    call.freeze(axes[dim], "unfold goes by its entries' places")
    axes[dim] = call.fixed(call.out.shape[dim], "windows of unfold")
    call.give(call.out, [*axes, call.fixed(call.out.shape[-1], "windows of unfold")])


@serves("im2col")
def windows(call: Call) -> None:
    """(N, C, H, W) → (N, C · k · k, positions)."""
    x, out = call.args[0], call.out
    axes = call.axes(x)
    for axis in axes[-2:]:
        call.freeze(axis, "positions of unfold")
    inside = out.shape[-2] // x.shape[-3]
    channels = call.ledger.merge((axes[-3], call.fixed(inside, "the window of unfold")), (x.shape[-3], inside))
    call.give(out, [*axes[:-3], channels, call.fixed(out.shape[-1], "positions of unfold")])


@serves("col2im")
def folded(call: Call) -> None:
    """(N, C · k · k, positions) → (N, C, H, W)."""
    axes, out = call.axes(call.args[0]), call.out
    inside = len(axes[-2]) // out.shape[-3]
    channels, window = call.ledger.split(axes[-2], (out.shape[-3], inside))
    call.freeze(window, "the window of fold")
    call.freeze(axes[-1], "positions of fold")
    tail = [call.fixed(size, "positions of fold") for size in out.shape[-2:]]
    call.give(out, [*axes[:-2], channels, *tail])


@serves("index_select")
def index_select(call: Call) -> None:
    """Entries by their numbers, which stay what they are."""
    x, dim, index = call.args[0], call.dim(), call.arg("index")
    axes = call.axes(x)
    if index.is_meta or x.dim() == 0:
        return freeze_all(call, "index_select by numbers that aren't known beforehand")
    call.freeze(axes[dim], "index_select takes its entries by their numbers")
    axes[dim] = call.fixed(call.out.shape[dim], "index_select takes it by numbers")
    return call.give(call.out, axes)


@serves("index _unsafe_index")
def index(call: Call) -> None:
    """Axes indexed by tensors keep their size; the others pass."""
    x, out = call.args[0], call.out
    indices = _spelled_out(call.arg("indices"), x.dim())
    axes = call.axes(x)
    at = [i for i, spelled in enumerate(indices) if spelled]
    for i in at:
        call.freeze(axes[i], "index takes its entries by their numbers")
    rest = [axes[i] for i, spelled in enumerate(indices) if not spelled]
    new = [call.fixed(size, "taken by an index") for size in _new_sizes(out, rest, at)]
    front = [axes[i] for i in range(at[0])] if at and at == list(range(at[0], at[-1] + 1)) else []
    call.give(out, [*front, *new, *rest[len(front) :]])


def _new_sizes(out: Tensor, rest: list[Axis], at: list[int]) -> list[int]:
    adjacent = bool(at) and at == list(range(at[0], at[-1] + 1))
    start = at[0] if adjacent else 0
    return list(out.shape[start : start + out.dim() - len(rest)])


def _spelled_out(indices: Sequence[Tensor | None], rank: int) -> list[bool]:
    """Which axes are indexed; a mask of several axes stands for each of them."""
    spelled: list[bool] = []
    for item in indices:
        spelled += [item is not None] * (item.dim() if item is not None and _is_mask(item) else 1)
    return spelled + [False] * (rank - len(spelled))


def _is_mask(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.bool, torch.uint8)


@serves("gather take_along_dim")
def gather(call: Call) -> None:
    """One axis is picked from by numbers, the others pass where they are whole."""
    x, index, out = call.args[0], call.arg("index", call.args[-1]), call.out
    rank = out.dim()
    dim, axes, others, result = call.dim(), call.axes(x), call.axes(index), []
    for i in range(rank):
        if i == dim or out.shape[i] != x.shape[i]:
            call.freeze(axes[i], f"{call.name} takes its entries by their numbers")
            result.append(others[i] if i == dim else call.fixed(out.shape[i], f"taken by {call.name}"))
            continue
        call.tie(axes[i], others[i])
        result.append(axes[i])
    call.give(out, result)


@serves("index_put")
def index_put(call: Call) -> None:
    """Entries written by their numbers: the indexed axes keep their size, the others are those of the values."""
    x, values = call.args[0], call.arg("values")
    axes, spelled = call.axes(x), _spelled_out(call.arg("indices"), x.dim())
    for axis, is_indexed in zip(axes, spelled, strict=True):
        if is_indexed:
            call.freeze(axis, "index_put writes by numbers")
    _tie_tails(call, [a for a, is_indexed in zip(axes, spelled, strict=True) if not is_indexed], values)
    call.give(call.out, axes)


def _tie_tails(call: Call, axes: list[Axis], values: Tensor) -> None:
    for axis, other in zip(reversed(axes), reversed(call.axes(values)), strict=False):
        if len(axis) == len(other):
            call.tie(axis, other)


@serves("index_add index_copy")
def index_add(call: Call) -> None:
    """Slices written by their numbers."""
    x, dim, source = call.args[0], call.dim(), call.arg("source")
    axes, others = call.axes(x), call.axes(source)
    for i, axis in enumerate(axes):
        if i == dim:
            call.freeze(axis, f"{call.name} writes by numbers")
            call.freeze(others[i], f"{call.name} reads by numbers")
        elif len(others) == len(axes):
            call.tie(axis, others[i])
    call.give(call.out, axes)


@serves("slice_scatter select_scatter diagonal_scatter scatter scatter_add scatter_reduce masked_scatter index_fill")
def scatter(call: Call) -> None:
    """Written by numbers: all that takes part keeps its size."""
    freeze_all(call, f"{call.name} works by numbers")


@serves("embedding embedding_bag _embedding_bag")
def embedding(call: Call) -> None:
    """Rows of a table by their numbers."""
    table, index = call.args[:2]
    own = call.axes(table)
    call.freeze(own[0], "the table of an embedding is read by numbers")
    call.role(own[0], "in")
    call.role(own[1], "out")
    if call.name == "embedding":
        return call.give(call.out, [*call.axes(index), own[1]])
    first, *others = call.outs
    call.give(first, [call.fixed(first.shape[0], "bags"), own[1]])
    for tensor in others:
        call.give(tensor, [call.fixed(n, "bags") for n in tensor.shape])
    return None
