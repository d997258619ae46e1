"""Layers over other numbers of axes whose weights stay, or that have none: norms, dropouts, pools and paddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from .conversion import Conversion, Fidelity
from .converting import convert
from .dimensions import ENDS, Axes, led, one_for_all, over_axes, plainly
from .norm import BATCH, INSTANCE
from .padding import CIRCULAR, CONSTANT, REFLECTION, REPLICATION, ZERO
from .pair import Pair
from .pooling import ADAPTIVE_AVERAGE, ADAPTIVE_MAX, AVERAGE, FRACTIONAL, MAX, POWER, UNPOOL
from .windows import per_axis


@over_axes(*BATCH[:3], telling=False)
@over_axes(*INSTANCE, telling=False)
@over_axes(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, telling=False)
def _as_it_is(pair: Pair, own: int, axes: Axes) -> Conversion:
    return convert(pair.old, pair.new, accept_subclass=True)


_POOL_SIZES = ("kernel_size", "stride", "padding", "dilation")
_NOT_POOLED = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


@over_axes(*MAX)
@over_axes(*AVERAGE)
@over_axes(*POWER)
@over_axes(*UNPOOL)
def _pool(pair: Pair, own: int, axes: Axes) -> Conversion:
    config = {**pair.config, "stride": pair.config.get("stride") or pair.config["kernel_size"]}
    sizes = {name: per_axis(config[name], own) for name in _POOL_SIZES if name in config}
    leads = {name: values[0] if axes.strided else _NOT_POOLED[name] for name, values in sizes.items()}
    given: dict[str, Any] = {name: one_for_all(led(sizes[name], axes.new, leads[name])) for name in sizes}
    taps = [leads["kernel_size"]] * (axes.new - own) or list(sizes["kernel_size"][: own - axes.new])
    if config.get("divisor_override"):
        factor = torch.Size(taps).numel()
        given["divisor_override"] = config["divisor_override"] * factor if axes.new > own else None
    result = plainly(pair.carry(given, uses=("kernel_size", "stride")), taps)
    if isinstance(pair.old, POWER) and set(taps) != {1}:
        return replace(result, remarks=(f"sums up over {torch.Size(taps).numel()} as many",))
    padded = isinstance(pair.old, AVERAGE) and any(values != 0 for values in sizes["padding"][:1])
    return replace(result, remarks=(ENDS,)) if result.remarks and padded else result


@over_axes(*ADAPTIVE_MAX)
@over_axes(*ADAPTIVE_AVERAGE)
def _adaptive(pair: Pair, own: int, axes: Axes) -> Conversion:
    sizes = per_axis(pair.config["output_size"], own)
    gone = [size for size in sizes[: own - axes.new] if size != 1] if axes.new < own else []
    if gone:
        raise ConfigError(
            f"{type(pair.old).__name__}(output_size={sizes}) can't lose an axis: it leaves {gone[0]} places along it.",
            "what comes after it is made for all of them.",
            got=sizes,
            way_out="ts.replace(model, name, type(layer), output_size=1), and what is behind it, first",
        )
    # One place along a new axis: what is flattened afterwards keeps its length.
    lead = None if sizes[0] is None else 1
    result = pair.carry({"output_size": one_for_all(led(sizes, axes.new, lead))})
    return plainly(result, [1] if lead is None else [2])


@over_axes(*FRACTIONAL, first=2)
def _fractional(pair: Pair, own: int, axes: Axes) -> Conversion:
    names = ("kernel_size", "output_size", "output_ratio")
    sizes = {name: per_axis(pair.config[name], own) for name in names if pair.config.get(name) is not None}
    result = pair.carry({name: led(values, axes.new, values[0]) for name, values in sizes.items()})
    return replace(result, fidelity=Fidelity.APPROXIMATE, remarks=("its windows are random",))


@over_axes(*ZERO)
@over_axes(*CONSTANT)
@over_axes(*REFLECTION)
@over_axes(*REPLICATION)
@over_axes(*CIRCULAR)
def _pad(pair: Pair, own: int, axes: Axes) -> Conversion:
    # In torch's order: the last axis comes first.
    padding = tuple(pair.config["padding"])
    first = padding[-2:]
    given = {"padding": (*padding[: 2 * axes.new], *first * (axes.new - own))}
    constant = isinstance(pair.old, (*CONSTANT, *ZERO))
    result = plainly(pair.carry(given, uses=["value"]), [1] if first == (0, 0) else [2])
    return replace(result, remarks=(ENDS,)) if result.remarks and constant else result
