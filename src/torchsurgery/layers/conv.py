"""Convolutions: other kernel sizes, dilations, strides, groups, paddings and dimensions; trained kernels stay in place.

A convolution with another kernel keeps its output shape, and every tap that stays goes on looking at the same input, so
the padding follows, on the left and on the right by itself. Where torch can't pad like that, a `PaddedConv` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import ConfigError
from ..origins import Computed, Initialised, Origin
from .arguments import argument_check, check_arguments
from .building import once_per_class
from .conversion import Conversion, Fidelity
from .fills import filled
from .growing import more, resized
from .kernels import Kernel, kernel_of
from .padded import PADDED, Pads
from .padded import PaddedConv1d as PaddedConv1d
from .padded import PaddedConv2d as PaddedConv2d
from .padded import PaddedConv3d as PaddedConv3d
from .pair import Pair
from .registry import conversion
from .windows import Change, Fit, Window, central, fits_of, lifted, per_axis

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

# The rules work these out for torch themselves.
GEOMETRY = ("kernel_size", "stride", "dilation", "padding", "pads", "output_padding")


@once_per_class
def axes_of(cls: type[nn.Module]) -> int:
    """1, 2 or 3 dimensions."""
    families = zip(CONVS, TRANSPOSED, strict=True)
    return next(n for n, family in enumerate(families, 1) if issubclass(cls, family))


# --- the padding that follows


@conversion((*CONVS, *PADDED), (*CONVS, *PADDED))
def conv_to_conv(pair: Pair) -> Conversion:
    """Exact where every tap finds its place again and no weight goes."""
    _check(pair)
    axes = axes_of(pair.new)
    kernel, stride, dilation = _asked(pair, axes, old := lifted(windows_of(pair.config, pair.old), axes))
    if "padding" in pair.overrides or "pads" in pair.overrides:
        pads = pads_of(pair.overrides, kernel, dilation)
        fits = [_fit_with(*entry) for entry in zip(old, kernel, dilation, pads, strict=True)]
        padding = pair.overrides.get("padding", pads)
    else:
        choices = [central(fits_of(*entry), entry[0]) for entry in zip(old, kernel, dilation, strict=True)]
        fits, padding = _chosen(pair, choices, [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)], stride)
    new = tuple(Window(k, s, d, f.left, f.right) for k, s, d, f in zip(kernel, stride, dilation, fits, strict=True))
    cls, given = _class_for(pair, padding)
    return _carried(pair, Change(old, new, tuple(fits)), given, cls)


def _check(pair: Pair) -> None:
    channels = {name: pair.config[name] for name in ("in_channels", "out_channels", "groups")}
    check_arguments(pair.old, pair.new, {**channels, **pair.overrides})


def pads_of(config: Mapping[str, Any], kernel: Sequence[int], dilation: Sequence[int]) -> Pads:
    """The padding in numbers, on both sides of each axis."""
    if "pads" in config:
        return tuple((left, right) for left, right in config["pads"])
    padding = config.get("padding", 0)
    if padding == "same":
        extents = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((extent // 2, extent - extent // 2) for extent in extents)
    return tuple((p, p) for p in per_axis(0 if padding == "valid" else padding, len(kernel)))


def windows_of(config: Mapping[str, Any], layer: nn.Module) -> tuple[Window, ...]:
    """What a convolution with these arguments looks at, axis by axis; `layer` tells how many there are."""
    axes = axes_of(type(layer))
    kernel, stride, dilation = (per_axis(config.get(name, 1), axes) for name in ("kernel_size", "stride", "dilation"))
    pads = pads_of(config, kernel, dilation)
    more = per_axis(config.get("output_padding", 0), axes)
    sides = [(left, right - extra) for (left, right), extra in zip(pads, more, strict=True)]
    return tuple(Window(k, s, d, *p) for k, s, d, p in zip(kernel, stride, dilation, sides, strict=True))


def _asked(pair: Pair, axes: int, old: Sequence[Window]) -> list[tuple[int, ...]]:
    """Kernel size, stride and dilation of the new layer; what isn't asked for stays."""
    stays = {"kernel_size": "kernel", "stride": "stride", "dilation": "dilation"}
    return [
        per_axis(pair.overrides.get(name, tuple(getattr(window, attribute) for window in old)), axes)
        for name, attribute in stays.items()
    ]


