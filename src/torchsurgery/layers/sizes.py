"""Constructor arguments of layers with weights: linear, convolution, normalisation, PReLU.

What their tensors tell is read off the tensors: sizes, and whether there is a weight and a bias. So a layer whose
weight was sliced is told as it is now, whatever its attributes still say.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .config import config_rule


@config_rule(nn.Linear, stale=("in_features", "out_features"))
def _linear(layer: nn.Linear) -> dict[str, Any]:
    rows, columns = layer.weight.shape
    return {"in_features": columns, "out_features": rows, "bias": _has(layer, "bias")}


@config_rule(nn.Bilinear, stale=("in1_features", "in2_features", "out_features"))
def _bilinear(layer: nn.Bilinear) -> dict[str, Any]:
    out, first, second = layer.weight.shape
    return {"in1_features": first, "in2_features": second, "out_features": out, "bias": _has(layer, "bias")}


# --- convolutions


def _stale_in_convolution(layer: _ConvNd) -> Set[str]:
    # The prepared padding is used in the other modes only, and there it counts rather than `padding`.
    sizes = {"in_channels", "out_channels", "kernel_size"}
    return sizes | {"_reversed_padding_repeated_twice"} if layer.padding_mode == "zeros" else sizes


def _convolution(layer: _ConvNd) -> dict[str, Any]:
    out, columns, *kernel = layer.weight.shape
    return {"in_channels": columns * layer.groups, "out_channels": out, "kernel_size": tuple(kernel), **_common(layer)}


def _transposed(layer: _ConvNd) -> dict[str, Any]:
    rows, columns, *kernel = layer.weight.shape
    sizes = {"in_channels": rows, "out_channels": columns * layer.groups, "kernel_size": tuple(kernel)}
    return sizes | _common(layer) | {"output_padding": layer.output_padding}


def _common(layer: _ConvNd) -> dict[str, Any]:
    return {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "bias": _has(layer, "bias"),
        "padding_mode": layer.padding_mode,
    }


for _class in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
    config_rule(_class, _stale_in_convolution)(_convolution)
for _transposed_class in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
    config_rule(_transposed_class, _stale_in_convolution)(_transposed)


# --- normalisation


def _norm(layer: _NormBase) -> dict[str, Any]:
    affine = _has(layer, "weight")
    return {
        "num_features": _count(layer.weight, layer.running_mean, layer.num_features),
        "eps": layer.eps,
        "momentum": layer.momentum,
        "affine": affine,
        "track_running_stats": layer.track_running_stats,
        "bias": _has(layer, "bias") or not affine,
    }


for _norm_class in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
    config_rule(_norm_class, stale=("num_features", "affine"))(_norm)
for _instance_class in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d):
    config_rule(_instance_class, stale=("num_features",))(_norm)


@config_rule(nn.SyncBatchNorm, stale=("num_features", "affine"))
def _sync_norm(layer: nn.SyncBatchNorm) -> dict[str, Any]:
    return _norm(layer) | {"process_group": layer.process_group}


@config_rule(nn.GroupNorm, stale=("num_channels", "affine"))
def _group_norm(layer: nn.GroupNorm) -> dict[str, Any]:
    affine = _has(layer, "weight")
    return {
        "num_groups": layer.num_groups,
        "num_channels": _count(layer.weight, layer.num_channels),
        "eps": layer.eps,
        "affine": affine,
        "bias": _has(layer, "bias") or not affine,
    }


@config_rule(nn.LayerNorm, stale=("normalized_shape", "elementwise_affine"))
def _layer_norm(layer: nn.LayerNorm) -> dict[str, Any]:
    return {**_over_shape(layer), "bias": _has(layer, "bias") or not _has(layer, "weight")}


def _over_shape(layer: nn.LayerNorm | nn.RMSNorm) -> dict[str, Any]:
    affine = _has(layer, "weight")
    shape = tuple(layer.weight.shape) if affine else layer.normalized_shape
    return {"normalized_shape": shape, "eps": layer.eps, "elementwise_affine": affine}


config_rule(nn.RMSNorm, stale=("normalized_shape", "elementwise_affine"))(_over_shape)


@config_rule(nn.PReLU, stale=("num_parameters",))
def _prelu(layer: nn.PReLU) -> dict[str, Any]:
    return {"num_parameters": layer.weight.numel(), "init": layer.init}


def _has(layer: nn.Module, name: str) -> bool:
    return layer._parameters[name] is not None


def _count(*sources: Tensor | int | None) -> int:
    """The length of the first tensor there is, or else the number."""
    source = next(source for source in sources if source is not None)
    return len(source) if isinstance(source, torch.Tensor) else source
