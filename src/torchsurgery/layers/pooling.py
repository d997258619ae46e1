"""Poolings among themselves: max, average, power average, fractional, adaptive, and their inverses; 1d to 3d."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from .arguments import argument_check
from .conv import CONVS, axes_of
from .conversion import Conversion, Fidelity
from .fills import filled
from .pair import Pair
from .registry import conversion
from .windows import per_axis

MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGE = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
POWER = (nn.LPPool1d, nn.LPPool2d, nn.LPPool3d)
UNPOOL = (nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d)
FRACTIONAL = (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
ADAPTIVE_MAX = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
ADAPTIVE_AVERAGE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
ADAPTIVE = (*ADAPTIVE_MAX, *ADAPTIVE_AVERAGE)

_AXES = {cls: int(cls.__name__[-2]) for cls in (*MAX, *AVERAGE, *POWER, *UNPOOL, *FRACTIONAL, *ADAPTIVE)}


def pool_axes(cls: type[nn.Module]) -> int:
    """1, 2 or 3 dimensions."""
    return next(_AXES[base] for base in cls.__mro__ if base in _AXES)


@conversion((*MAX, *AVERAGE, *POWER), (*MAX, *AVERAGE, *POWER, *UNPOOL))
@conversion(UNPOOL, (*UNPOOL, *MAX, *AVERAGE, *POWER))
@conversion(ADAPTIVE, ADAPTIVE)
@conversion(FRACTIONAL, (*FRACTIONAL, *ADAPTIVE, *MAX, *AVERAGE, *POWER))
@conversion((*MAX, *AVERAGE, *POWER, *UNPOOL), (*FRACTIONAL, *ADAPTIVE))
@conversion(ADAPTIVE, (*MAX, *AVERAGE, *POWER, *FRACTIONAL))
def pool_to_pool(pair: Pair) -> Conversion:
    """The window carries; to another number of axes, the new ones in front get the first one's."""
    axes = (pool_axes(type(pair.old)), pool_axes(pair.new))
    given = {name: _on_axes(pair.config[name], *axes) for name in _PER_AXIS if name in pair.config}
    if issubclass(pair.new, POWER) and not isinstance(pair.old, POWER):
        # The norm that is the average of squares, up to a constant.
        given["norm_type"] = 2
    if issubclass(pair.new, FRACTIONAL) and "output_ratio" not in pair.config:
        given |= _as_ratio(pair, axes[1])
    result = pair.carry(given, fidelity=Fidelity.EXACT)
    if _kind(type(pair.old)) is _kind(result.new) and axes[0] == axes[1] and _same_window(pair, result):
        return result
    return result.limited(Fidelity.INITIALISED, None, *_shape_remarks(pair, result))


def _as_ratio(pair: Pair, axes: int) -> dict[str, Any]:
    """The strides of a pooling as the share of places that a fractional one leaves; nothing where the caller says."""
    stride = pair.config.get("stride")
    if stride is None or {"output_size", "output_ratio"} & pair.overrides.keys():
        return {}
    return {"output_ratio": tuple(1 / s for s in per_axis(_on_axes(stride, pool_axes(type(pair.old)), axes), axes))}


_PER_AXIS = ("kernel_size", "stride", "padding", "dilation", "output_size", "output_ratio")


def _on_axes(value: Any, old: int, new: int) -> Any:
    if not isinstance(value, tuple | list) or old == new != 1:
        return value
    # LPPool1d takes one number, and nothing else.
    numbers = tuple(value)
    fitted = (*[numbers[0]] * (new - len(numbers)), *numbers[-new:])
    return fitted[0] if len(set(fitted)) == 1 else fitted


_KINDS = (MAX, AVERAGE, POWER, UNPOOL, FRACTIONAL, ADAPTIVE_MAX, ADAPTIVE_AVERAGE)


def _kind(cls: type[nn.Module]) -> tuple[type[nn.Module], ...]:
    return next(kind for kind in _KINDS if issubclass(cls, kind))


