"""Activations among themselves: what means the same carries, and how far two of them are apart is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Origin, Same
from .arguments import argument_check
from .conversion import Conversion, Fidelity
from .fills import filled
from .pair import Pair
from .registry import conversion

ELEMENTWISE = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.RReLU,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Threshold,
)
ALONG_AXIS = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax)

# Arguments that bear one name and mean two things: GLU splits along `dim`, Softplus has its `threshold` elsewhere.
UNLIKE = {nn.GLU: ("dim",), nn.Softplus: ("threshold",), nn.Threshold: ("threshold",)}


@conversion((*ELEMENTWISE, nn.Identity), ELEMENTWISE)
@conversion(ELEMENTWISE, nn.Identity)
def elementwise(pair: Pair) -> Conversion:
    """Exact where both are the same function; else as far apart as they are on normally distributed inputs."""
    given = _same_meaning(pair)
    ignores = () if issubclass(pair.new, type(pair.old)) else UNLIKE.get(type(pair.old), ())
    uses = ("num_parameters", "init", *(_SLOPES if "negative_slope" in given else ()))
    result = pair.carry(given, _slope_tensor(pair, given), Fidelity.EXACT, ignores=ignores, uses=uses)
    if isinstance(result.origins.get("weight"), Same) and isinstance(pair.old, nn.PReLU):
        return result  # its slopes, whatever they are
    before, after = _shape(type(pair.old), _trained(pair, pair.config)), _shape(result.new, _after(pair, result))
    if before is None or after is None:
        return result.limited(Fidelity.APPROXIMATE)
    if before != after:
        return result.limited(Fidelity.APPROXIMATE, distance(before, after), *_hints(pair, result))
    random = any(issubclass(cls, nn.RReLU) for cls in (type(pair.old), result.new)) and not _fixed(pair, result)
    return result.limited(Fidelity.EXACT_IN_EVAL if random else Fidelity.EXACT)


_SLOPES = ("negative_slope", "lower", "upper")


def _same_meaning(pair: Pair) -> dict[str, Any]:
    """Arguments of the new activation that say what the old one's say, in other words."""
    if issubclass(pair.new, nn.LeakyReLU | nn.PReLU) and (slope := _slope_of(pair)) is not None:
        return {"negative_slope": slope, "init": slope}
    if issubclass(pair.new, nn.Hardtanh) and isinstance(pair.old, nn.ReLU6):
        return {"min_val": 0.0, "max_val": 6.0}
    if issubclass(pair.new, nn.Threshold) and isinstance(pair.old, nn.ReLU):
        return {"threshold": 0.0, "value": 0.0}
    return {}


def _slope_of(pair: Pair) -> float | None:
    if isinstance(pair.old, nn.RReLU):
        return float(pair.config["lower"] + pair.config["upper"]) / 2
    return _mean(pair.old.weight) if isinstance(pair.old, nn.PReLU) else pair.config.get("negative_slope")


def _mean(weight: Tensor) -> float | None:
    return None if weight.is_meta else float(weight.detach().double().mean())


def _slope_tensor(pair: Pair, given: Mapping[str, Any]) -> dict[str, Origin]:
    """A PReLU's slopes, which start at `init`; those of another PReLU carry, unless one is asked for."""
    if not issubclass(pair.new, nn.PReLU):
        return {}
    start = pair.overrides.get("init", given.get("init", 0.25))
    count = pair.overrides.get("num_parameters", pair.config.get("num_parameters", 1))
    keeps = isinstance(pair.old, nn.PReLU) and "init" not in pair.overrides and count == pair.old.weight.numel()
    return {} if keeps else {"weight": filled(count, start)}


