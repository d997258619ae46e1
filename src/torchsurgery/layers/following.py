"""Attributes of torch.nn's layers that tell how wide their tensors are, after some entries have gone or come."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Shape: TypeAlias = tuple[int, ...]
# A layer's tensors by name, those of parametrizations and of `out_proj` included.
Tensors: TypeAlias = "Mapping[str, Tensor | None]"
_Teller: TypeAlias = "Callable[[Any, Tensors], dict[str, Any]]"

# What a weight may be called.
_WEIGHTS = (
    "weight",
    "parametrizations.weight.original1",
    "parametrizations.weight.original",
    "weight_orig",  # of spectral_norm, whose weight_v is a vector
    "weight_v",
)


def widths_told(layer: nn.Module, tensors: Tensors) -> dict[str, Any]:
    """The attributes that say how wide a layer is, with their values.

    Args:
        layer: The layer; its `groups` and `num_heads` are right already.
        tensors: Its tensors as they are now.
    """
    tell = _teller(type(layer))  # type: ignore[arg-type]  # hashable as every class
    told = {} if tell is None else tell(layer, tensors)
    return {name: value for name, value in told.items() if name in vars(layer)}


def _weight(tensors: Tensors) -> Shape:
    """The shape of the weight, empty where there is none; the direction of weight_norm has that of the weight, too."""
    for name in _WEIGHTS:
        if (tensor := tensors.get(name)) is not None:
            return tuple(tensor.shape)
    return ()


def _by_weight(layer: nn.Module, tensors: Tensors) -> dict[str, Any]:
    lengths = zip(_axes(type(layer)), _weight(tensors), strict=False)  # type: ignore[arg-type]  # classes are hashable
    return {name: n * _groups(layer) if dim == 1 else n for dim, (name, n) in enumerate(lengths)}


def _groups(layer: nn.Module) -> int:
    """By how many times the second axis of its weight is shorter than the layer tells."""
    return layer.groups if isinstance(layer, _ConvNd) else 1


def _norm(layer: _NormBase, tensors: Tensors) -> dict[str, Any]:
    told = _weight(tensors) or _shape(tensors, "running_mean")
    return {"num_features": told[0]} if told else {}


def _whole_shape(layer: nn.Module, tensors: Tensors) -> dict[str, Any]:
    shape = _weight(tensors)
    return {"normalized_shape": shape} if shape else {}


def _recurrent(layer: nn.RNNBase, tensors: Tensors) -> dict[str, Any]:
    rows = _shape(tensors, "weight_hh_l0")[0]
    hidden = rows // {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    return {"input_size": _shape(tensors, "weight_ih_l0")[1], "hidden_size": hidden}


def _cell(layer: nn.RNNCellBase, tensors: Tensors) -> dict[str, Any]:
    return {"input_size": _shape(tensors, "weight_ih")[1], "hidden_size": _shape(tensors, "weight_hh")[1]}


def _attention(layer: nn.MultiheadAttention, tensors: Tensors) -> dict[str, Any]:
    if packed := _shape(tensors, "in_proj_weight"):
        rows, width = packed
        return {"embed_dim": width, "kdim": width, "vdim": width, "head_dim": rows // 3 // layer.num_heads}
    rows, width = _shape(tensors, "q_proj_weight")
    key, value = _shape(tensors, "k_proj_weight")[1], _shape(tensors, "v_proj_weight")[1]
    return {"embed_dim": width, "kdim": key, "vdim": value, "head_dim": rows // layer.num_heads}


def _shape(tensors: Tensors, name: str) -> Shape:
    """The shape of a tensor; empty where there is none."""
    tensor = tensors.get(name)
    return () if tensor is None else tuple(tensor.shape)


# Class → what tells the lengths of its weight's axes, in their order.
_AXES: Mapping[type[nn.Module], Sequence[str]] = {
    nn.Linear: ("out_features", "in_features"),
    nn.Bilinear: ("out_features", "in1_features", "in2_features"),
    _ConvNd: ("out_channels", "in_channels"),
    _ConvTransposeNd: ("in_channels", "out_channels"),
    nn.Embedding: ("num_embeddings", "embedding_dim"),
    nn.EmbeddingBag: ("num_embeddings", "embedding_dim"),
    nn.GroupNorm: ("num_channels",),
    nn.PReLU: ("num_parameters",),
}
# Of these what a model's own code may read for the width of a stream.
WIDTHS = frozenset({"out_features", "in_features", "out_channels", "in_channels", "embedding_dim", "num_channels"})

_TELLERS: Mapping[type[nn.Module], _Teller] = {
    **dict.fromkeys(_AXES, _by_weight),
    _NormBase: _norm,
    nn.LayerNorm: _whole_shape,
    nn.RMSNorm: _whole_shape,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _cell,
    nn.MultiheadAttention: _attention,
}


@lru_cache(maxsize=4096)
def _teller(kind: type[nn.Module]) -> _Teller | None:
    return next((_TELLERS[base] for base in kind.__mro__ if base in _TELLERS), None)


@lru_cache(maxsize=4096)
def _axes(kind: type[nn.Module]) -> Sequence[str]:
    return next((_AXES[base] for base in kind.__mro__ if base in _AXES), ())


def axes_told(layer: nn.Module) -> Mapping[str, int]:
    """The attributes that each tell the length of one axis of the layer's weight, with that axis."""
    return _axes_told(type(layer), _groups(layer) > 1)  # type: ignore[arg-type]  # classes are hashable


@lru_cache(maxsize=4096)
def _axes_told(kind: type[nn.Module], in_groups: bool) -> Mapping[str, int]:
    names = _axes(kind)  # type: ignore[arg-type]  # classes are hashable
    return {name: dim for dim, name in enumerate(names) if name in WIDTHS and not (in_groups and dim == 1)}


def renew_lists(layer: nn.Module) -> None:
    """Lists that a layer keeps of its own parameters, made anew."""
    if isinstance(layer, nn.RNNBase):
        weights = [layer._parameters.get(name) for name in layer._flat_weights_names]
        refs = [None if weight is None else weakref.ref(weight) for weight in weights]
        vars(layer).update(_flat_weights=weights, _flat_weight_refs=refs)
