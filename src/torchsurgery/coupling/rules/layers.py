"""Rules of operations with parameters: contractions, convolutions, normalisations, attention, pooling."""

from __future__ import annotations

from math import prod

import numpy as np
from torch import Tensor

from ..constraints.atoms import Axis, is_fixed
from .call import Call
from .elementwise import dims_of
from .registry import serves


@serves("linear")
def linear(call: Call) -> None:
    """X (…, in), weight (out, in), bias (out)."""
    x, weight, bias = call.args[0], call.args[1], call.arg("bias")
    axes, own = call.axes(x), call.axes(weight)
    call.tie(axes[-1], own[-1])
    call.sums(call.args[0], axes[-1], weight, own[-1])
    call.role(own[-1], "in")
    if weight.dim() == 1:
        return call.give(call.out, axes[:-1])
    call.role(own[0], "out")
    if bias is not None and bias.dim():
        call.tie(own[0], call.axes(bias)[-1])
        call.role(call.axes(bias)[-1], "out")
    call.works(1, *axes, own[0])
    return call.give(call.out, [*axes[:-1], own[0]])


@serves("bilinear")
def bilinear(call: Call) -> None:
    """Two inputs (…, in1) and (…, in2), weight (out, in1, in2), bias (out)."""
    one, other, weight = call.args[:3]
    out, *taken = call.axes(weight)
    for x, axis in zip((one, other), taken, strict=True):
        call.tie(call.axes(x)[-1], axis)
        call.sums(x, call.axes(x)[-1], weight, axis)
        call.role(axis, "in")
    call.role(out, "out")
    if call.arg("bias") is not None:
        call.tie(call.axes(call.arg("bias"))[0], out)
        call.role(call.axes(call.arg("bias"))[0], "out")
    call.give(call.out, [*call.broadcast_axes([call.axes(one)[:-1], call.axes(other)[:-1]]), out])


@serves("matmul mm bmm mv dot inner vdot")
def matmul(call: Call) -> None:
    """The last axis of one, the last but one of the other."""
    call.give(call.out, _product(call, call.args[0], call.args[1]))


def _product(call: Call, x: Tensor, y: Tensor) -> list[Axis]:
    one, other = call.axes(x), call.axes(y)
    inner = other[-1] if len(other) == 1 else other[-2]
    call.tie(one[-1], inner)
    call.sums(x, one[-1], y, inner)
    batch = call.broadcast_axes([one[:-2], other[:-2]])
    result = [*batch, *one[-2:-1], *(other[-1:] if len(other) > 1 else [])]
    call.works(1, *result, one[-1])
    # What parameters alone are multiplied for, as a spectral norm, doesn't tell what they are to their layer.
    if not (call.roots(x) and call.roots(y)):
        call.role(inner, "in")
        call.role(other[-1], "out")
    return result


@serves("addmm baddbmm addbmm addmv")
def addmm(call: Call) -> None:
    """A product, and something added to it."""
    result = _product(call, call.args[1], call.args[2])
    if call.name == "addbmm":
        result = result[1:]
    added = call.axes(call.args[0])
    for axis in added[-1:]:
        call.role(axis, "out")
    call.give(call.out, call.broadcast_axes([result, added]))


@serves("_grouped_mm")
def grouped_product(call: Call) -> None:
    """Each run of rows with the matrix of its expert: (rows, in), (experts, in, out)."""
    x, weight = call.args[:2]
    one, other = call.axes(x), call.axes(weight)
    if len(other) != 3 or len(one) != 2:
        raise ValueError("only rows with experts are followed")
    call.tie(one[-1], other[-2])
    call.sums(x, one[-1], weight, other[-2])
    call.freeze(other[0], "the number of experts")
    call.role(other[-2], "in")
    call.role(other[-1], "out")
    call.works(1, *one, other[-1])
    call.give(call.out, [one[0], other[-1]])


@serves("outer ger")
def outer(call: Call) -> None:
    """Every entry of one with every entry of the other."""
    call.give(call.out, [call.axes(call.args[0])[0], call.axes(call.args[1])[0]])


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


@serves(
    "batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
    "_batch_norm_with_update instance_norm"
)
def batch_norm(call: Call) -> None:
    """Each channel for itself."""
    x = call.args[0]
    axes = call.axes(x)
    for tensor in call.args[1:5]:
        if isinstance(tensor, Tensor) and tensor.dim() == 1:
            _own(call, tensor, axes[1])
    for axis in axes[2:]:
        call.mixes(axis, f"{call.name} over it")
    first, *others = call.outs
    call.give(first, axes)
    for tensor in others:
        here = tensor.dim() == 1 and tensor.shape[0] == x.shape[1]
        call.give(tensor, [axes[1]] if here else [call.fixed(n, "statistics") for n in tensor.shape])


def _own(call: Call, tensor: Tensor, *axes: Axis) -> None:
    """Parameters of a layer that has as many as the stream through it."""
    for mine, axis in zip(call.axes(tensor), axes, strict=True):
        call.tie(axis, mine)
        call.role(mine, "both")


