"""Rules of products that are summed over: linear layers, matrix products, attention."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..constraints.atoms import Axis, is_fixed
from .call import Call
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
