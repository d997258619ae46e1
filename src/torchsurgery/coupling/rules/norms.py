"""Rules of normalisations."""

from __future__ import annotations

from torch import Tensor

from ..constraints.atoms import Axis, is_fixed
from .call import Call
from .registry import serves


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


def _own(call: Call, tensor: Tensor, *axes: Axis) -> None:
    """Parameters of a layer that has as many as the stream through it."""
    for mine, axis in zip(call.axes(tensor), axes, strict=True):
        call.tie(axis, mine)
        call.role(mine, "both")
