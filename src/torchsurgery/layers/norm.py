"""Norms among themselves: batch (1d, 2d, 3d, synchronised), instance, group, layer, RMS and local response."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .arguments import argument_check, in_code, is_whole
from .conversion import Conversion, Fidelity
from .fills import filled
from .pair import Pair
from .registry import conversion
from .windows import times

BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CHANNELS_LAST = (nn.LayerNorm, nn.RMSNorm)
RESPONSE = (nn.LocalResponseNorm, nn.CrossMapLRN2d)

# What says how wide a norm is and whether it scales and shifts. Rules give it in the words of the new norm.
_SIZES = ("num_features", "num_channels", "normalized_shape")
_AFFINE = ("affine", "elementwise_affine", "bias")


# --- the affine map, and what all pairs have in common


def _carried(pair: Pair, given: Mapping[str, Any], shape: tuple[int, ...], *uses: str) -> Conversion:
    """The affine map carries to tensors of `shape`; exact unless some of it goes or eps is another."""
    scales = _has(pair, "weight")
    affine = {"affine": scales, "elementwise_affine": scales, "bias": _has(pair, "bias") or not scales}
    eps = {"eps": 1e-5} if pair.config["eps"] is None and not issubclass(pair.new, nn.RMSNorm) else {}
    result = pair.carry(
        {**affine, **eps, **given},
        _affine(pair, shape),
        Fidelity.EXACT,
        uses=(*_SIZES, *_AFFINE, *uses),
        ignores=_AFFINE,
    )
    same_eps = result.config.get("eps") == pair.config["eps"]
    keeps = same_eps and not {"weight", "bias"} & set(result.lost)
    return result if keeps else result.limited(Fidelity.APPROXIMATE)


def _has(pair: Pair, name: str) -> bool:
    return getattr(pair.old, name, None) is not None


def _affine(pair: Pair, shape: tuple[int, ...]) -> dict[str, Origin]:
    """Scale and shift that the old norm has not got start as one and zero, which changes nothing."""
    origins: dict[str, Origin] = {}
    for name, nothing in (("weight", 1.0), ("bias", 0.0)):
        tensor = getattr(pair.old, name, None)
        if tensor is None:
            origins[name] = filled(shape, nothing)
        elif len(shape) > 1 and tensor.shape == shape[:1]:
            origins[name] = _spread(name, shape)
    return origins


def _spread(name: str, shape: tuple[int, ...]) -> Computed:
    def spread(tensor: Tensor) -> Tensor:
        return tensor.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone()

    return Computed((name,), spread, f"spread over {times(shape[1:])}")


def _channels(pair: Pair) -> int:
    """The channels of a norm that takes them from axis 1."""
    return int(pair.config["num_channels" if "num_channels" in pair.config else "num_features"])


def _asked(pair: Pair, name: str, otherwise: Any) -> tuple[int, ...]:
    return _numbers(pair.overrides.get(name, otherwise))


def _numbers(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _tracks(config: Mapping[str, Any]) -> bool:
    return bool(config.get("track_running_stats", False))


# How far that is depends on how the samples differ, which no statistic tells: predicted from the running statistics,
# CREPE's norms as GroupNorms came to relative errors of 0.0 to 0.4, and 0.15 to 0.75 were measured.
_BY_ITSELF = "each sample is normed by itself: to be trained"


# --- batch and instance norms


@conversion(BATCH, BATCH)
@conversion(INSTANCE, INSTANCE)
def same_kind(pair: Pair) -> Conversion:
    """One set of tensors serves all dimensions."""
    result = _carried(pair, {}, _asked(pair, "num_features", _channels(pair)))
    tracks = (_tracks(pair.config), _tracks({"track_running_stats": isinstance(pair.old, BATCH), **result.config}))
    if tracks[0] != tracks[1]:
        return result.limited(Fidelity.APPROXIMATE)
    same = not tracks[0] or result.config.get("momentum") == pair.config["momentum"]
    return result if same else result.limited(Fidelity.EXACT_IN_EVAL)


@conversion(BATCH, INSTANCE)
def batch_to_instance(pair: Pair) -> Conversion:
    """Asked to track statistics, an InstanceNorm in eval is a BatchNorm; else each sample is normed by itself."""
    shape = _asked(pair, "num_features", _channels(pair))
    result = _carried(pair, {"track_running_stats": False}, shape, "track_running_stats")
    both = _tracks(result.config) and _tracks(pair.config)
    return result.limited(Fidelity.EXACT_IN_EVAL) if both else result.limited(Fidelity.APPROXIMATE, None, _BY_ITSELF)


@conversion(INSTANCE, BATCH)
def instance_to_batch(pair: Pair) -> Conversion:
    """Tracked statistics carry; else those of the BatchNorm start from nothing, and need data."""
    shape = _asked(pair, "num_features", _channels(pair))
    result = _carried(pair, {"track_running_stats": True}, shape, "track_running_stats")
    return result.limited(Fidelity.EXACT_IN_EVAL if _tracks(result.config) else Fidelity.APPROXIMATE)


# --- group norm


@conversion((*BATCH, *INSTANCE), nn.GroupNorm)
def to_group(pair: Pair) -> Conversion:
    """An InstanceNorm is a GroupNorm with a group for each channel; from a BatchNorm, the affine map carries."""
    count = _channels(pair)
    given = {"num_channels": count, **({"num_groups": count} if isinstance(pair.old, INSTANCE) else {})}
    result = _carried(pair, given, _asked(pair, "num_channels", count))
    own_groups = result.config["num_groups"] == result.config["num_channels"] and isinstance(pair.old, INSTANCE)
    # What tracks statistics uses them in eval.
    if _tracks(pair.config):
        return result.limited(Fidelity.APPROXIMATE, None, _BY_ITSELF)
    return result if own_groups else result.limited(Fidelity.APPROXIMATE)


@conversion(nn.GroupNorm, INSTANCE)
def group_to_instance(pair: Pair) -> Conversion:
    """Exact where each channel was a group."""
    result = _carried(
        pair, {"num_features": _channels(pair)}, _asked(pair, "num_features", _channels(pair)), "num_groups"
    )
    exact = pair.config["num_groups"] == pair.config["num_channels"] and not _tracks(result.config)
    return result if exact else result.limited(Fidelity.APPROXIMATE)


@conversion(nn.GroupNorm, BATCH)
def group_to_batch(pair: Pair) -> Conversion:
    """A BatchNorm's running statistics come from data: they start from nothing."""
    result = _carried(pair, {"num_features": _channels(pair)}, _asked(pair, "num_features", _channels(pair)))
    return result.limited(Fidelity.APPROXIMATE)


