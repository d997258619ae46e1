"""Rules of operations that look at the same entries in another arrangement."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..constraints.atoms import Axis, is_fixed, words
from .call import Call
from .elementwise import dims_of
from .registry import serves

# These only look at a tensor: what is to be frozen if its values are used is handed on.
LOOKING = words(
    """view reshape permute transpose slice select expand unsqueeze squeeze t detach alias unflatten flatten contiguous
    movedim unbind split chunk split_with_sizes narrow"""
)

# And these leave every axis what it is, or divide and join whole ones.
MOVING = words("view reshape _unsafe_view flatten unflatten permute transpose unsqueeze squeeze movedim")


@serves("view reshape flatten unflatten _reshape_alias view_as reshape_as _unsafe_view")
def view(call: Call) -> None:
    """Group the axes before and after that hold the same entries; merge those before, split into those after."""
    x, shape = call.args[0], list(call.out.shape)
    axes = call.axes(x)
    if list(x.shape) == shape:
        return _say_sizes(call, axes)
    if 0 in shape:
        return call.give_fixed("an empty tensor")
    result = [np.zeros(size, np.int64) for size in shape]
    for before, after in _groups(list(x.shape), shape):
        if before and after:
            flat = call.ledger.merge([axes[i] for i in before], [x.shape[i] for i in before])
            for i, part in zip(after, call.ledger.split(flat, [shape[i] for i in after]), strict=True):
                result[i] = part
    return _say_sizes(call, result)


def _groups(before: list[int], after: list[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes with equal products, without those of one entry."""
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        run: tuple[list[int], list[int]] = ([], [])
        left = right = 1
        while True:
            if i < len(before) and (left < right or not run[0]):
                run[0].append(i)
                left, i = left * before[i], i + 1
            elif j < len(after) and (right < left or not run[1]):
                run[1].append(j)
                right, j = right * after[j], j + 1
            else:
                break
        groups.append(([k for k in run[0] if before[k] > 1], [k for k in run[1] if after[k] > 1]))
    return groups


def _say_sizes(call: Call, axes: list[Axis]) -> None:
    """Hold the sizes that the code names to the axes, and state these."""
    call.give(call.out, axes)
    given = call.given("view", "reshape", "unflatten")
    if given is None:
        return
    args, kwargs = given
    first = 0
    if call.record.given and call.record.given[0] == "unflatten":
        first = int(args[1] if len(args) > 1 else kwargs["dim"]) % args[0].dim()
        args = (args[0], args[2] if len(args) > 2 else kwargs["sizes"])
    sizes = flat_sizes(args[1:] or tuple(kwargs.values()))
    for value, axis in zip(sizes, axes[first:], strict=False):
        call.size(value, axis)


