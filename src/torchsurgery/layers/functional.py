"""Functions that compute what a layer without tensors of its own does: `F.relu`, `torch.softmax`, `x.flatten(1)`.

A `Function` is one computation with all the ways to write its call, its spellings; the first argument of each is what
the layer is called on, the others are its constructor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .building import signature_of


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One computation that a layer does, too.

    Attributes:
        name: The name of the function, such as "max_pool2d".
        layer: The layer class that does the same.
        neutral: Parameters that the layer doesn't have → the value with which they say nothing.
    """

    name: str
    layer: type[nn.Module]
    neutral: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_training(self) -> bool:
        """Whether the function is told its mode by an argument, where a layer has its own."""
        return "training" in self.neutral


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """One way to call a function.

    Attributes:
        function: What it computes.
        callee: The object that is called; of a method the one on `torch.Tensor`.
        text: How it is written: "F.relu", "torch.relu_", "Tensor.relu".
        parameters: Its parameters after the input, in order, by the names that the layer has for them.
        fixed: Arguments that the spelling stands for, such as inplace=True.
    """

    function: Function
    callee: Any
    text: str
    parameters: tuple[str, ...]
    fixed: Mapping[str, Any]


_BY_CALLEE: dict[int, Spelling] = {}
_BY_METHOD: dict[str, Spelling] = {}


def spelling_of(callee: object) -> Spelling | None:
    """The spelling whose callee an object is, if there is one."""
    return _BY_CALLEE.get(id(callee))  # by identity: what a forward calls need not be hashable


def method_spelling(name: str) -> Spelling | None:
    """The spelling as a method of a tensor, of that name."""
    return _BY_METHOD.get(name)


def refusal_of(function: Function, arguments: Mapping[str, Any]) -> str | None:
    """Why a call with these arguments can't be the function's layer, or None."""
    parameters = signature_of(function.layer).names
    for name, value in arguments.items():
        if name not in parameters and value != function.neutral.get(name):
            return f"nn.{function.layer.__name__} has no {name}, which is {value!r}"
    return None


