"""Linear layers: with and without a bias, as convolutions and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .arguments import argument_check, is_whole
from .conv import CONVS, axes_of, windows_of
from .conversion import Conversion, Fidelity
from .fills import filled
from .growing import more, resized
from .kernels import regrouped
from .pair import Pair
from .registry import conversion
from .windows import Window, per_axis, times


@conversion(nn.Linear, nn.Linear)
def linear_to_linear(pair: Pair) -> Conversion:
    """A bias that comes starts as zero; of more features, the old ones are the first."""
    inputs, outputs = (_asked(pair, name) for name in ("in_features", "out_features"))
    origins: dict[str, Origin] = _blank_bias(pair)
    sized = None
    if inputs[0] != inputs[1] or outputs[0] != outputs[1]:
        check_linear(pair.old, pair.new, pair.overrides)
        sized = resized(pair.old.weight, (outputs[1], inputs[1]), inputs, outputs)  # type: ignore[arg-type]
        origins["weight"] = sized.weight
        if pair.config["bias"] and outputs[0] != outputs[1]:
            origins["bias"] = more("bias", *outputs)
    result = pair.carry(origins=origins, fidelity=Fidelity.EXACT)
    result = result.limited(sized.fidelity, sized.error, *sized.remarks) if sized else result
    return result.limited(Fidelity.APPROXIMATE, None, "the bias goes") if _loses_bias(pair, result) else result


def _asked(pair: Pair, name: str) -> tuple[int, int]:
    return pair.config[name], pair.overrides.get(name, pair.config[name])


def _blank_bias(pair: Pair, name: str = "bias", outputs: str = "out_features") -> dict[str, Origin]:
    count = pair.overrides.get(outputs, pair.config["out_features"])
    return {} if pair.config["bias"] else {name: filled(count, 0.0)}


def _loses_bias(pair: Pair, result: Conversion) -> bool:
    return bool(pair.config["bias"]) and not result.config.get("bias", True)


# --- 1×1 convolutions


@conversion(nn.Linear, CONVS)
def linear_to_conv(pair: Pair) -> Conversion:
    """A convolution that looks at one place, or at all of a map that is no longer flattened; channels on axis 1."""
    axes, uses = axes_of(pair.new), ("in_features", "out_features")
    kernel = per_axis(pair.overrides.get("kernel_size", 1), axes)
    inputs, outputs = pair.config["in_features"], pair.config["out_features"]
    taps = math.prod(kernel) if all(is_whole(size, 1) for size in kernel) else 0
    given = {"in_channels": inputs, "out_channels": outputs, "kernel_size": 1}
    fits = taps and len(kernel) == axes and inputs % taps == 0
    if fits:
        given |= {"in_channels": inputs // taps, "kernel_size": kernel}
    asked = any(pair.overrides.get(name, given[name]) != given[name] for name in ("in_channels", "out_channels"))
    blank = _blank_bias(pair, outputs="out_channels")
    if asked or not fits or pair.overrides.get("groups", 1) != 1:
        return pair.carry(given, blank, uses=uses)

    def reshape(weight: Tensor) -> Tensor:
        return weight.reshape(outputs, -1, *kernel).clone()

    origins = {"weight": Computed(("weight",), reshape, "reshaped", True), **blank}
    result = pair.carry(given, origins, Fidelity.EXACT, uses=uses)
    if any(pair.overrides.get(name) for name in ("stride", "padding")) or _loses_bias(pair, result):
        return result.limited(Fidelity.APPROXIMATE)
    whole = f"takes maps of {times(kernel)} that are not flattened, and gives one place"
    return result if taps == 1 else result.limited(Fidelity.EXACT, None, whole)


@conversion(CONVS, nn.Linear)
def conv_to_linear(pair: Pair) -> Conversion:
    """The other way round, where the convolution looks at each place by itself, or at all of a map at once."""
    config = pair.config
    taps = math.prod(config["kernel_size"])
    flat = taps > 1 and pair.overrides.get("in_features") == config["in_channels"] * taps
    windows = windows_of(config, pair.old)
    alone = all(window == Window(1, dilation=window.dilation) for window in windows)
    whole = flat and all(window.dilation == 1 and window.left == window.right == 0 for window in windows)
    if not (alone or whole):
        size = config["in_channels"] * taps
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a Linear: it does not look at each place by itself.",
            expected="kernel_size=1, stride=1, padding=0",
            got={name: config[name] for name in ("kernel_size", "stride", "padding") if name in config},
            way_out=f"for maps as large as the kernel, flattened:  ts.like(conv, nn.Linear, in_features={size})",
        )
    given = {"in_features": config["in_channels"] * taps, "out_features": config["out_channels"]}

    def reshape(tensor: Tensor) -> Tensor:
        return regrouped(tensor, config["groups"], 1).flatten(1)

    origins: dict[str, Origin] = {"weight": Computed(("weight",), reshape, "reshaped", True)}
    if not config["bias"]:
        origins["bias"] = filled(config["out_channels"], 0.0)
    if any(pair.overrides.get(name, value) != value for name, value in given.items()):
        return pair.carry(given)
    result = pair.carry(given, origins, Fidelity.EXACT, uses=config)
    return result.limited(Fidelity.APPROXIMATE, None, "the bias goes") if _loses_bias(pair, result) else result


# --- arguments


@argument_check(nn.Linear, in_features="64", out_features="10")
def check_linear(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """Whole numbers; no features at all are as torch has them."""
    for name in ("in_features", "out_features"):
        value = config.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigError(
                f"{new.__name__} needs a whole number for {name}, and got {value!r}.",
                got=value,
                way_out=f"ts.like(old, {new.__name__}, {name}=64)",
            )