def _same_window(pair: Pair, result: Conversion) -> bool:
    axes = pool_axes(result.new)
    return all(
        per_axis(result.config.get(name, value), axes) == per_axis(value, axes) for name, value in pair.config.items()
    )


def _shape_remarks(pair: Pair, result: Conversion) -> list[str]:
    """What the new pooling has no argument for, and the shape of the output depends on."""
    neutral = {"padding": 0, "dilation": 1}
    remarks = [
        f"{result.new.__name__} has no {name}: the output has another shape"
        for name, nothing in neutral.items()
        if name not in result.config and any(n != nothing for n in per_axis(pair.config.get(name, nothing), 1))
    ]
    if pair.config.get("return_indices") and "return_indices" not in result.config:
        remarks.append(f"{result.new.__name__} returns no indices")
    return remarks


# --- to a convolution


@conversion(AVERAGE, CONVS)
def average_to_conv(pair: Pair) -> Conversion:
    """A convolution of each channel by itself whose taps are all alike."""
    axes = pool_axes(type(pair.old))
    if axes != axes_of(pair.new):
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: that has another number of axes.",
            way_out=f"ts.like(pool, nn.Conv{axes}d, in_channels=64)",
        )
    kernel = per_axis(pair.config["kernel_size"], axes)
    channels = pair.overrides.get("in_channels")
    given = {"kernel_size": kernel, "stride": per_axis(pair.config.get("stride") or kernel, axes), "bias": False}
    given |= {} if channels is None else {"out_channels": channels, "groups": channels}
    asked = {name: pair.overrides.get(name, value) for name, value in given.items()}
    divisor = pair.config.get("divisor_override") or torch.Size(kernel).numel()
    if asked != given or channels is None:
        return pair.carry(given)
    weight = filled((channels, 1, *kernel), 1 / divisor)
    uses = ("divisor_override", "count_include_pad", "ceil_mode")
    result = pair.carry(given, {"weight": weight}, Fidelity.EXACT, uses=uses)
    padded = any(per_axis(pair.config.get("padding", 0), axes))
    counts = pair.config.get("count_include_pad", True) or pair.config.get("divisor_override")
    if (padded and not counts) or pair.config.get("ceil_mode"):
        return result.limited(Fidelity.APPROXIMATE, None, "exact away from the border")
    return result


# --- arguments


@argument_check(
    *MAX, *AVERAGE, *POWER, *UNPOOL, *FRACTIONAL, *ADAPTIVE, kernel_size="2", output_size="1", norm_type="2"
)
def check_pool(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """Sizes and ranks that no pooling can have."""
    axes = pool_axes(new)
    for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0), ("output_size", 0)):
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, tuple | list) and len(value) != axes:
            raise ConfigError(
                f"{new.__name__} has {axes} {'axis' if axes == 1 else 'axes'}, {name}={value!r} is for {len(value)}.",
                expected=axes,
                got=value,
                way_out=f"one number stands for all axes:  {name}={value[0] if value else least}",
            )
        for number in per_axis(value, axes):
            optional = number is None and name == "output_size"
            if not optional and (not isinstance(number, int) or isinstance(number, bool) or number < least):
                raise ConfigError(
                    f"{new.__name__} needs whole numbers of at least {least} for {name}, and got {value!r}.",
                    got=value,
                    way_out=f"ts.like(old, {new.__name__}, {name}={max(least, 1)})",
                )
    _check_padding(new, config, axes)


def _check_padding(new: type[nn.Module], config: Mapping[str, Any], axes: int) -> None:
    if "kernel_size" not in config or "padding" not in config or issubclass(new, UNPOOL):
        return
    sizes = zip(per_axis(config["padding"], axes), per_axis(config["kernel_size"], axes), strict=True)
    if any(padding > kernel // 2 for padding, kernel in sizes):
        raise ConfigError(
            f"{new.__name__} can pad by half its kernel at most, and got padding={config['padding']!r} with "
            f"kernel_size={config['kernel_size']!r}.",
            got=config["padding"],
            way_out="padding=0",
        )