@conversion(nn.GroupNorm, nn.GroupNorm)
def group_to_group(pair: Pair) -> Conversion:
    """Other groups have other statistics."""
    result = _carried(pair, {}, _asked(pair, "num_channels", _channels(pair)))
    same = result.config["num_groups"] == pair.config["num_groups"]
    return result if same else result.limited(Fidelity.APPROXIMATE)


# --- layer and RMS norm


@conversion((*BATCH, *INSTANCE, nn.GroupNorm), CHANNELS_LAST)
def to_last(pair: Pair) -> Conversion:
    """The affine map carries, spread over the further axes of a normalized_shape that begins with the channels.

    Then a GroupNorm with one group is a LayerNorm.
    """
    shape = _asked(pair, "normalized_shape", _channels(pair))
    result = _carried(pair, {"normalized_shape": shape}, shape, "num_groups")
    if len(shape) == 1:
        remark = (
            f"{result.new.__name__} norms the last axis, not axis 1: give normalized_shape for all axes but the first"
        )
        return result.limited(Fidelity.APPROXIMATE, None, remark)
    if _tracks(pair.config):
        return result.limited(Fidelity.APPROXIMATE, None, _BY_ITSELF)
    one_group = pair.config.get("num_groups") == 1 and issubclass(result.new, nn.LayerNorm)
    return result if one_group and shape[0] == _channels(pair) else result.limited(Fidelity.APPROXIMATE)


@conversion(CHANNELS_LAST, CHANNELS_LAST)
def last_to_last(pair: Pair) -> Conversion:
    """A LayerNorm takes the mean off, an RMSNorm does not; and it has no bias."""
    shape = _asked(pair, "normalized_shape", pair.config["normalized_shape"])
    result = _carried(pair, {"normalized_shape": shape}, shape)
    same = issubclass(result.new, nn.LayerNorm) == isinstance(pair.old, nn.LayerNorm)
    alike = shape == _numbers(pair.config["normalized_shape"]) and result.config.get("eps") == pair.config["eps"]
    if same:
        return result if alike else result.limited(Fidelity.APPROXIMATE)
    return result.limited(Fidelity.APPROXIMATE, _without_mean(pair) if alike and "weight" not in result.lost else None)


def _without_mean(pair: Pair) -> float | None:
    """How far a LayerNorm and an RMSNorm are apart for white noise, whose mean over n features has variance 1/n.

    What is left of the one in the other is γ times that mean, and β.
    """
    tensors = [getattr(pair.old, name, None) for name in ("weight", "bias")]
    if any(tensor is not None and tensor.is_meta for tensor in tensors):
        return None
    count = math.prod(_numbers(pair.config["normalized_shape"]))
    scale, shift = (float(t.detach().double().square().sum()) if t is not None else None for t in tensors)
    scale, shift = count if scale is None else scale, shift or 0.0
    total = scale + shift
    return math.sqrt((scale / count + shift) / total) if total else 0.0


