"""Norms among themselves: batch (1d, 2d, 3d, synchronised), instance, group, layer, RMS and local response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .conversion import Conversion, Fidelity, Pair, argument_check, conversion
from .fills import filled

BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CHANNELS_LAST = (nn.LayerNorm, nn.RMSNorm)
RESPONSE = (nn.LocalResponseNorm, nn.CrossMapLRN2d)

# The arguments by which a norm with channels on axis 1 says that it tracks statistics.
TRACKING = ("momentum", "track_running_stats")


# --- batch and instance norms


@conversion(BATCH, BATCH)
@conversion(INSTANCE, INSTANCE)
def same_kind(pair: Pair) -> Conversion:
    """One set of tensors serves all dimensions."""
    result = pair.carry(origins=_blank_affine(pair), fidelity=Fidelity.EXACT)
    return result.limited(_agreement(pair, result))


@conversion(BATCH, INSTANCE)
def batch_to_instance(pair: Pair) -> Conversion:
    """Asked to track statistics, an InstanceNorm in eval is a BatchNorm; else each sample is normed by itself."""
    given = {"track_running_stats": False}
    result = pair.carry(given, _blank_affine(pair), Fidelity.EXACT_IN_EVAL, uses=["track_running_stats"])
    return result.limited(_agreement(pair, result))


@conversion(INSTANCE, BATCH)
def instance_to_batch(pair: Pair) -> Conversion:
    """Tracked statistics carry; else those of the BatchNorm start from nothing, and need data."""
    given = {"track_running_stats": True, "affine": pair.config["affine"]}
    result = pair.carry(given, _blank_affine(pair), Fidelity.EXACT_IN_EVAL, uses=["track_running_stats"])
    return result.limited(_agreement(pair, result))


def _blank_affine(pair: Pair) -> dict[str, Origin]:
    """An affine map that comes anew starts as one and zero, which changes nothing."""
    if pair.config["affine"]:
        return {}
    count = pair.overrides.get("num_features", pair.config["num_features"])
    return {"weight": filled(count, 1.0), "bias": filled(count, 0.0)}


def _agreement(pair: Pair, result: Conversion) -> Fidelity:
    """How far two norms of one kind agree, given that their tensors do."""
    old, new = pair.config, result.config
    if any(old[name] != new.get(name, old[name]) for name in ("eps", "track_running_stats")):
        return Fidelity.APPROXIMATE
    if old["affine"] and not new.get("affine", True):
        return Fidelity.APPROXIMATE
    return Fidelity.EXACT if old["momentum"] == new.get("momentum", old["momentum"]) else Fidelity.EXACT_IN_EVAL


# --- group norm


@conversion(BATCH, nn.GroupNorm)
def batch_to_group(pair: Pair) -> Conversion:
    """The affine map carries; the statistics are others, so the network has to be tuned."""
    return pair.carry({"num_channels": pair.config["num_features"]}, uses=["num_features"])


@conversion(INSTANCE, nn.GroupNorm)
def instance_to_group(pair: Pair) -> Conversion:
    """An InstanceNorm is a GroupNorm with a group for each channel."""
    count = pair.config["num_features"]
    result = pair.carry(
        {"num_channels": count, "num_groups": count}, _blank_affine(pair), Fidelity.EXACT, uses=["num_features"]
    )
    return result if _is_instance(result.config, pair) else result.limited(Fidelity.APPROXIMATE)


@conversion(nn.GroupNorm, INSTANCE)
def group_to_instance(pair: Pair) -> Conversion:
    """Exact where each channel was a group."""
    given = {"num_features": pair.config["num_channels"], "affine": pair.config["affine"]}
    result = pair.carry(given, fidelity=Fidelity.EXACT, uses=["num_channels", "num_groups"])
    exact = pair.config["num_groups"] == pair.config["num_channels"] and _is_plain(result.config, pair)
    return result if exact else result.limited(Fidelity.APPROXIMATE)


def _is_instance(config: Mapping[str, Any], pair: Pair) -> bool:
    return (
        bool(config["num_groups"] == config["num_channels"])
        and not pair.config["track_running_stats"]
        and (config.get("eps") == pair.config["eps"] and config.get("affine") >= pair.config["affine"])
    )


def _is_plain(config: Mapping[str, Any], pair: Pair) -> bool:
    same = config.get("eps") == pair.config["eps"] and config.get("affine") == pair.config["affine"]
    return same and not config.get("track_running_stats", False)


@conversion(nn.GroupNorm, BATCH)
def group_to_batch(pair: Pair) -> Conversion:
    """A BatchNorm's running statistics come from data: they start from nothing."""
    return pair.carry({"num_features": pair.config["num_channels"]}, uses=["num_channels"])


