"""Layers of timm and torchvision that are made for images: the same for any number of axes. Neither is imported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .conversion import EMPTY, Conversion, Fidelity
from .dimensions import Axes, axes_of_layer, over, settled_for


class _Activated:
    """What the three classes share: a norm, then `drop`, then `act`."""

    drop: nn.Module
    act: nn.Module

    def __init__(
        self, num_features: int, act: nn.Module | None = None, drop: nn.Module | None = None, **arguments: Any
    ):
        super().__init__(num_features, **arguments)  # type: ignore[call-arg]
        self.drop, self.act = drop or nn.Identity(), act or nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.act(self.drop(super().forward(input)))  # type: ignore[misc]
        return answer


class BatchNormAct1d(_Activated, nn.BatchNorm1d):
    """A `BatchNorm1d` with a dropout and an activation behind it, as timm's `BatchNormAct2d`."""


class BatchNormAct2d(_Activated, nn.BatchNorm2d):
    """A `BatchNorm2d` with a dropout and an activation behind it, as timm's class of the same name."""


class BatchNormAct3d(_Activated, nn.BatchNorm3d):
    """A `BatchNorm3d` with a dropout and an activation behind it, as timm's `BatchNormAct2d`."""


class ChannelLayerNorm(nn.LayerNorm):
    """A `LayerNorm` over the channels of (N, C, …), whatever the number of axes behind them."""

    def forward(self, input: Tensor) -> Tensor:
        moved = input.movedim(1, -1)
        return F.layer_norm(moved, self.normalized_shape, self.weight, self.bias, self.eps).movedim(-1, 1)


# --- modules whose forward is written for images, though what lies inside follows


class _OfParts(nn.Module):
    """A module that is made of its parts, by their names."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class SqueezeExcite(_OfParts):
    """timm's `SqueezeExcite` over any number of axes; made of `conv_reduce`, `act1`, `conv_expand` and `gate`."""

    conv_reduce: nn.Module
    act1: nn.Module
    conv_expand: nn.Module
    gate: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        squeezed = self.conv_expand(self.act1(self.conv_reduce(_pooled(input))))
        answer: Tensor = input * self.gate(squeezed)
        return answer


class SqueezeModule(_OfParts):
    """timm's `SEModule` over any number of axes; made of `fc1`, `bn`, `act`, `fc2` and `gate`."""

    fc1: nn.Module
    bn: nn.Module
    act: nn.Module
    fc2: nn.Module
    gate: nn.Module
    add_maxpool = False

    def forward(self, input: Tensor) -> Tensor:
        squeezed = self.fc2(self.act(self.bn(self.fc1(_squeezed(input, self.add_maxpool)))))
        answer: Tensor = input * self.gate(squeezed)
        return answer


class EffectiveSqueezeModule(_OfParts):
    """timm's `EffectiveSEModule` over any number of axes; made of `fc` and `gate`."""

    fc: nn.Module
    gate: nn.Module
    add_maxpool = False

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = input * self.gate(self.fc(_squeezed(input, self.add_maxpool)))
        return answer


class GlobalAverage(nn.Module):
    """The average over all axes behind the channels, which go if it is to flatten; as timm's `FastAdaptiveAvgPool`."""

    def __init__(self, flatten: bool = False) -> None:
        super().__init__()
        self.flatten = flatten

    def forward(self, input: Tensor) -> Tensor:
        return input.mean(_behind(input), keepdim=not self.flatten)


class PooledClassifier(_OfParts):
    """`features`, the average over all places, `classifier`: as torchvision's `MobileNetV2`."""

    features: nn.Module
    classifier: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.classifier(_pooled(self.features(input)).flatten(1))
        return answer


class ActivatedClassifier(_OfParts):
    """`features`, a ReLU, the average over all places, `classifier`: as torchvision's `DenseNet`."""

    features: nn.Module
    classifier: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        features = F.relu(self.features(input), inplace=True)
        answer: Tensor = self.classifier(_pooled(features).flatten(1))
        return answer


class LayeredClassifier(_OfParts):
    """`layers`, the average over all places, `classifier`: as torchvision's `MNASNet`."""

    layers: nn.Module
    classifier: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.classifier(_pooled(self.layers(input)).flatten(1))
        return answer


def _behind(input: Tensor) -> tuple[int, ...]:
    return tuple(range(2, input.dim()))


def _pooled(input: Tensor) -> Tensor:
    return input.mean(_behind(input), keepdim=True)


def _squeezed(input: Tensor, and_most: bool) -> Tensor:
    pooled = _pooled(input)
    return 0.5 * pooled + 0.5 * input.amax(_behind(input), keepdim=True) if and_most else pooled


# --- who becomes what

ACTIVATED = (BatchNormAct1d, BatchNormAct2d, BatchNormAct3d)
_COUNTERPARTS: dict[str, type[nn.Module]] = {
    "timm.layers.adaptive_avgmax_pool.FastAdaptiveAvgPool": GlobalAverage,
    "timm.layers.norm.LayerNorm2d": ChannelLayerNorm,
    "timm.layers.squeeze_excite.EffectiveSEModule": EffectiveSqueezeModule,
    "timm.layers.squeeze_excite.SEModule": SqueezeModule,
    "timm.models._efficientnet_blocks.SqueezeExcite": SqueezeExcite,
    "torchvision.models.convnext.LayerNorm2d": ChannelLayerNorm,
    "torchvision.models.densenet.DenseNet": ActivatedClassifier,
    "torchvision.models.mnasnet.MNASNet": LayeredClassifier,
    "torchvision.models.mobilenetv2.MobileNetV2": PooledClassifier,
}


def known_elsewhere(old: nn.Module, axes: Axes) -> Conversion | None:
    """What a module of timm or torchvision comes to over `axes`; None if it is none that is known here.

    Its object takes another class: every tensor, hook and part stays where it is.
    """
    name = f"{type(old).__module__}.{type(old).__qualname__}"
    if name == "timm.layers.norm_act.BatchNormAct2d" or type(old) in ACTIVATED:
        new: type[nn.Module] | None = ACTIVATED[axes.new - 1]
    else:
        new = _COUNTERPARTS.get(name)
    return None if new is None else Conversion(new, EMPTY, EMPTY, Fidelity.EXACT, adopts=True)


def turned(old: nn.Module, own: int, axes: Axes) -> Conversion | None:
    """What a layer of a model over `own` axes comes to over others; None if it stays what it is.

    Raises:
        ConfigError: if it can't follow.
    """
    if (found := known_elsewhere(old, axes)) is not None:
        return found
    if axes_of_layer(type(old)) == own:
        return over(old, axes)
    return settled_for(old, own, axes)
