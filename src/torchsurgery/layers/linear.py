"""Linear layers: with and without a bias, as 1×1 convolutions and back, and as the product of two thin ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .arguments import argument_check
from .conv import CONVS, axes_of
from .conversion import Conversion, Fidelity
from .fills import filled
from .kernels import regrouped
from .pair import Pair
from .registry import conversion


class LowRankLinear(nn.Sequential):
    """A linear layer of a given rank, as two: in_features → rank → out_features.

    Args:
        in_features: As in `nn.Linear`.
        out_features: As in `nn.Linear`.
        rank: Features between the two; at most the smaller of the others is needed.
        bias: Whether the second one has a bias.

    Example:
        >>> ts.like(nn.Linear(64, 32), LowRankLinear, rank=8)
        LowRankLinear(
          (0): Linear(in_features=64, out_features=8, bias=False)
          (1): Linear(in_features=8, out_features=32, bias=True)
        )
    """

    def __init__(
        self, in_features: int, out_features: int, rank: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(
            nn.Linear(in_features, rank, bias=False, device=device, dtype=dtype),
            nn.Linear(rank, out_features, bias=bias, device=device, dtype=dtype),
        )
        self.in_features, self.out_features, self.rank = in_features, out_features, rank


@conversion(nn.Linear, nn.Linear)
def linear_to_linear(pair: Pair) -> Conversion:
    """A bias that comes starts as zero."""
    result = pair.carry(origins=_blank_bias(pair), fidelity=Fidelity.EXACT)
    return result.limited(Fidelity.APPROXIMATE, None, "the bias goes") if _loses_bias(pair, result) else result


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


# --- low rank


@conversion(nn.Linear, LowRankLinear)
def linear_to_low_rank(pair: Pair) -> Conversion:
    """The largest singular values, shared out evenly between the two layers."""
    rank = pair.overrides.get("rank")
    if rank is None or any(name in pair.overrides for name in ("in_features", "out_features")):
        return pair.carry()
    origins: dict[str, Origin] = {
        "0.weight": Computed(("weight",), lambda weight: factors(weight, rank)[1], f"truncated SVD, rank {rank}"),
        "1.weight": Computed(("weight",), lambda weight: factors(weight, rank)[0], f"truncated SVD, rank {rank}"),
        **_blank_bias(pair, "1.bias"),
    }
    if pair.config["bias"]:
        origins["1.bias"] = Computed(("bias",), torch.clone, "copied", True)
    result = pair.carry(given={"rank": rank}, origins=origins, fidelity=Fidelity.EXACT)
    if _loses_bias(pair, result):
        return result.limited(Fidelity.APPROXIMATE)
    if rank >= min(pair.config["in_features"], pair.config["out_features"]):
        return result
    return result.limited(Fidelity.APPROXIMATE, dropped_share(pair.old.weight, rank))  # type: ignore[arg-type]


def factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(out, rank) and (rank, in) whose product is the best approximation of that rank; zeros beyond the full one."""
    left, values, right = torch.linalg.svd(
        weight.double() if weight.dtype != torch.float64 else weight, full_matrices=False
    )
    kept, roots = min(rank, len(values)), values.sqrt()
    first, second = weight.new_zeros(weight.shape[0], rank), weight.new_zeros(rank, weight.shape[1])
    first[:, :kept] = (left * roots)[:, :kept].to(weight.dtype)
    second[:kept] = (roots[:, None] * right)[:kept].to(weight.dtype)
    return first, second


def dropped_share(weight: Tensor, rank: int) -> float | None:
    """The error for white noise: the root of the share of squared singular values that go. None without values."""
    if weight.is_meta:
        return None
    energy = torch.linalg.svdvals(weight.detach().double()).square()
    return float((energy[rank:].sum() / energy.sum()).sqrt()) if energy.sum() else 0.0


# --- arguments


@argument_check(nn.Linear, LowRankLinear, in_features="64", out_features="10", rank="8")
def check_linear(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """Whole numbers; no features at all are as torch has them."""
    for name in ("in_features", "out_features", "rank"):
        value = config.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < (name == "rank"):
            raise ConfigError(
                f"{new.__name__} needs a whole number for {name}, and got {value!r}.",
                got=value,
                way_out=f"ts.like(old, {new.__name__}, {name}=64)",
            )
