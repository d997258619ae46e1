"""Rules of what looks at windows of a picture: convolutions, pooling, sampling."""

from __future__ import annotations

from math import prod

import numpy as np
from torch import Tensor

from ..constraints.atoms import Axis
from .call import Call
from .registry import serves


@serves(
    "conv1d conv2d conv3d convolution _convolution conv_transpose1d conv_transpose2d conv_transpose3d conv_depthwise3d"
)
def convolution(call: Call) -> None:
    """X (N, in, …), weight (out, in / groups, …), or transposed (in, out / groups, …)."""
    x, weight, bias, out = call.arg("input"), call.arg("weight"), call.arg("bias"), call.out
    transposed = "transpose" in call.name or bool(call.arg("transposed", False))
    axes, own, groups = call.axes(x), call.axes(weight), int(call.arg("groups", 1))
    at = x.dim() - (weight.dim() - 2) - 1
    for axis in own[2:]:
        call.freeze(axis, "the kernel of a convolution")
    tail = _positions(call, axes[at + 1 :], weight, out)
    channels = _channels(call, axes[at], own, groups, transposed, out.shape[at])
    if bias is not None:
        call.tie(call.axes(bias)[0], channels)
        call.role(call.axes(bias)[0], "out")
    taps = prod(weight.shape[2:]) * prod((x if transposed else out).shape[at + 1 :])
    call.works(taps, *axes[:at], own[0], own[1])
    call.give(out, [*axes[:at], channels, *tail])


def _positions(call: Call, given: list[Axis], weight: Tensor, out: Tensor) -> list[Axis]:
    """Each position for itself where the kernel is one entry and takes every one; else they stay."""
    steps, padding = call.arg("stride", 1), call.arg("padding", 0)
    found: list[Axis] = []
    for i, (axis, kernel) in enumerate(zip(given, weight.shape[2:], strict=True)):
        step, pad = (value[i % len(value)] if isinstance(value, (list, tuple)) else value for value in (steps, padding))
        if (kernel, step) == (1, 1) and pad in (0, "valid", "same"):
            found.append(axis)
            continue
        call.freeze(axis, "positions of a convolution")
        found.append(call.fixed(out.shape[out.dim() - len(given) + i], "positions of a convolution"))
    return found


def _channels(call: Call, given: Axis, own: list[Axis], groups: int, transposed: bool, width: int) -> Axis:
    """Ties what a convolution is given to its weight, group by group; answers its output channels."""
    for axis, role in ((own[0], "in" if transposed else "out"), (own[1], "out" if transposed else "in")):
        call.role(axis, role)
    weight, taken = call.arg("weight"), own[0] if transposed else own[1]
    if groups == 1:
        call.tie(given, taken)
        call.sums(call.arg("input"), given, weight, taken)
        return own[1] if transposed else own[0]
    if transposed:
        call.tie(given, own[0])
        number, inside = call.ledger.split(own[0], (groups, len(given) // groups))
        call.sums(call.arg("input"), given, weight, taken, np.tile(inside, groups))
        _say_groups(call, number)
        return call.ledger.merge((number, own[1]), (groups, len(own[1])))
    if groups == len(given) == width:
        call.tie(given, own[0])
        _say_groups(call, own[0])
        return own[0]
    number, inside = call.ledger.split(given, (groups, len(given) // groups))
    again, _ = call.ledger.split(own[0], (groups, width // groups))
    call.tie(number, again)
    call.ledger.take_places(inside, own[1], call.leaf(weight), 1)
    call.sums(call.arg("input"), given, weight, taken)
    _say_groups(call, number)
    return own[0]


def _say_groups(call: Call, axis: Axis) -> None:
    given = call.given(*(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)))
    if given is None:
        return
    args, kwargs = given
    # conv(x, w, b, stride, padding, dilation, groups); transposed: (x, w, b, stride, padding, output_padding, groups)
    call.size(args[6] if len(args) > 6 else kwargs.get("groups", 1), axis)


_POOLS = """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices mkldnn_max_pool2d
    lp_pool2d max_unpool2d max_unpool3d fractional_max_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"""


@serves(_POOLS)
def pooling(call: Call) -> None:
    """Positions change, channels pass."""
    x = call.args[0]
    rank = next(n for n in (1, 2, 3) if f"{n}d" in call.name)
    axes = call.axes(x)
    for axis in axes[-rank:]:
        call.freeze(axis, f"positions of {call.name}")
    for tensor in call.outs:
        tail = [call.fixed(size, f"positions of {call.name}") for size in tensor.shape[-rank:]]
        call.give(tensor, [*axes[:-rank], *tail])


@serves("grid_sampler grid_sampler_2d grid_sampler_3d")
def grid_sampler(call: Call) -> None:
    """Positions are sampled, channels pass; each picture has a grid of its own, which may stand for a head."""
    x, grid = call.args[:2]
    axes = call.axes(x)
    call.tie(axes[0], call.axes(grid)[0])
    for axis in (*axes[2:], *call.axes(grid)[1:]):
        call.freeze(axis, "positions of grid_sampler")
    call.give(call.out, [*axes[:2], *(call.fixed(n, "positions of grid_sampler") for n in call.out.shape[2:])])
