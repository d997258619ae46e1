"""Upsampling as a transposed convolution, and strided convolutions as a shuffle of pixels with a 1×1 beside it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .arguments import in_code
from .conv import TRANSPOSED, axes_of, windows_of
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion
from .windows import Window

LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


# --- upsampling


@conversion(nn.Upsample, TRANSPOSED)
def upsample_to_transposed(pair: Pair) -> Conversion:
    """Each channel by itself: ones for the nearest place, a triangle for a linear course."""
    axes = axes_of(pair.new)
    factor = _factor(pair, axes)
    channels = pair.overrides.get("in_channels")
    linear = pair.config["mode"] == LINEAR_MODES[axes]
    kernel, padding = (2 * factor - factor % 2, factor // 2) if linear else (factor, 0)
    given: dict[str, Any] = {"kernel_size": kernel, "stride": factor, "padding": padding, "bias": False}
    given |= {} if channels is None else {"out_channels": channels, "groups": channels}
    if channels is None or any(pair.overrides.get(name, value) != value for name, value in given.items()):
        return pair.carry(given)
    weight = _taps(kernel, factor, axes, channels)
    result = pair.carry(given, {"weight": weight}, Fidelity.EXACT, uses=("scale_factor", "mode"))
    if linear and factor > 1:
        return result.limited(Fidelity.APPROXIMATE, None, "exact away from the border")
    return result


def _factor(pair: Pair, axes: int) -> int:
    """The one whole number by which every axis grows.

    Raises:
        ConfigError: if there is none, or the course is neither the nearest place's nor linear.
    """
    scale = pair.config.get("scale_factor")
    factors = set(scale) if isinstance(scale, tuple | list) else {scale}
    factor = factors.pop() if len(factors) == 1 else None
    known = pair.config["mode"] in ("nearest", "nearest-exact", LINEAR_MODES[axes]) and not pair.config.get(
        "align_corners"
    )
    if known and isinstance(factor, int | float) and factor == int(factor) >= 1:
        return int(factor)
    raise ConfigError(
        f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: that takes one whole scale_factor, "
        f"mode='nearest' or {LINEAR_MODES[axes]!r}, and no align_corners.",
        got=dict(pair.config),
        way_out=f"ts.like(nn.Upsample(scale_factor=2), {in_code(pair.new)}, in_channels=64)",
    )


def _taps(kernel: int, factor: int, axes: int, channels: int) -> Computed:
    def fill() -> Tensor:
        places = torch.arange(kernel, dtype=torch.float64, device="cpu") - (kernel - 1) / 2
        taps = torch.ones_like(places) if kernel == factor else 1 - places.abs() / factor
        weight = torch.ones((), dtype=torch.float64, device="cpu")
        for _ in range(axes):
            weight = weight.unsqueeze(-1) * taps
        return weight.expand(channels, 1, *weight.shape).clone()

    return Computed((), fill, "ones" if kernel == factor else "a triangle")


@conversion(TRANSPOSED, nn.Upsample)
def transposed_to_upsample(pair: Pair) -> Conversion:
    """Exact where the kernel is that of the nearest place; else only the factor carries."""
    weight, stride = pair.old._parameters["weight"], pair.config["stride"]
    nearest = _is_nearest(pair, weight) if isinstance(weight, Tensor) and not weight.is_meta else False
    result = pair.carry({"scale_factor": tuple(map(float, stride))}, fidelity=Fidelity.EXACT, uses=("stride",))
    same = {"scale_factor", "size", "mode", "align_corners"}.isdisjoint(pair.overrides)
    return result if nearest and same else result.limited(Fidelity.INITIALISED, None, "the kernel is lost")


def _is_nearest(pair: Pair, weight: Tensor) -> bool:
    """Whether every channel goes by itself, and each place is copied to all of its patch."""
    windows = windows_of(pair.config, pair.old)
    alone = pair.config["groups"] == pair.config["in_channels"] == pair.config["out_channels"]
    patches = all(window == Window(window.stride, window.stride, window.dilation) for window in windows)
    bias = pair.old._parameters["bias"]
    return alone and patches and bool((weight == 1).all()) and (bias is None or not bias.any())


# --- shuffles of pixels


@conversion(nn.ConvTranspose2d, nn.PixelShuffle)
def transposed_to_shuffle(pair: Pair) -> Conversion:
    """A 1×1 convolution to all pixels of a patch, then the shuffle, as a plain Sequential."""
    factor, config = _patch(pair), pair.config

    def weight(tensor: Tensor) -> Tensor:
        groups = config["groups"]
        grouped = tensor.reshape(groups, tensor.shape[0] // groups, *tensor.shape[1:]).permute(0, 2, 3, 4, 1)
        return grouped.flatten(0, 3)[..., None, None].contiguous()

    origins: dict[str, Origin] = {"0.weight": Computed(("weight",), weight, "reshaped", per_entry=True)}
    if config["bias"]:
        spread = Computed(("bias",), lambda bias: bias.repeat_interleave(factor**2), f"each {factor**2} times")
        origins["0.bias"] = spread
    arguments = {name: config[name] for name in ("in_channels", "out_channels", "groups", "bias")}
    return Conversion(_made(_convolve_shuffle), {**arguments, "factor": factor}, origins, Fidelity.EXACT)


@conversion(nn.Conv2d, nn.PixelUnshuffle)
def conv_to_unshuffle(pair: Pair) -> Conversion:
    """The pixels of each patch as channels, then a 1×1 convolution, as a plain Sequential."""
    factor, config = _patch(pair), pair.config
    weight = Computed(
        ("weight",), lambda tensor: tensor.flatten(1)[..., None, None].clone(), "reshaped", per_entry=True
    )
    origins: dict[str, Origin] = {"1.weight": weight}
    if config["bias"]:
        origins["1.bias"] = Computed(("bias",), torch.clone, "copied", per_entry=True)
    arguments = {name: config[name] for name in ("in_channels", "out_channels", "groups", "bias")}
    remarks = (f"takes heights and widths that {factor} divides only",) if factor > 1 else ()
    return Conversion(
        _made(_unshuffle_convolve), {**arguments, "factor": factor}, origins, Fidelity.EXACT, remarks=remarks
    )


@conversion(nn.PixelShuffle, nn.ConvTranspose2d)
@conversion(nn.PixelUnshuffle, nn.Conv2d)
def shuffle_to_conv(pair: Pair) -> Conversion:
    """Each pixel of a patch from or to a channel of its own, by a kernel with a single one in it."""
    factor = next(iter(pair.config.values()))
    up = issubclass(pair.new, nn.ConvTranspose2d)
    given: dict[str, Any] = {"kernel_size": factor, "stride": factor, "bias": False}
    many, few = factor**2, 1
    if (channels := pair.overrides.get("in_channels")) is not None:
        given |= {"out_channels": channels // many if up else channels * many}
        given["groups"] = few = given["out_channels"] if up else channels
    if channels is None or any(pair.overrides.get(name, value) != value for name, value in given.items()):
        return pair.carry(given)
    origins: dict[str, str | Origin] = {"weight": _one_of_each(factor, few)}
    return pair.carry(given, origins, Fidelity.EXACT, uses=pair.config)


def _one_of_each(factor: int, channels: int) -> Computed:
    def fill() -> Tensor:
        one = torch.eye(factor**2, dtype=torch.float64, device="cpu").reshape(-1, 1, factor, factor)
        return one.repeat(channels, 1, 1, 1)

    return Computed((), fill, "a one for each pixel")


@conversion(nn.Upsample, nn.PixelShuffle)
@conversion(nn.PixelShuffle, nn.Upsample)
@conversion(nn.PixelUnshuffle, nn.PixelShuffle)
@conversion(nn.PixelShuffle, nn.PixelUnshuffle)
def factor_to_factor(pair: Pair) -> Conversion:
    """The factor carries; a shuffle trades channels for places, which nothing else does."""
    factor = _factor(pair, 2) if isinstance(pair.old, nn.Upsample) else next(iter(pair.config.values()))
    uses = ("scale_factor", "upscale_factor", "downscale_factor")
    given = {"upscale_factor": factor, "downscale_factor": factor, "scale_factor": float(factor)}
    remark = f"a shuffle trades {factor**2} channels for one"
    return pair.carry(given, fidelity=Fidelity.INITIALISED, uses=uses, remarks=(remark,))


def _patch(pair: Pair) -> int:
    """The side of the patches that don't overlap and leave nothing out.

    Raises:
        ConfigError: if they do.
    """
    windows = windows_of(pair.config, pair.old)
    side = windows[0].kernel
    if pair.overrides or set(windows) != {Window(side, side, windows[0].dilation if side == 1 else 1)}:
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: kernel_size and stride must be one "
            "number, without padding or dilation.",
            got=pair.old,
            way_out=f"ts.like(nn.Conv2d(3, 64, 4, stride=4), {in_code(pair.new)})",
        )
    return side


def _made(function: Any) -> type[nn.Module]:
    # A plain Sequential can't be made of keywords: in the place of the class stands what makes one.
    return cast("type[nn.Module]", function)


def _convolve_shuffle(in_channels: int, out_channels: int, groups: int, bias: bool, factor: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels * factor**2, 1, groups=groups, bias=bias)
    return nn.Sequential(conv, nn.PixelShuffle(factor))


def _unshuffle_convolve(in_channels: int, out_channels: int, groups: int, bias: bool, factor: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels * factor**2, out_channels, 1, groups=groups, bias=bias)
    return nn.Sequential(nn.PixelUnshuffle(factor), conv)