@conversion(CHANNELS_LAST, (*BATCH, *INSTANCE, nn.GroupNorm))
def last_to_channels(pair: Pair) -> Conversion:
    """The channels are the first axis of several, or the only one. A LayerNorm without weights is one group."""
    shape = _numbers(pair.config["normalized_shape"])
    given = {"num_features": shape[0], "num_channels": shape[0], "num_groups": 1}
    name = "num_channels" if issubclass(pair.new, nn.GroupNorm) else "num_features"
    result = _carried(pair, given, _asked(pair, name, shape[0]))
    if len(shape) == 1:
        remark = f"{result.new.__name__} takes the channels from axis 1, not from the last"
        return result.limited(Fidelity.APPROXIMATE, None, remark)
    one_group = result.config.get("num_groups") == 1 and isinstance(pair.old, nn.LayerNorm)
    return result if one_group else result.limited(Fidelity.APPROXIMATE)


# --- local response norm


@conversion(RESPONSE, RESPONSE)
def response_to_response(pair: Pair) -> Conversion:
    """The arguments mean the same; CrossMapLRN2d sums up the first channels otherwise."""
    result = pair.carry(fidelity=Fidelity.EXACT)
    same = result.new is type(pair.old) and all(result.config.get(name) == value for name, value in pair.config.items())
    return result if same else result.limited(Fidelity.APPROXIMATE)


@conversion((*BATCH, *INSTANCE, nn.GroupNorm, *CHANNELS_LAST), RESPONSE)
def norm_to_response(pair: Pair) -> Conversion:
    """They have nothing in common but their place in a network."""
    return pair.carry(fidelity=Fidelity.INITIALISED)


# --- a batch norm in eval is a map of each channel

_POINTWISE = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _depthwise(pair: Pair) -> Conversion:
    """A 1×1 convolution of each channel by itself, out of the statistics."""
    if not _tracks(pair.config):
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: it tracks no statistics to fix.",
            way_out="only a norm with track_running_stats=True computes the same for every batch in eval",
        )
    count, eps = pair.config["num_features"], pair.config["eps"]
    names = [name for name in ("running_mean", "running_var", "weight", "bias") if _has(pair, name)]
    axes = next(n for n, cls in _POINTWISE.items() if issubclass(pair.new, cls))

    def scale(var: Tensor, gamma: Tensor | None) -> Tensor:
        root: Tensor = (var + eps).rsqrt()
        return root if gamma is None else root * gamma

    def weight(mean: Tensor, var: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        return scale(var, gamma).reshape(-1, 1, *[1] * axes)

    def bias(mean: Tensor, var: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        shift = -mean * scale(var, gamma)
        return shift if beta is None else shift + beta

    return pair.carry(
        {"in_channels": count, "out_channels": count, "kernel_size": 1, "groups": count, "bias": True},
        {
            "weight": Computed(tuple(names), weight, "γ/√(v+eps)"),
            "bias": Computed(tuple(names), bias, "β − μγ/√(v+eps)"),
        },
        Fidelity.EXACT_IN_EVAL,
        uses=("num_features", "eps", "affine", "bias", "momentum", "track_running_stats"),
    )


for _norm, _conv in zip(BATCH, _POINTWISE.values(), strict=False):
    conversion(_norm, _conv)(_depthwise)


# --- arguments


@argument_check(nn.GroupNorm, num_groups="ts.divisor(32)")
def check_group(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """The channels fall into groups of one size."""
    _check_positive(new, config, "num_groups", "num_channels")
    _check_eps(new, config)
    groups, channels = config.get("num_groups", 1), config.get("num_channels", 0)
    if channels % groups:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        raise ConfigError(
            f"{new.__name__} can't put {channels} channels into {groups} groups: {groups} does not divide {channels}.",
            f"these do: {', '.join(map(str, divisors))}",
            expected=divisors,
            got=groups,
            way_out="let each layer pick:  num_groups=ts.divisor(32)",
        )


@argument_check(*BATCH, *INSTANCE, num_features="64")
@argument_check(*CHANNELS_LAST, normalized_shape="64")
@argument_check(*RESPONSE, size="5")
def check_sizes(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """There is something to be normed."""
    _check_positive(new, config, "num_features", "normalized_shape", "size")
    _check_eps(new, config)


def _check_eps(new: type[nn.Module], config: Mapping[str, Any]) -> None:
    eps = config.get("eps")
    if eps is not None and (isinstance(eps, bool) or not isinstance(eps, int | float) or eps < 0):
        raise ConfigError(
            f"{new.__name__} needs a number for eps, not below 0, and got {eps!r}.",
            got=eps,
            way_out=f"ts.like(old, {in_code(new)}, eps=1e-5)",
        )


def _check_positive(new: type[nn.Module], config: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not all(is_whole(value, 1) for value in _numbers(config.get(name, 1))):
            raise ConfigError(
                f"{new.__name__} needs a whole number of at least 1 for {name}, and got {config[name]!r}.",
                got=config[name],
                way_out=f"ts.like(old, {in_code(new)}, {name}=8)",
            )