def flat_sizes(args: tuple[Any, ...]) -> list[Any]:
    """Sizes given one by one or as one tuple."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return list(args[0])
    return list(args)


@serves("permute")
def permute(call: Call) -> None:
    """Axes in another order."""
    axes = call.axes(call.args[0])
    call.give(call.out, [axes[d] for d in call.arg("dims")])


@serves("transpose t swapaxes swapdims numpy_T mT adjoint matrix_H")
def transpose(call: Call) -> None:
    """Two axes change places."""
    axes = call.axes(call.args[0])
    if len(axes) >= 2:
        fixed = {"t": (0, 1), "numpy_T": (0, 1), "mT": (-1, -2), "adjoint": (-1, -2), "matrix_H": (-1, -2)}
        one, other = fixed[call.name] if call.name in fixed else (call.args[1], call.args[2])
        axes[one], axes[other] = axes[other], axes[one]
    call.give(call.out, axes)


@serves("movedim moveaxis")
def movedim(call: Call) -> None:
    """Axes move, the rest keep their order."""
    rank = call.args[0].dim()
    source, target = (dims_of(value, rank) for value in call.args[1:3])
    axes = call.axes(call.args[0])
    order = [i for i in range(rank) if i not in source]
    for where, which in sorted(zip(target, source, strict=True)):
        order.insert(where, which)
    call.give(call.out, [axes[i] for i in order])


@serves("slice")
def slice_(call: Call) -> None:
    """A run of entries; where it begins and ends is an integer of the code."""
    dim, step = call.dim(), int(call.arg("step", 1) or 1)
    axes = call.axes(call.args[0])
    axis = axes[dim]
    start, stop, _ = slice(call.arg("start"), call.arg("end"), step).indices(len(axis))
    if step == 1:
        axes[dim] = _run(call, axis, start, stop, *_bounds(call, dim))
        if call.leaf(call.args[0]) is not None:
            call.record.parts[id(axes[dim])] = axes[dim], axis
    elif len(axis) % step == 0 and start < step and stop > len(axis) - step:
        # One of each run of `step` entries: runs come and go as a whole.
        runs, phases = call.ledger.split(axis, (len(axis) // step, step))
        call.freeze_if_used(phases, f"every entry number {step} is taken")
        axes[dim] = runs
    else:
        call.freeze_if_used(axis, f"every entry number {step} is taken")
        axes[dim] = axis[start:stop:step]
    call.give(call.out, axes)


def _bounds(call: Call, dim: int) -> tuple[Any, Any]:
    """Where a slice begins and ends, as the code says it: x[:, a:b], also where it is written to."""
    given = call.given("__getitem__", "__setitem__")
    if given is None:
        return None, None
    index = given[0][1] if isinstance(given[0][1], tuple) else (given[0][1],)
    at = 0
    for item in index:
        if item is Ellipsis:
            named = sum(other is not None and other is not Ellipsis for other in index)
            at += given[0][0].dim() - named
        elif isinstance(item, slice):
            if at == dim:
                return item.start, item.stop
            at += 1
        elif not isinstance(item, int) or isinstance(item, bool):
            at += 1
    return None, None


def _run(call: Call, axis: Axis, start: int, stop: int, first: Any, last: Any) -> Axis:
    """The entries from start to stop; what lies before must be counted, from the front or from the back."""
    for position, said in ((start, first), (stop, last)):
        if position in (0, len(axis)):
            continue
        before, after = axis[:position], axis[position:]
        if isinstance(said, int) and said < 0:
            call.size_if_used(-said, after)
        else:
            call.size_if_used(position if said is None else said, before)
    return axis[start:stop]


@serves("narrow")
def narrow(call: Call) -> None:
    """A run of entries, by its start and length."""
    axes, dim = call.axes(call.args[0]), call.dim()
    axis, start, length = axes[dim], call.args[2], call.args[3]
    given = call.given("narrow")
    said = given[0][2:4] if given and len(given[0]) == 4 else (start, length)
    start = int(start) % len(axis)
    axes[dim] = axis[start : start + int(length)]
    call.size_if_used(said[0], axis[:start])
    if len(axes[dim]) < len(axis):
        call.size_if_used(said[1], axes[dim])
    call.give(call.out, axes)


@serves("select")
def select(call: Call) -> None:
    """One entry, by its number: those before it must stay."""
    axes, dim = call.axes(call.args[0]), call.dim()
    axis, index = axes.pop(dim), int(call.arg("index"))
    part = axis[: index + 1] if index >= 0 else axis[index:]
    call.freeze_if_used(part, f"entry {index} is taken by its number")
    call.give(call.out, axes)


@serves("unbind")
def unbind(call: Call) -> None:
    """All entries of an axis, each for itself."""
    axes = call.axes(call.args[0])
    call.freeze_if_used(axes.pop(call.dim()), "its entries are unpacked one by one")
    for tensor in call.out:
        call.give(tensor, axes)


@serves("split split_with_sizes chunk tensor_split unsafe_split unsafe_split_with_sizes unsafe_chunk hsplit vsplit")
def split(call: Call) -> None:
    """Runs of entries: of equal number, or of numbers that the code gives."""
    x = call.args[0]
    dim = call.dim() if call.has("dim") else (1 if call.name == "hsplit" and x.dim() > 1 else 0)
    axes, parts, at = call.axes(x), [], 0
    for tensor in call.out:
        part = axes[dim][at : at + tensor.shape[dim]]
        parts.append(part)
        if call.leaf(x) is not None:
            call.record.parts[id(part)] = part, axes[dim]
        at += tensor.shape[dim]
        call.give(tensor, [*axes[:dim], part, *axes[dim + 1 :]])
    if is_fixed(axes[dim]) or len(parts) == 1:
        return
    if "chunk" in call.name or call.name in ("tensor_split", "hsplit", "vsplit"):
        call.record.balanced.append(parts)
        return
    for value, part in zip(_said_parts(call, len(parts)), parts, strict=True):
        call.size_if_used(value, part)


def _said_parts(call: Call, count: int) -> list[Any]:
    given = call.given("split", "split_with_sizes")
    args, kwargs = given if given else (call.args, call.kwargs)
    said = args[1] if len(args) > 1 else next(kwargs[k] for k in kwargs if k.startswith("split"))
    return list(said) if isinstance(said, (tuple, list)) else [said] * count


@serves("unsqueeze")
def unsqueeze(call: Call) -> None:
    """One more axis, of one entry."""
    axes = call.axes(call.args[0])
    axes.insert(call.dim(rank=call.out.dim()), call.fixed(1, ""))
    call.give(call.out, axes)


@serves("squeeze")
def squeeze(call: Call) -> None:
    """Axes of one entry go."""
    x = call.args[0]
    named = len(call.args) > 1 or "dim" in call.kwargs
    dims = dims_of(call.arg("dim"), x.dim()) if named else list(range(x.dim()))
    axes = call.axes(x)
    call.give(call.out, [axis for i, axis in enumerate(axes) if not (i in dims and x.shape[i] == 1)])


@serves("expand expand_as broadcast_to")
def expand(call: Call) -> None:
    """Axes of one entry are repeated as often as the code says."""
    x, out = call.args[0], call.out
    offset, axes = out.dim() - x.dim(), call.axes(x)
    given = call.given("expand", "broadcast_to")
    said = flat_sizes(given[0][1:] or tuple(given[1].values())) if given else []
    result = []
    for i, size in enumerate(out.shape):
        if i >= offset and x.shape[i - offset] == size:
            result.append(axes[i - offset])
        else:
            result.append(_copies(call, size, said[i] if len(said) == out.dim() else None))
            continue
        if len(said) == out.dim():
            call.size(said[i], result[-1])
    call.give(call.out, result)


def _copies(call: Call, size: int, said: Any) -> Axis:
    """So many copies of one entry: as many as what they meet later on, if the code computes their number."""
    if isinstance(call.args[0], Tensor) and (call.name == "expand_as" or call.inside_torch):
        return call.ledger.fresh(size)
    axis = call.ledger.fresh(size)
    call.size(size if said is None else said, axis)
    return axis


@serves("view_as_real view_as_complex")
def complex_view(call: Call) -> None:
    """Real and imaginary part are an axis of their own."""
    axes = call.axes(call.args[0])
    if call.name == "view_as_real":
        return call.give(call.out, [*axes, call.fixed(2, "real and imaginary part")])
    call.freeze(axes[-1], "real and imaginary part")
    return call.give(call.out, axes[:-1])