@serves("layer_norm native_layer_norm rms_norm _fused_rms_norm")
def layer_norm(call: Call) -> None:
    """Over the last axes."""
    x, shape = call.args[0], call.arg("normalized_shape")
    axes = call.axes(x)
    last = axes[len(axes) - len(shape) :]
    for tensor in (call.arg("weight"), call.arg("bias")):
        if isinstance(tensor, Tensor):
            _own(call, tensor, *last)
    given = call.given("layer_norm", "rms_norm")
    said = (given[1].get("normalized_shape") or given[0][1]) if given else ()
    for i, axis in enumerate(last):
        call.mixes(axis, f"{call.name} over it")
        if len(said) == len(last):
            call.size(said[i], axis)
    first, *others = call.outs
    call.give(first, axes)
    for tensor in others:
        call.give(
            tensor, [a if n == len(a) else call.fixed(n, "statistics") for a, n in zip(axes, tensor.shape, strict=True)]
        )


@serves("group_norm native_group_norm")
def group_norm(call: Call) -> None:
    """Over the channels of a group: groups may go, or the same number of channels in each."""
    x, groups = call.args[0], int(call.arg("num_groups") or call.arg("group"))
    axes = call.axes(x)
    for tensor in (call.arg("weight"), call.arg("bias")):
        if isinstance(tensor, Tensor):
            _own(call, tensor, axes[1])
    if is_fixed(axes[1]) or groups == 1:
        call.mixes(axes[1], "group_norm over it")
    else:
        number, inside = call.ledger.split(axes[1], (groups, x.shape[1] // groups))
        call.mixes(inside, "group_norm over it")
        given = call.given("group_norm")
        if given is not None:
            call.size(given[1].get("num_groups", given[0][1] if len(given[0]) > 1 else groups), number)
    first, *others = call.outs
    call.give(first, axes)
    for tensor in others:
        call.give(tensor, [call.fixed(n, "statistics") for n in tensor.shape])


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


@serves(
    """scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math
    _scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"""
)
def attention(call: Call) -> None:
    """Query and key have one width, key and value one length, and all of them one set of heads."""
    query, key, value = call.args[:3]
    q, k, v = call.axes(query), call.axes(key), call.axes(value)
    call.tie(q[-1], k[-1])
    call.tie(k[-2], v[-2])
    call.sums(query, q[-1], key, k[-1])
    call.freeze(k[-2], "softmax over it")
    if call.arg("scale") is None:
        call.mixes(q[-1], "the scale of attention depends on it")
    heads = [_heads(call, query, key, i, q[i], k[i], v[i]) for i in range(query.dim() - 2)]
    mask = call.arg("attn_mask", call.arg("attn_bias"))
    if isinstance(mask, Tensor):
        call.broadcast_axes([call.axes(mask), [*heads, q[-2], k[-2]]])
    call.works(1, *heads, q[-2], q[-1], k[-2])
    call.works(1, *heads, q[-2], k[-2], v[-1])
    first, *others = call.outs
    call.give(first, [*heads, q[-2], v[-1]])
    for tensor in others:
        call.give(tensor, [call.fixed(n, "attention's own notes") for n in tensor.shape])


def _heads(call: Call, query: Tensor, key: Tensor, i: int, q: Axis, k: Axis, v: Axis) -> Axis:
    call.tie(k, v) if len(k) == len(v) else None
    if len(q) == len(k):
        call.tie(q, k)
        return k if is_fixed(q) else q
    if call.arg("enable_gqa", False) and len(k) > 1:
        call.tie(q, np.repeat(k, len(q) // len(k)))
    return q if len(q) > 1 else k


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


@serves("_weight_norm _weight_norm_interface")
def weight_norm(call: Call) -> None:
    """V · g / |v|, over all axes but that of g."""
    v, g = call.axes(call.args[0]), call.axes(call.args[1])
    for one, other in zip(v, g, strict=True):
        if len(one) == len(other):
            call.tie(one, other)
        else:
            call.mixes(one, "weight_norm over it")
    call.give(call.outs[0], v)
    for tensor in call.outs[1:]:
        call.give(tensor, g)


_FFT = " ".join(f"fft_{i}{r}fft{n}" for i in ("", "i") for r in ("", "r") for n in ("", "2", "n"))


@serves(f"{_FFT} _fft_r2c _fft_c2r _fft_c2c")
def fourier(call: Call) -> None:
    """What is transformed keeps its size."""
    axes = call.axes(call.args[0])
    dims = dims_of(call.arg("dim"), len(axes))
    for i in dims:
        call.freeze(axes[i], f"{call.name} over it")
        axes[i] = call.fixed(call.out.shape[i], f"{call.name} over it")
    call.give(call.out, axes)


@serves("view_as_real view_as_complex")
def complex_view(call: Call) -> None:
    """Real and imaginary part are an axis of their own."""
    axes = call.axes(call.args[0])
    if call.name == "view_as_real":
        return call.give(call.out, [*axes, call.fixed(2, "real and imaginary part")])
    call.freeze(axes[-1], "real and imaginary part")
    return call.give(call.out, axes[:-1])