def _fit_with(old: Window, kernel: int, dilation: int, pads: tuple[int, int]) -> Fit:
    """Padding that the caller gives: the taps go where they look at what they did, if there is such a place."""
    fits = fits_of(old, kernel, dilation)
    taps = next((fit.taps for fit in fits if (fit.left, fit.right) == pads), fits[0].taps)
    return Fit(*pads, taps)


def _chosen(
    pair: Pair, choices: Sequence[Sequence[Fit]], extents: Sequence[int], stride: Sequence[int]
) -> tuple[list[Fit], Any]:
    """Of equally good fits, those that torch can pad: alike on both sides, or "same". And the padding in its words."""
    even = [next((fit for fit in fits if fit.left == fit.right >= 0), None) for fits in choices]
    halves = [(extent // 2, extent - extent // 2) for extent in extents]
    same = [
        next((fit for fit in fits if (fit.left, fit.right) == half), None)
        for fits, half in zip(choices, halves, strict=True)
    ]
    can_be_same = None not in same and all(s == 1 for s in stride)
    if can_be_same and (pair.config.get("padding") == "same" or None in even):
        return [fit for fit in same if fit], "same"
    if None not in even:
        fits = [fit for fit in even if fit]
        return fits, tuple(fit.left for fit in fits)
    fits = [options[0] for options in choices]
    return fits, tuple((fit.left, fit.right) for fit in fits)


def _class_for(pair: Pair, padding: Any) -> tuple[type[nn.Module], dict[str, Any]]:
    """The class that can pad so: the one asked for, or ours in place of torch's own."""
    axes = axes_of(pair.new)
    if not (isinstance(padding, tuple) and isinstance(padding[0], tuple)):
        return (CONVS[axes - 1] if pair.new in PADDED else pair.new), {"padding": padding}
    if pair.new in CONVS or issubclass(pair.new, PADDED):
        return (PADDED[axes - 1] if pair.new in CONVS else pair.new), {"pads": padding}
    raise ConfigError(
        f"{pair.new.__name__} would have to pad {padding} to keep the shape of its output.",
        "left and right differ, or crop; torchsurgery makes that possible for torch's own convolutions only.",
        got=pair.overrides.get("kernel_size"),
        way_out="choose a kernel_size that differs by an even number, or give the padding, too:  padding=1",
    )


# --- transposed convolutions


@conversion(TRANSPOSED, TRANSPOSED)
def transposed_to_transposed(pair: Pair) -> Conversion:
    """As for convolutions; what can't be padded alike on both sides can come out of the output padding."""
    _check(pair)
    axes = axes_of(pair.new)
    kernel, stride, dilation = _asked(pair, axes, old := lifted(windows_of(pair.config, pair.old), axes))
    if "padding" in pair.overrides or "output_padding" in pair.overrides:
        paddings = [per_axis(pair.overrides.get(name, 0), axes) for name in ("padding", "output_padding")]
        pads = [(p, p - more) for p, more in zip(*paddings, strict=True)]
        fits = [_fit_with(*entry) for entry in zip(old, kernel, dilation, pads, strict=True)]
    else:
        fits = [_fit_out(pair, *entry) for entry in zip(old, kernel, dilation, stride, strict=True)]
    new = tuple(Window(k, s, d, f.left, f.right) for k, s, d, f in zip(kernel, stride, dilation, fits, strict=True))
    given = {"padding": tuple(fit.left for fit in fits), "output_padding": tuple(fit.left - fit.right for fit in fits)}
    return _carried(pair, Change(old, new, tuple(fits)), given, pair.new)


def _fit_out(pair: Pair, old: Window, kernel: int, dilation: int, stride: int) -> Fit:
    if (fit := _first_possible(old, kernel, dilation, stride)) is not None:
        return fit
    sizes = [k for k in range(1, 2 * max(old.kernel, kernel) + 2) if _first_possible(old, k, dilation, stride)]
    raise ConfigError(
        f"{pair.new.__name__} can't keep the shape of its output with kernel_size={kernel} instead of {old.kernel}.",
        f"no padding and output_padding make it so; with stride {stride} and dilation {dilation} these sizes can be: "
        f"{', '.join(map(str, sizes))}",
        expected=sizes,
        got=kernel,
        way_out="choose one of them, or give the padding, too:  padding=0, output_padding=0",
    )


def _first_possible(old: Window, kernel: int, dilation: int, stride: int) -> Fit | None:
    fits = fits_of(old, kernel, dilation)
    most = [fit for fit in fits if len(fit.taps) == len(fits[0].taps)]
    return next((fit for fit in most if fit.left >= 0 and 0 <= fit.left - fit.right < max(stride, dilation)), None)


# --- the layer


def _carried(pair: Pair, change: Change, given: Mapping[str, Any], cls: type[nn.Module]) -> Conversion:
    sizes = {
        "kernel_size": tuple(window.kernel for window in change.new),
        "stride": tuple(window.stride for window in change.new),
        "dilation": tuple(window.dilation for window in change.new),
    }
    kernel = _kernel(pair, change)
    overrides = {name: value for name, value in pair.overrides.items() if name not in GEOMETRY}
    result = Pair(pair.old, cls, pair.config, overrides).carry(
        {**sizes, **given}, {"weight": kernel.origin, **_bias(pair)}, Fidelity.EXACT, uses=GEOMETRY, ignores=GEOMETRY
    )
    costs = _costs(pair, change, result)
    if costs:
        return result.limited(Fidelity.APPROXIMATE, None, *kernel.remarks, *costs)
    return result.limited(kernel.fidelity, kernel.error, *kernel.remarks)


def _kernel(pair: Pair, change: Change) -> Kernel:
    groups = _asked_of(pair, "groups")
    kernel = kernel_of(pair.old.weight, change, axes_of(pair.new), groups)  # type: ignore[arg-type]
    inputs, outputs = _asked_of(pair, "in_channels"), _asked_of(pair, "out_channels")
    if inputs[0] == inputs[1] and outputs[0] == outputs[1]:
        return kernel
    if groups != (1, 1):
        return Kernel(Initialised("other channels in groups"))
    transposed = issubclass(pair.new, TRANSPOSED)
    rows, columns = (inputs[1], outputs[1]) if transposed else (outputs[1], inputs[1])
    shape = (rows, columns, *(window.kernel for window in change.new))
    found = kernel.origin
    prepared = (found.what, found.function) if isinstance(found, Computed) else None
    sized = resized(pair.old.weight, shape, inputs, outputs, axis=int(transposed), prepared=prepared)  # type: ignore[arg-type]
    fidelity = max(kernel.fidelity, sized.fidelity, key=list(Fidelity).index)
    error = sized.error if kernel.fidelity is Fidelity.EXACT else None
    return Kernel(sized.weight, fidelity, error, (*kernel.remarks, *sized.remarks))


def _bias(pair: Pair) -> dict[str, Origin]:
    """One that comes is zero; of other outputs, the first ones go on."""
    outputs = _asked_of(pair, "out_channels")
    if not pair.config["bias"]:
        return {"bias": filled(outputs[1], 0.0)}
    return {} if outputs[0] == outputs[1] else {"bias": more("bias", *outputs)}


def _asked_of(pair: Pair, name: str) -> tuple[int, int]:
    return pair.config[name], pair.overrides.get(name, pair.config[name])


def _costs(pair: Pair, change: Change, result: Conversion) -> list[str]:
    """What else keeps the new layer from computing what the old one did."""
    costs = []
    if not change.keeps_lengths:
        costs.append("the output has another shape")
    elif not change.keeps_places:
        costs.append("the taps look elsewhere than they did")
    before, after = (config.get("padding_mode", "zeros") for config in (pair.config, result.config))
    if before != after and any(window.left or window.right for window in (*change.old, *change.new)):
        costs.append(f"the border is {after}, not {before}")
    if pair.config["bias"] and not result.config.get("bias", True):
        costs.append("the bias goes")
    gone = windows_of(pair.config, pair.old)[: -len(change.old)] if axes_of(pair.new) < axes_of(type(pair.old)) else ()
    if any(window != Window(1) for window in gone):
        costs.append("exact where the input is constant along the axis that goes, away from its ends")
    return costs


# --- arguments

_SAMPLES = {"in_channels": "64", "out_channels": "64", "kernel_size": "3"}


@argument_check(*CONVS, *TRANSPOSED, **_SAMPLES)
def check_conv(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """Sizes, ranks and groups that no convolution can have."""
    axes = axes_of(new)
    for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0), ("output_padding", 0)):
        if name in config and not (name == "padding" and isinstance(config[name], str)):
            _check_sizes(new, name, config[name], axes, least)
    for name in ("in_channels", "out_channels", "groups"):
        _check_sizes(new, name, config.get(name, 1), 1, 1)
    _check_words(new, config, axes)
    for name in ("in_channels", "out_channels"):
        if name in config and config[name] % config.get("groups", 1):
            _refuse_groups(new, name, config)


def _check_sizes(new: type[nn.Module], name: str, value: Any, axes: int, least: int) -> None:
    if isinstance(value, tuple | list) and len(value) != axes:
        raise ConfigError(
            f"{new.__name__} has {axes} {'axis' if axes == 1 else 'axes'}, and {name}={value!r} is for {len(value)}.",
            expected=axes,
            got=value,
            way_out=f"{name}={tuple(value[:1]) * axes}, or one number for all:  {name}={(*value, least)[0]}",
        )
    for number in per_axis(value, axes):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ConfigError(
                f"{new.__name__} needs whole numbers of at least {least} for {name}, and got {value!r}.",
                got=value,
                way_out=f"ts.like(old, {new.__name__}, {name}={max(least, 1)})",
            )


def _check_words(new: type[nn.Module], config: Mapping[str, Any], axes: int) -> None:
    modes = ("zeros",) if issubclass(new, TRANSPOSED) else ("zeros", "reflect", "replicate", "circular")
    words = {"padding_mode": modes, "padding": () if issubclass(new, TRANSPOSED) else ("same", "valid")}
    for name, known in words.items():
        if isinstance(config.get(name), str) and config[name] not in known:
            raise ConfigError(
                f"{new.__name__} knows no {name}={config[name]!r}.",
                f"known: {', '.join(map(repr, known)) or 'numbers only'}",
                expected=known,
                got=config[name],
            )
    if config.get("padding") == "same" and any(s != 1 for s in per_axis(config.get("stride", 1), axes)):
        raise ConfigError(
            f"{new.__name__} can't have padding='same' with stride={config['stride']!r}: torch has no such thing.",
            way_out="leave the padding out: it follows, and the output keeps its shape",
        )


def _refuse_groups(new: type[nn.Module], name: str, config: Mapping[str, Any]) -> None:
    count, groups = config[name], config["groups"]
    both = math.gcd(config.get("in_channels", count), config.get("out_channels", count))
    divisors = [n for n in range(1, both + 1) if both % n == 0]
    raise ConfigError(
        f"{new.__name__} can't put {count} {name} into {groups} groups: {groups} does not divide {count}.",
        f"these do: {', '.join(map(str, divisors))}",
        expected=divisors,
        got=groups,
        way_out="let each layer pick:  groups=ts.divisor(32)",
    )
