"""Layers that hand on what they are given, and can be trained: to make a trained network deeper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from ..randomness import random_state_kept
from .config import arguments_of
from .conv import CONVS


def identity_like(layer: Any) -> nn.Module:
    """A layer of the kind of `layer`, to stand behind it, that computes the identity until it is trained.

    As wide as `layer`'s output. With an activation between both, nothing changes where that does nothing the second
    time, as a ReLU.

    Args:
        layer: A Linear, or a convolution with an odd kernel. It gives kernel, dilation, padding mode, bias, dtype,
            device and mode; the new one has a stride of 1 and one group.

    Raises:
        ConfigError: if it is neither, or has an even kernel.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> a = torch.randn(3, 4)
        >>> before = net(a)
        >>> done = ts.insert(net, lambda old: nn.Sequential(nn.ReLU(), ts.identity_like(old)), after="0")
        >>> torch.allclose(net(a), before)
        True

    Source: Chen et al., Net2Net: Accelerating Learning via Knowledge Transfer, ICLR 2016, section 2.3.
    """
    kind = next((cls for cls in (nn.Linear, *CONVS) if isinstance(layer, cls)), None)
    if kind is None:
        raise ConfigError(
            f"identity_like takes a Linear or a convolution, and got a {type(layer).__name__}.",
            got=layer,
            way_out="ts.insert(model, ts.identity_like, after=nn.Linear)",
        )
    config, made = arguments_of(layer), {"dtype": layer.weight.dtype, "device": layer.weight.device}
    with random_state_kept(), torch.no_grad():
        new: Any = _linear(config, made) if kind is nn.Linear else _conv(kind, config, made)
        if new.bias is not None:
            new.bias.zero_()
    trained: nn.Module = new.train(layer.training)
    return trained


def _linear(config: Mapping[str, Any], made: Mapping[str, Any]) -> nn.Module:
    width = config["out_features"]
    new = nn.Linear(width, width, config["bias"], **made)
    nn.init.eye_(new.weight)
    return new


def _conv(kind: Any, config: Mapping[str, Any], made: Mapping[str, Any]) -> nn.Module:
    width, kernel, dilation = config["out_channels"], config["kernel_size"], config["dilation"]
    if any(size % 2 == 0 for size in kernel):
        raise ConfigError(
            f"an identity has a middle, and the kernel_size {kernel} has none.",
            got=kernel,
            way_out="lambda conv: ts.identity_like(ts.like(conv, nn.Conv2d, kernel_size=3))",
        )
    padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    new = kind(width, width, kernel, 1, padding, dilation, 1, config["bias"], config["padding_mode"], **made)
    nn.init.dirac_(new.weight)
    made_layer: nn.Module = new
    return made_layer
