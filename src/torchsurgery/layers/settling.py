"""Layers of any number of axes that may yet be set for one: upsampling, flattening, a softmax along an axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from ..errors import ConfigError
from .conversion import EMPTY, Conversion, Fidelity
from .converting import convert
from .dimensions import Axes, in_words, led, one_for_all, plainly, settles
from .fresh import on_meta
from .norm import CHANNELS_LAST
from .pair import Pair
from .resampling import LINEAR_MODES
from .windows import per_axis


@settles(nn.PixelShuffle, nn.PixelUnshuffle, nn.Fold, nn.Unfold, nn.CrossMapLRN2d)
def _nowhere(old: nn.Module, own: int, axes: Axes) -> Conversion | None:
    raise ConfigError(f"{type(old).__name__} has no counterpart over another number of axes.", got=type(old))


@settles(nn.Upsample)
def _upsample(old: nn.Upsample, own: int, axes: Axes) -> Conversion | None:
    if old.mode == "bicubic":
        raise ConfigError(
            f"{type(old).__name__} knows mode='bicubic' over 2 axes only.",
            got=old.mode,
            way_out="ts.replace(model, nn.Upsample, nn.Upsample, mode='bilinear') first",
        )
    given: dict[str, Any] = {"mode": LINEAR_MODES[axes.new] if old.mode in LINEAR_MODES.values() else old.mode}
    for name in ("size", "scale_factor"):
        if (value := getattr(old, name)) is not None:
            given[name] = _resized(old, name, per_axis(value, own), axes)
    align = old.align_corners if given["mode"] in LINEAR_MODES.values() else None
    config = on_meta({"recompute_scale_factor": old.recompute_scale_factor, "align_corners": align})
    result = Pair(old, nn.Upsample, config, EMPTY).carry(given)
    return plainly(result, [2] if axes.strided or axes.new < own else [1])


def _resized(old: nn.Upsample, name: str, values: tuple[Any, ...], axes: Axes) -> Any:
    if axes.strided or axes.new <= len(values):
        return one_for_all(led(values, axes.new, values[0]))
    if name == "size":
        raise ConfigError(
            f"{type(old).__name__}(size={old.size}) does not tell the length along an axis that it is not to change.",
            got=old.size,
            way_out="ts.replace(model, name, nn.Upsample(scale_factor=2)) first",
        )
    return led(values, axes.new, 1.0)


@settles(nn.Flatten)
def _flatten(old: nn.Flatten, own: int, axes: Axes) -> Conversion | None:
    last = own + 1
    if (old.start_dim in (0, 1, 2) and old.end_dim == -1) or old.end_dim in (0, 1):
        return None
    if old.start_dim in (0, 1, 2) and old.end_dim == last:
        result = Pair(old, nn.Flatten, {"start_dim": old.start_dim}, EMPTY).carry({"end_dim": -1})
        return replace(result, fidelity=Fidelity.EXACT)
    raise ConfigError(
        f"Flatten(start_dim={old.start_dim}, end_dim={old.end_dim}) is written for {in_words(own)}.",
        way_out="ts.replace(model, name, nn.Flatten(1)) first, if that is what is meant",
    )


@settles(nn.Softmax2d)
def _softmax(old: nn.Softmax2d, own: int, axes: Axes) -> Conversion | None:
    return convert(old, nn.Softmax, {"dim": -1 - axes.new})


@settles(nn.Unflatten)
def _unflatten(old: nn.Unflatten, own: int, axes: Axes) -> Conversion | None:
    raise ConfigError(f"Unflatten({old.dim}, {tuple(old.unflattened_size)}) fixes the axes that it makes.")


@settles(*CHANNELS_LAST)
def _over_the_last(old: nn.LayerNorm | nn.RMSNorm, own: int, axes: Axes) -> Conversion | None:
    if len(old.normalized_shape) > 1:
        raise ConfigError(
            f"{type(old).__name__}({tuple(old.normalized_shape)}) has weights for {len(old.normalized_shape)} axes.",
            got=tuple(old.normalized_shape),
            way_out="ts.replace(model, name, nn.GroupNorm, num_groups=1) first",
        )
    return None


@settles(nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU)
def _along(old: nn.Softmax | nn.LogSoftmax | nn.Softmin | nn.GLU, own: int, axes: Axes) -> Conversion | None:
    if old.dim is None or -1 <= old.dim <= 1:
        return None
    raise ConfigError(
        f"{type(old).__name__}(dim={old.dim}) works along an axis that is another one then.",
        got=old.dim,
        way_out="ts.replace(model, name, type(layer), dim=1) first, if that is what is meant",
    )
