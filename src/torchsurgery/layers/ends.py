"""Layers at the two ends of a model, with other numbers of channels: what the old columns and rows are worth there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..origins import Computed, Initialised, Origin, Same
from .building import adopted, tensors_of
from .channels import IN, OUT, width
from .conv import CONVS, TRANSPOSED
from .conversion import Conversion, Fidelity
from .growing import columns_in_words, moved, with_columns
from .kernels import regrouped

MIXING = (nn.Linear, *CONVS, *TRANSPOSED)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


# --- which layers there are


def mixes(layer: nn.Module) -> bool:
    """Whether a layer takes channels and gives others: linear or a convolution, but no depthwise one."""
    return isinstance(layer, MIXING) and not keeps_channels_apart(layer)


def keeps_channels_apart(layer: nn.Module) -> bool:
    """Whether a layer has tensors for each channel by itself: a batch or instance norm, a depthwise convolution."""
    if isinstance(layer, CONVS):
        return layer.groups == layer.in_channels > 1
    return isinstance(layer, _NORMS)


def width_in(layer: nn.Module) -> int:
    """How many channels a layer takes."""
    return width(layer, IN) or 0


def width_out(layer: nn.Module) -> int:
    """How many channels a layer gives."""
    return width(layer, OUT) or 0


def why_fixed(layer: nn.Module) -> str | None:
    """What keeps a layer's tensors from having another shape."""
    if not isinstance(layer, (*MIXING, *_NORMS)):
        return "is neither linear nor a convolution"
    if "weight" not in layer._parameters:
        return "has a weight that something else computes"
    return None if hasattr(layer, "reset_parameters") else "can't be initialised"


# --- other inputs


def with_inputs(layer: nn.Module, channels: int, fill: str) -> Conversion:
    """A first layer that takes another number of channels.

    Args:
        layer: A linear layer or convolution; of several groups it becomes one of one group.
        channels: How many it is to take.
        fill: "zeros", or "repeat" for the old columns over and over, scaled to give the same for repeated channels.
    """
    old, axis = width_in(layer), 0 if isinstance(layer, TRANSPOSED) else 1
    groups = getattr(layer, "groups", 1)

    def columns(weight: Tensor) -> Tensor:
        return with_columns(weight if groups == 1 else regrouped(weight, groups, 1), axis, channels, fill)

    what, remark, exact = columns_in_words(old, channels, fill)
    twin = _twin(layer, {"weight": columns(tensors_of(layer)["weight"].detach().to("meta"))})
    _set(twin, in_features=channels, in_channels=channels, groups=1)
    per_entry = fill == "zeros" and channels != 1 and groups == 1
    origins: dict[str, Origin] = {"weight": Computed(("weight",), columns, what, per_entry)}
    fidelity = Fidelity.EXACT if exact else Fidelity.APPROXIMATE
    return _conversion(layer, twin, origins, fidelity, remark)


# --- channels that pass one by one


def with_channels(layer: nn.Module, channels: int) -> Conversion:
    """A norm or depthwise convolution for another number of channels; more of them begin as the old ones, in turn."""
    old = width_in(layer)

    def pick(tensor: Tensor) -> Tensor:
        rows = tensor.shape[0] // old
        index = (torch.arange(channels, device=tensor.device) % old).repeat_interleave(rows) * rows
        return tensor.index_select(0, index + torch.arange(rows, device=tensor.device).repeat(channels))

    sliced = {name: tensor for name, tensor in tensors_of(layer).items() if tensor.dim()}
    twin = _twin(layer, {name: pick(tensor.detach().to("meta")) for name, tensor in sliced.items()})
    _set(twin, num_features=channels, in_channels=channels, groups=channels)
    _set(twin, out_channels=channels * (width_out(layer) // old))
    what = f"for channels 0–{channels - 1}" if channels <= old else "repeated"
    origins: dict[str, Origin] = {name: Computed((name,), pick, what) for name in sliced}
    return _conversion(layer, twin, origins, Fidelity.EXACT, "")


# --- other outputs


def with_outputs(layer: nn.Module, rows: Sequence[int | None], why: str) -> Conversion:
    """A last layer that gives other channels.

    Args:
        layer: A linear layer, a convolution or a norm behind one.
        rows: For each new channel the old one that it goes on as, or None for a new one.
        why: Why the others are new, for the plan.
    """
    kept = [(i, row) for i, row in enumerate(rows) if row is not None]
    axis = 1 if isinstance(layer, TRANSPOSED) else 0
    fresh = _initialised(layer, len(rows), axis)
    origins: dict[str, Origin] = {}
    for name, tensor in tensors_of(layer).items():
        if tensor.dim() == 0:
            continue
        if kept:
            along = axis if tensor.dim() > 1 else 0
            origins[name] = moved(name, tensors_of(fresh)[name].shape, kept, axis=along)
        else:
            origins[name] = Initialised(why)
    fidelity = Fidelity.INITIALISED if len(kept) < len(rows) else Fidelity.EXACT
    return _conversion(layer, fresh, origins, fidelity, "")


def _initialised(layer: nn.Module, channels: int, axis: int) -> Any:
    """A twin with that many outputs, as its own class initialises it."""
    groups = getattr(layer, "groups", 1)
    shapes: dict[str, Tensor] = {}
    for name, tensor in tensors_of(layer).items():
        shape = list(tensor.shape)
        if shape:
            along = axis if len(shape) > 1 else 0
            shape[along] = channels // (groups if along else 1)
            shapes[name] = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
    twin: Any = _twin(layer, shapes)
    _set(twin, out_features=channels, out_channels=channels, num_features=channels)
    twin.reset_parameters()
    return twin


# --- twins


def _twin(layer: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """A layer of the same class with tensors of other shapes. No constructor is asked: it may take other arguments."""
    twin = adopted(type(layer), layer)
    for name, tensor in tensors.items():
        if name in twin._parameters:
            twin._parameters[name] = nn.Parameter(tensor)
        else:
            twin._buffers[name] = tensor
    for name, buffer in twin._buffers.items():
        if buffer is not None and buffer.dim() == 0:
            twin._buffers[name] = buffer.clone()
    return twin


def _set(layer: nn.Module, **attributes: int) -> None:
    vars(layer).update({name: value for name, value in attributes.items() if name in vars(layer)})


def _conversion(
    layer: nn.Module, twin: nn.Module, origins: dict[str, Origin], fidelity: Fidelity, remark: str
) -> Conversion:
    used = set(origins)
    same: dict[str, Origin] = {
        name: Computed((name,), torch.clone, "copied", True) if tensor.dim() == 0 else Same(name)
        for name, tensor in tensors_of(layer).items()
        if name not in used
    }
    remarks = (remark,) if remark else ()
    return Conversion(type(layer), {}, {**origins, **same}, fidelity, remarks=remarks, ready=True, spare=[twin])
