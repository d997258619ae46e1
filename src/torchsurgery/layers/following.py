"""Attributes of torch.nn's layers that tell how wide their tensors are, after some entries have gone or come."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Shape = tuple[int, ...]


def widths_told(layer: nn.Module, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The attributes that say how wide a layer is, with their values.

    Args:
        layer: The layer; its `groups` and `num_heads` are right already.
        shapes: The shapes of its tensors as they are now, those of parametrizations and of `out_proj` included.
    """
    weight = _weight(shapes)
    told: dict[str, Any] = {}
    if isinstance(layer, nn.MultiheadAttention):
        told = _attention(layer, shapes)
    elif isinstance(layer, nn.RNNBase):
        told = {"input_size": shapes["weight_ih_l0"][1], "hidden_size": _hidden(layer, shapes)}
    elif isinstance(layer, nn.RNNCellBase):
        told = {"input_size": shapes["weight_ih"][1], "hidden_size": shapes["weight_hh"][1]}
    elif weight is not None:
        told = _by_weight(layer, weight)
    elif isinstance(layer, _NormBase) and "running_mean" in shapes:
        told = {"num_features": shapes["running_mean"][0]}
    return {name: value for name, value in told.items() if name in vars(layer)}


def _weight(shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape of the weight; the direction of weight_norm has that of the weight, too."""
    names = (
        "weight",
        "parametrizations.weight.original1",
        "parametrizations.weight.original",
        "weight_orig",  # of spectral_norm, whose weight_v is a vector
        "weight_v",
    )
    return next((shapes[name] for name in names if name in shapes), None)


def _by_weight(layer: nn.Module, weight: Shape) -> dict[str, Any]:
    if isinstance(layer, _ConvTransposeNd):
        return {"in_channels": weight[0], "out_channels": weight[1] * layer.groups}
    if isinstance(layer, _ConvNd):
        return {"out_channels": weight[0], "in_channels": weight[1] * layer.groups}
    if isinstance(layer, nn.Linear):
        return {"out_features": weight[0], "in_features": weight[1]}
    if isinstance(layer, nn.Bilinear):
        return {"out_features": weight[0], "in1_features": weight[1], "in2_features": weight[2]}
    if isinstance(layer, _NormBase):
        return {"num_features": weight[0]}
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        return {"normalized_shape": weight}
    if isinstance(layer, nn.GroupNorm):
        return {"num_channels": weight[0]}
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return {"num_embeddings": weight[0], "embedding_dim": weight[1]}
    return {"num_parameters": weight[0]} if isinstance(layer, nn.PReLU) else {}


def axes_told(layer: nn.Module) -> Mapping[str, int]:
    """The attributes that each tell the length of one axis of the layer's weight, with that axis."""
    if isinstance(layer, nn.Linear):
        return {"out_features": 0, "in_features": 1}
    if isinstance(layer, _ConvTransposeNd):
        return {"in_channels": 0} | ({"out_channels": 1} if layer.groups == 1 else {})
    if isinstance(layer, _ConvNd):
        return {"out_channels": 0} | ({"in_channels": 1} if layer.groups == 1 else {})
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        return {"embedding_dim": 1}
    return {"num_channels": 0} if isinstance(layer, nn.GroupNorm) else {}


def _hidden(layer: nn.RNNBase, shapes: Mapping[str, Shape]) -> int:
    return shapes["weight_hh_l0"][0] // {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)


def _attention(layer: nn.MultiheadAttention, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    if "in_proj_weight" in shapes:
        rows, width = shapes["in_proj_weight"]
        return {"embed_dim": width, "kdim": width, "vdim": width, "head_dim": rows // 3 // layer.num_heads}
    rows, width = shapes["q_proj_weight"]
    key, value = shapes["k_proj_weight"][1], shapes["v_proj_weight"][1]
    return {"embed_dim": width, "kdim": key, "vdim": value, "head_dim": rows // layer.num_heads}


def renew_lists(layer: nn.Module) -> None:
    """Lists that a layer keeps of its own parameters, made anew."""
    if isinstance(layer, nn.RNNBase):
        weights = [layer._parameters.get(name) for name in layer._flat_weights_names]
        refs = [None if weight is None else weakref.ref(weight) for weight in weights]
        vars(layer).update(_flat_weights=weights, _flat_weight_refs=refs)