def layer_arguments(function: Function, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments for a call with these arguments."""
    return {name: value for name, value in arguments.items() if name in signature_of(function.layer).names}


# --- the functions


def _function(
    name: str,
    layer: type[nn.Module],
    parameters: str = "",
    /,
    also: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    **neutral: Any,
) -> None:
    """Register `F.<name>`, its in-place twins, and what `also` names: spelling → parameters."""
    function = Function(name, layer, neutral)
    spellings = {f"F.{name}": parameters, **(also or {})}
    for text, names in spellings.items():
        _spell(function, text, tuple(names.split()), fixed or {})
    for text, names in spellings.items():
        in_place = tuple(n for n in names.split() if n not in ("inplace", "approximate"))
        for place in (text.split(".")[0], "torch"):
            _spell(function, f"{place}.{name}_", in_place, {"inplace": True})


def _spell(function: Function, text: str, parameters: tuple[str, ...], fixed: Mapping[str, Any]) -> None:
    place, name = text.split(".")
    callee = getattr({"F": F, "torch": torch, "Tensor": Tensor}[place], name, None)
    if callee is None:
        return
    spelling = Spelling(function, callee, text, parameters, fixed)
    _BY_CALLEE.setdefault(id(callee), spelling)
    if place == "Tensor":
        _BY_METHOD.setdefault(name, spelling)


def _everywhere(name: str, parameters: str = "") -> dict[str, str]:
    return {f"torch.{name}": parameters, f"Tensor.{name}": parameters}


_function("relu", nn.ReLU, "inplace", _everywhere("relu"))
_function("sigmoid", nn.Sigmoid, "", _everywhere("sigmoid"))
_function("tanh", nn.Tanh, "", _everywhere("tanh"))
_function("relu6", nn.ReLU6, "inplace")
_function("leaky_relu", nn.LeakyReLU, "negative_slope inplace")
_function("elu", nn.ELU, "alpha inplace")
_function("selu", nn.SELU, "inplace", {"torch.selu": ""})
_function("celu", nn.CELU, "alpha inplace", {"torch.celu": "alpha"})
_function("gelu", nn.GELU, "approximate")
_function("silu", nn.SiLU, "inplace")
_function("mish", nn.Mish, "inplace")
_function("hardswish", nn.Hardswish, "inplace")
_function("hardsigmoid", nn.Hardsigmoid, "inplace")
_function("hardtanh", nn.Hardtanh, "min_val max_val inplace")
_function("threshold", nn.Threshold, "threshold value inplace")
_function("logsigmoid", nn.LogSigmoid)
_function("softplus", nn.Softplus, "beta threshold")
_function("softsign", nn.Softsign)
_function("tanhshrink", nn.Tanhshrink)
_function("hardshrink", nn.Hardshrink, "lambd", {"Tensor.hardshrink": "lambd"})
_function("softshrink", nn.Softshrink, "lambd")
_function("glu", nn.GLU, "dim")
_function("rrelu", nn.RReLU, "lower upper training inplace", training=False)
_function(
    "softmax", nn.Softmax, "dim _stacklevel dtype", _everywhere("softmax", "dim dtype"), _stacklevel=3, dtype=None
)
_function("log_softmax", nn.LogSoftmax, "dim _stacklevel dtype", _everywhere("log_softmax", "dim dtype"), _stacklevel=3)
_function("softmin", nn.Softmin, "dim _stacklevel dtype", _stacklevel=3)

_function("dropout", nn.Dropout, "p training inplace", {"torch.dropout": "p training"}, training=True)
_function("dropout1d", nn.Dropout1d, "p training inplace", training=True)
_function("dropout2d", nn.Dropout2d, "p training inplace", training=True)
_function("dropout3d", nn.Dropout3d, "p training inplace", training=True)
_function("alpha_dropout", nn.AlphaDropout, "p training inplace", training=False)
_function("feature_alpha_dropout", nn.FeatureAlphaDropout, "p training inplace", training=False)

_MAX = "kernel_size stride padding dilation ceil_mode return_indices"
_AVERAGE = "kernel_size stride padding ceil_mode count_include_pad"
_function("max_pool1d", nn.MaxPool1d, _MAX, {"torch.max_pool1d": _MAX})
_function("max_pool2d", nn.MaxPool2d, _MAX, {"torch.max_pool2d": _MAX})
_function("max_pool3d", nn.MaxPool3d, _MAX, {"torch.max_pool3d": _MAX})
_function("avg_pool1d", nn.AvgPool1d, _AVERAGE)
_function("avg_pool2d", nn.AvgPool2d, _AVERAGE + " divisor_override")
_function("avg_pool3d", nn.AvgPool3d, _AVERAGE + " divisor_override")
_function("lp_pool1d", nn.LPPool1d, "norm_type kernel_size stride ceil_mode")
_function("lp_pool2d", nn.LPPool2d, "norm_type kernel_size stride ceil_mode")
_function("lp_pool3d", nn.LPPool3d, "norm_type kernel_size stride ceil_mode")
_function("adaptive_avg_pool1d", nn.AdaptiveAvgPool1d, "output_size")
_function("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d, "output_size")
_function("adaptive_avg_pool3d", nn.AdaptiveAvgPool3d, "output_size")
_function("adaptive_max_pool1d", nn.AdaptiveMaxPool1d, "output_size return_indices")
_function("adaptive_max_pool2d", nn.AdaptiveMaxPool2d, "output_size return_indices")
_function("adaptive_max_pool3d", nn.AdaptiveMaxPool3d, "output_size return_indices")

_function("pixel_shuffle", nn.PixelShuffle, "upscale_factor")
_function("pixel_unshuffle", nn.PixelUnshuffle, "downscale_factor")
_function("channel_shuffle", nn.ChannelShuffle, "groups")
_function("unfold", nn.Unfold, "kernel_size dilation padding stride")
_function("fold", nn.Fold, "output_size kernel_size dilation padding stride")
_function(
    "interpolate",
    nn.Upsample,
    "size scale_factor mode align_corners recompute_scale_factor antialias",
    antialias=False,
)
# The layer begins at the second axis where nothing else is said, the function at the first.
_function("flatten", nn.Flatten, "", _everywhere("flatten", "start_dim end_dim"), fixed={"start_dim": 0})