@conversion(nn.GroupNorm, nn.GroupNorm)
def group_to_group(pair: Pair) -> Conversion:
    """An affine map that comes anew starts as one and zero."""
    origins: dict[str, Origin] = {}
    if not pair.config["affine"]:
        count = pair.overrides.get("num_channels", pair.config["num_channels"])
        origins = {"weight": filled(count, 1.0), "bias": filled(count, 0.0)}
    result = pair.carry(origins=origins, fidelity=Fidelity.EXACT)
    same = all(result.config.get(name) == pair.config[name] for name in ("num_groups", "num_channels", "eps"))
    keeps = result.config.get("affine", True) or not pair.config["affine"]
    return result if same and keeps else result.limited(Fidelity.APPROXIMATE)


# --- layer and RMS norm


@conversion((*BATCH, *INSTANCE, nn.GroupNorm), CHANNELS_LAST)
def channels_to_last(pair: Pair) -> Conversion:
    """The affine map carries, spread over the further axes of a normalized_shape that begins with the channels."""
    name = "num_channels" if "num_channels" in pair.config else "num_features"
    channels, affine = pair.config[name], pair.config["affine"]
    shape = _shape(pair.overrides.get("normalized_shape", channels))
    given = {"normalized_shape": shape, "elementwise_affine": affine, "bias": affine}
    spread = {tensor: _spread(tensor, shape) for tensor in ("weight", "bias") if affine and shape[0] == channels}
    result = pair.carry(given, spread if len(shape) > 1 else {}, Fidelity.EXACT, uses=[name, "affine", "num_groups"])
    one_group = pair.config.get("num_groups") == 1 and len(shape) > 1 and issubclass(result.new, nn.LayerNorm)
    if one_group and shape[0] == channels and _keeps_affine(pair, result):
        return result
    remarks = (
        [] if len(shape) > 1 else [f"{result.new.__name__} norms the last axis, not axis 1: give normalized_shape"]
    )
    return result.limited(Fidelity.APPROXIMATE, None, *remarks)


def _keeps_affine(pair: Pair, result: Conversion) -> bool:
    whole = result.config.get("elementwise_affine") and result.config.get("bias")
    return bool(result.config.get("eps") == pair.config["eps"] and (whole or not pair.config["affine"]))


def _spread(name: str, shape: tuple[int, ...]) -> Computed:
    def spread(tensor: Tensor) -> Tensor:
        return tensor.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone()

    return Computed((name,), spread, f"spread over {'×'.join(map(str, shape[1:]))}")


@conversion(CHANNELS_LAST, nn.LayerNorm)
def last_to_layer(pair: Pair) -> Conversion:
    """From an RMSNorm, the mean goes; without a bias, as the RMSNorm is, unless asked for one."""
    shape = _shape(pair.overrides.get("normalized_shape", pair.config["normalized_shape"]))
    blank = {"bias": filled(shape, 0.0)} if not pair.config.get("bias") else {}
    if not pair.config["elementwise_affine"]:
        blank["weight"] = filled(shape, 1.0)
    eps = {} if pair.config["eps"] is not None else {"eps": 1e-5}
    result = pair.carry({"bias": False, **_bias_of(pair), **eps}, blank, Fidelity.EXACT)
    same = isinstance(pair.old, nn.LayerNorm) and _same(pair, result, "normalized_shape", "eps")
    kept = result.config.get("bias", True) or not pair.config.get("bias")
    kept = kept and (result.config["elementwise_affine"] or not pair.config["elementwise_affine"])
    return result if same and kept else result.limited(Fidelity.APPROXIMATE)


def _bias_of(pair: Pair) -> dict[str, bool]:
    return {"bias": pair.config["bias"]} if "bias" in pair.config else {}


def _same(pair: Pair, result: Conversion, *names: str) -> bool:
    return all(_shape(result.config.get(name)) == _shape(pair.config[name]) for name in names)


