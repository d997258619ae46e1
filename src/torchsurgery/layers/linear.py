"""Linear layers: with and without a bias, as convolutions and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .arguments import argument_check
from .conv import CONVS, axes_of
from .conversion import Conversion, Fidelity
from .fills import filled
from .growing import first, moved, resized
from .kernels import regrouped
from .pair import Pair
from .registry import conversion


@conversion(nn.Linear, nn.Linear)
def linear_to_linear(pair: Pair) -> Conversion:
    """A bias that comes starts as zero; of other numbers of features, the first ones go on."""
    inputs, outputs = (_asked(pair, name) for name in ("in_features", "out_features"))
    origins: dict[str, Origin] = _blank_bias(pair)
    sized = None
    if inputs[0] != inputs[1] or outputs[0] != outputs[1]:
        check_linear(pair.old, pair.new, pair.overrides)
        sized = resized(pair.old.weight, (outputs[1], inputs[1]), inputs, outputs)  # type: ignore[arg-type]
        origins["weight"] = sized.weight
        if pair.config["bias"] and outputs[0] != outputs[1]:
            origins["bias"] = moved("bias", outputs[1:], first(*outputs))
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
    """A convolution that looks at one place; the channels lie on axis 1 then, no longer on the last."""
    axes = axes_of(pair.new)
    given = {"in_channels": pair.config["in_features"], "out_channels": pair.config["out_features"], "kernel_size": 1}
    weight = Computed(("weight",), lambda tensor: tensor.reshape(*tensor.shape, *[1] * axes).clone(), "reshaped", True)
    if any(pair.overrides.get(name, value) not in (value, (value,) * axes) for name, value in given.items()):
        return pair.carry(given, _blank_bias(pair, outputs="out_channels"), uses=["in_features", "out_features"])
    if pair.overrides.get("groups", 1) != 1:
        return pair.carry(given, _blank_bias(pair, outputs="out_channels"), uses=["in_features", "out_features"])
    origins = {"weight": weight, **_blank_bias(pair, outputs="out_channels")}
    result = pair.carry(given, origins, Fidelity.EXACT, uses=["in_features", "out_features"])
    moved = [f"{name}={pair.overrides[name]}" for name in ("stride", "padding") if pair.overrides.get(name)]
    if moved or _loses_bias(pair, result):
        return result.limited(Fidelity.APPROXIMATE)
    return result


@conversion(CONVS, nn.Linear)
def conv_to_linear(pair: Pair) -> Conversion:
    """The other way round, where the convolution looks at one place only, and at every place."""
    config = pair.config
    ones = (1,) * axes_of(type(pair.old))
    sizes = {name: config[name] for name in ("kernel_size", "stride", "padding") if name in config}
    if (
        sizes["kernel_size"] != ones
        or sizes["stride"] != ones
        or sizes["padding"] not in ("same", "valid", (0,) * len(ones))
    ):
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a Linear: it does not look at each place by itself.",
            expected="kernel_size=1, stride=1, padding=0",
            got=sizes,
            way_out="ts.like(conv, nn.Conv2d, kernel_size=1) cuts the kernel first",
        )
    given = {"in_features": config["in_channels"], "out_features": config["out_channels"]}

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