def _trained(pair: Pair, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments with a PReLU's slope as trained; None if its channels differ, or can't be read."""
    if not isinstance(pair.old, nn.PReLU):
        return config
    weight = pair.old.weight.detach()
    alike = not weight.is_meta and bool((weight == weight.flatten()[0]).all())
    return {**config, "init": _mean(weight) if alike else None}


def _after(pair: Pair, result: Conversion) -> Mapping[str, Any]:
    return _trained(pair, result.config) if isinstance(result.origins.get("weight"), Same) else result.config


def _fixed(pair: Pair, result: Conversion) -> bool:
    return all(config.get("lower", 0) == config.get("upper", 0) for config in (pair.config, result.config)) or (
        result.new is type(pair.old) and result.config == pair.config
    )


def _hints(pair: Pair, result: Conversion) -> list[str]:
    if isinstance(pair.old, nn.ReLU) and result.new is nn.LeakyReLU and "negative_slope" not in pair.overrides:
        return ["negative_slope=0.0 would compute what the ReLU does"]
    if isinstance(pair.old, nn.ReLU) and result.new is nn.PReLU and "init" not in pair.overrides:
        return ["init=0.0 would start with what the ReLU does"]
    return []


# --- the function that an activation is


Shape = tuple[Any, ...]


def _shape(cls: type[nn.Module], config: Mapping[str, Any]) -> Shape | None:
    """What an activation computes in eval, such that equal means the same function; None if that is not known."""
    known = next((base for base in cls.__mro__ if base in (*ELEMENTWISE, nn.Identity)), None)
    if known in (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU):
        slope = _slope(known, config)
        return None if slope is None else (nn.LeakyReLU, ("negative_slope", slope))
    if known is nn.Threshold and config["threshold"] == 0 == config["value"]:
        return nn.LeakyReLU, ("negative_slope", 0.0)
    if known is nn.ReLU6:
        return nn.Hardtanh, ("max_val", 6.0), ("min_val", 0.0)
    if known is nn.CELU and config.get("alpha", 1.0) == 1:
        return nn.ELU, ("alpha", 1.0)
    if known is nn.Hardtanh:
        return known, ("max_val", float(config.get("max_val", 1.0))), ("min_val", float(config.get("min_val", -1.0)))
    said = {name: value for name, value in config.items() if name != "inplace"} if known is not nn.Identity else {}
    return known, *sorted({**_DEFAULTS.get(known, {}), **said}.items())


_DEFAULTS: dict[Any, dict[str, Any]] = {
    nn.ELU: {"alpha": 1.0},
    nn.CELU: {"alpha": 1.0},
    nn.GELU: {"approximate": "none"},
    nn.Softplus: {"beta": 1.0, "threshold": 20.0},
    nn.Hardshrink: {"lambd": 0.5},
    nn.Softshrink: {"lambd": 0.5},
}


def _slope(cls: type[nn.Module], config: Mapping[str, Any]) -> float | None:
    if cls is nn.ReLU:
        return 0.0
    if cls is nn.LeakyReLU:
        return round(float(config.get("negative_slope", 0.01)), 12)
    if cls is nn.PReLU:
        start: float | None = config.get("init", 0.25)
        return None if start is None else round(start, 12)
    # Rounded, so that 0.1 and 0.5 have the mean that 0.2 and 0.4 have.
    return round(float(config.get("lower", 1 / 8) + config.get("upper", 1 / 3)) / 2, 12)


@lru_cache(maxsize=1024)
def distance(before: Shape, after: Shape) -> float:
    """Root mean square of the difference between two activations, relative to the first, for standard normal inputs."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64, device="cpu")
    density = torch.exp(-x.square() / 2)
    first, second = (cls(**dict(arguments)).eval()(x.clone()) for cls, *arguments in (before, after))
    return math.sqrt(float((density * (first - second).square()).sum() / (density * first.square()).sum()))


# --- those along an axis


@conversion((*ALONG_AXIS, nn.GLU), (*ALONG_AXIS, nn.GLU))
@conversion((*ELEMENTWISE, nn.Identity), (*ALONG_AXIS, nn.GLU))
@conversion((*ALONG_AXIS, nn.GLU), ELEMENTWISE)
def along_axis(pair: Pair) -> Conversion:
    """They share the axis, and but for Softmax2d, which is a Softmax over the third axis from the end, nothing else."""
    given = {"dim": -3} if isinstance(pair.old, nn.Softmax2d) else {}
    kinds = [isinstance(pair.old, nn.GLU), issubclass(pair.new, nn.GLU)]
    result = pair.carry(given, fidelity=Fidelity.EXACT, ignores=["dim"] if kinds[0] != kinds[1] else [])
    axes = [
        (-3 if issubclass(cls, nn.Softmax2d) else config.get("dim", -1 if issubclass(cls, nn.GLU) else None))
        for cls, config in ((type(pair.old), pair.config), (result.new, result.config))
    ]
    families = [_family(cls) for cls in (type(pair.old), result.new)]
    if families[0] == families[1] and axes[0] == axes[1]:
        return result
    remarks = ["a GLU halves the axis that it works on"] if kinds[0] != kinds[1] else []
    return result.limited(Fidelity.INITIALISED, None, *remarks)


def _family(cls: type[nn.Module]) -> type[nn.Module]:
    known = next(base for base in cls.__mro__ if base in (*ALONG_AXIS, nn.GLU, *ELEMENTWISE, nn.Identity))
    return nn.Softmax if known is nn.Softmax2d else known


# --- arguments


@argument_check(nn.Threshold, threshold="0.0", value="0.0")
@argument_check(nn.MultiheadAttention, embed_dim="256", num_heads="8")
def check_nothing(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """These take any number, or say themselves what is wrong."""


@argument_check(nn.Hardtanh, nn.RReLU)
def check_range(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """The lower bound is below the upper one."""
    for low, high in (("min_val", "max_val"), ("lower", "upper")):
        if low in config and high in config and config[low] > config[high]:
            raise ConfigError(
                f"{new.__name__} needs {low} below {high}, and got {low}={config[low]}, {high}={config[high]}.",
                got=(config[low], config[high]),
                way_out=f"ts.like(old, {new.__name__}, {low}={config[high]}, {high}={config[low]})",
            )