def _shape(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


@conversion(CHANNELS_LAST, nn.RMSNorm)
def last_to_rms(pair: Pair) -> Conversion:
    """From a LayerNorm: the same where the input has mean zero and there is no bias."""
    shape = _shape(pair.overrides.get("normalized_shape", pair.config["normalized_shape"]))
    blank = {} if pair.config["elementwise_affine"] else {"weight": filled(shape, 1.0)}
    result = pair.carry(origins=blank, fidelity=Fidelity.EXACT)
    same = isinstance(pair.old, nn.RMSNorm) and _same(pair, result, "normalized_shape", "eps")
    kept = result.config["elementwise_affine"] or not pair.config["elementwise_affine"]
    return result if same and kept else result.limited(Fidelity.APPROXIMATE)


@conversion(CHANNELS_LAST, (*BATCH, *INSTANCE, nn.GroupNorm))
def last_to_channels(pair: Pair) -> Conversion:
    """The channels are the first axis of several, or the only one. A LayerNorm is a GroupNorm with one group."""
    shape = _shape(pair.config["normalized_shape"])
    affine = pair.config["elementwise_affine"]
    given = {"num_features": shape[0], "num_channels": shape[0], "num_groups": 1, "affine": affine}
    if pair.config["eps"] is None:
        given["eps"] = 1e-5
    origins: dict[str, Origin] = {}
    if affine and pair.config.get("bias") is not True:
        origins["bias"] = filled(shape[0], 0.0)
    result = pair.carry(given, origins, Fidelity.EXACT, uses=["normalized_shape", "elementwise_affine", "bias"])
    whole = (
        isinstance(pair.old, nn.LayerNorm) and issubclass(result.new, nn.GroupNorm) and len(shape) > 1 and not affine
    )
    if whole and result.config["num_groups"] == 1 and result.config.get("eps") == pair.config["eps"]:
        return result if not result.config["affine"] else result.limited(Fidelity.INITIALISED)
    remarks = [] if len(shape) > 1 else [f"{result.new.__name__} takes the channels from axis 1, not from the last"]
    return result.limited(Fidelity.APPROXIMATE, None, *remarks)


# --- local response norm


@conversion(RESPONSE, RESPONSE)
def response_to_response(pair: Pair) -> Conversion:
    """Two implementations of the same formula."""
    result = pair.carry(fidelity=Fidelity.EXACT)
    return result if _same(pair, result, *pair.config) else result.limited(Fidelity.APPROXIMATE)


@conversion((*BATCH, *INSTANCE, nn.GroupNorm, *CHANNELS_LAST), RESPONSE)
def norm_to_response(pair: Pair) -> Conversion:
    """They have nothing in common but their place in a network."""
    return pair.carry(fidelity=Fidelity.INITIALISED)


# --- a batch norm in eval is a map of each channel


_POINTWISE = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def _depthwise(pair: Pair) -> Conversion:
    """A 1×1 convolution of each channel by itself, out of the statistics."""
    if not pair.config["track_running_stats"]:
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: it tracks no statistics to fix.",
            way_out="only a norm with track_running_stats=True computes the same for every batch in eval",
        )
    count, eps = pair.config["num_features"], pair.config["eps"]
    names = ["running_mean", "running_var", *(["weight", "bias"] if pair.config["affine"] else [])]
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
        uses=["num_features", "eps", "affine", "momentum", "track_running_stats"],
    )


for _norm, _conv in zip(BATCH, _POINTWISE.values(), strict=False):
    conversion(_norm, _conv)(_depthwise)


# --- arguments


@argument_check(nn.GroupNorm, num_groups="ts.divisor(32)")
def check_group(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """The channels fall into groups of one size."""
    groups, channels = config.get("num_groups"), config.get("num_channels")
    _positive(new, config, "num_groups", "num_channels")
    if isinstance(groups, int) and isinstance(channels, int) and channels % groups:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        raise ConfigError(
            f"{new.__name__} can't put {channels} channels into {groups} groups: {groups} does not divide {channels}.",
            f"these do: {', '.join(map(str, divisors))}",
            expected=divisors,
            got=groups,
            way_out="let each layer pick:  num_groups=ts.divisor(32)",
        )


@argument_check(*BATCH, *INSTANCE, num_features="64")
def check_features(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """There are channels."""
    _positive(new, config, "num_features")


@argument_check(*CHANNELS_LAST, normalized_shape="64")
def check_last(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """No axis is empty."""
    _positive(new, config, "normalized_shape")


@argument_check(*RESPONSE, size="5")
def check_response(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """There is a neighbourhood."""
    _positive(new, config, "size")


def _positive(new: type[nn.Module], config: Mapping[str, Any], *names: str) -> None:
    for name in names:
        for value in _shape(config.get(name, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(
                    f"{new.__name__} needs a whole number of at least 1 for {name}, and got {config[name]!r}.",
                    got=config[name],
                    way_out=f"ts.like(old, {new.__name__}, {name}=8)",
                )
