"""Layers that are the product of two thinner ones, to be asked for by their class: low rank, separable, asymmetric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin, Same
from .arguments import argument_check, is_whole
from .assembling import build
from .building import signature_of
from .config import arguments_of, config_rule
from .conv import check_conv
from .conversion import Conversion, Fidelity
from .converting import convert
from .fills import filled, precise
from .lowrank import Scheme, factoring
from .pair import Pair
from .registry import conversion
from .windows import per_axis


class LowRankLinear(nn.Sequential):
    """A linear layer of a given rank, as two: in_features → rank → out_features.

    Args:
        in_features: As in `nn.Linear`.
        out_features: As in `nn.Linear`.
        rank: Features between the two; at most the smaller of the others is needed.
        bias: Whether the second one has a bias.

    Example:
        >>> ts.like(nn.Linear(64, 32), ts.LowRankLinear, rank=8)
        LowRankLinear(
          (0): Linear(in_features=64, out_features=8, bias=False)
          (1): Linear(in_features=8, out_features=32, bias=True)
        )
    """

    scheme: ClassVar[Scheme] = "thin"

    def __init__(
        self, in_features: int, out_features: int, rank: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(
            nn.Linear(in_features, rank, bias=False, device=device, dtype=dtype),
            nn.Linear(rank, out_features, bias=bias, device=device, dtype=dtype),
        )
        self.in_features, self.out_features, self.rank = in_features, out_features, rank


class _TwoConvs(nn.Sequential):
    """What the convolutions share: arguments as in torch's own, but for `rank` in the place of `groups`."""

    conv: ClassVar[type[nn.Module]]
    scheme: ClassVar[Scheme]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        rank: int,
        stride: int | tuple[int, ...] = 1,
        padding: int | str | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        window = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        common = {"padding_mode": padding_mode, "device": device, "dtype": dtype}
        between, groups = (rank * in_channels, in_channels) if self.scheme == "depthwise" else (rank, 1)
        split = self.scheme == "asymmetric"
        first, second = (_along(window, 0), _along(window, 1)) if split else (window, {"kernel_size": 1})
        super().__init__(
            self.conv(in_channels, between, groups=groups, bias=False, **first, **common),
            self.conv(between, out_channels, bias=bias, **second, **common),
        )
        self.in_channels, self.out_channels, self.rank = in_channels, out_channels, rank


_NEUTRAL = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


def _along(window: Mapping[str, Any], axis: int) -> dict[str, Any]:
    """What a window over two axes is along one of them."""
    sides = {name: value if isinstance(value, str) else [_NEUTRAL[name]] * 2 for name, value in window.items()}
    for name, side in sides.items():
        if isinstance(side, list):
            side[axis] = per_axis(window[name], 2)[axis]
    return {name: tuple(side) if isinstance(side, list) else side for name, side in sides.items()}


class LowRankConv1d(_TwoConvs):
    """As `LowRankConv2d`, over one axis."""

    conv, scheme = nn.Conv1d, "thin"


class LowRankConv2d(_TwoConvs):
    """A convolution of a given rank, as two: one with the kernel to `rank` channels, then a 1×1.

    Args:
        in_channels: As in `nn.Conv2d`, like all that is not explained.
        out_channels: Channels of the second one.
        kernel_size: Of the first one, which has stride, padding and dilation, too.
        rank: Channels between the two.
        stride: As in `nn.Conv2d`.
        padding: As in `nn.Conv2d`.
        dilation: As in `nn.Conv2d`.
        bias: Whether the second one has a bias.
        padding_mode: As in `nn.Conv2d`.

    Example:
        >>> new = ts.like(nn.Conv2d(16, 32, 3, padding=1), ts.LowRankConv2d, rank=8)
        >>> new[0].weight.shape, new[1].weight.shape
        (torch.Size([8, 16, 3, 3]), torch.Size([32, 8, 1, 1]))
    """

    conv, scheme = nn.Conv2d, "thin"


class LowRankConv3d(_TwoConvs):
    """As `LowRankConv2d`, over three axes."""

    conv, scheme = nn.Conv3d, "thin"


class _Separable(_TwoConvs):
    scheme = "depthwise"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...], rank: int = 1, **arguments: Any
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, rank, **arguments)


class SeparableConv1d(_Separable):
    """As `SeparableConv2d`, over one axis."""

    conv = nn.Conv1d


class SeparableConv2d(_Separable):
    """A depthwise-separable convolution: each input channel by itself to `rank` channels, then a 1×1 over all of them.

    With as many as the kernel has taps, nothing of a convolution is lost.

    Args:
        in_channels: As in `nn.Conv2d`, like all that is not explained.
        out_channels: Channels of the 1×1.
        kernel_size: Of the first one, which has stride, padding and dilation, too.
        rank: Channels for each input channel, 1 by default.
        stride: As in `nn.Conv2d`.
        padding: As in `nn.Conv2d`.
        dilation: As in `nn.Conv2d`.
        bias: Whether the 1×1 has a bias.
        padding_mode: As in `nn.Conv2d`.

    Example:
        >>> new = ts.like(nn.Conv2d(16, 32, 3, padding=1), ts.SeparableConv2d)
        >>> new[0].weight.shape, new[0].groups, new[1].weight.shape
        (torch.Size([16, 1, 3, 3]), 16, torch.Size([32, 16, 1, 1]))
    """

    conv = nn.Conv2d


class SeparableConv3d(_Separable):
    """As `SeparableConv2d`, over three axes."""

    conv = nn.Conv3d


class AsymmetricConv2d(_TwoConvs):
    """A convolution as its column and its row: k×1 to `rank` channels, then 1×k; arguments as in `LowRankConv2d`.

    Example:
        >>> new = ts.like(nn.Conv2d(16, 32, 7, padding=3), ts.AsymmetricConv2d, rank=8)
        >>> new[0].kernel_size, new[1].kernel_size
        ((7, 1), (1, 7))
    """

    conv, scheme = nn.Conv2d, "asymmetric"


LOW_RANK = (LowRankConv1d, LowRankConv2d, LowRankConv3d)
SEPARABLE = (SeparableConv1d, SeparableConv2d, SeparableConv3d)
_CONVS = (*LOW_RANK, *SEPARABLE, AsymmetricConv2d)
_CONVS_2D = (LowRankConv2d, SeparableConv2d, AsymmetricConv2d)


# --- arguments


@config_rule(LowRankLinear, stale=("in_features", "out_features", "rank"))
def _linear_config(layer: Any) -> dict[str, Any]:
    (rank, inputs), (outputs, _) = layer[0].weight.shape, layer[1].weight.shape
    return {"in_features": inputs, "out_features": outputs, "rank": rank, "bias": layer[1].bias is not None}


def _conv_config(layer: Any) -> dict[str, Any]:
    first, second = layer[0], layer[1]
    between, columns, *kernel = first.weight.shape
    window: dict[str, Any] = {"kernel_size": tuple(kernel)}
    window |= {name: getattr(first, name) for name in ("stride", "padding", "dilation")}
    if layer.scheme == "asymmetric":
        window["kernel_size"] = (kernel[0], second.weight.shape[3])
        for name in ("stride", "padding", "dilation"):
            one, other = getattr(first, name), getattr(second, name)
            window[name] = one if isinstance(one, str) else (one[0], other[1])
    return {
        "in_channels": columns * first.groups,
        "out_channels": second.weight.shape[0],
        "rank": between // first.groups,
        "bias": second.bias is not None,
        "padding_mode": first.padding_mode,
        **window,
    }


for _class in _CONVS:
    config_rule(_class, stale=("in_channels", "out_channels", "rank"))(_conv_config)


@argument_check(LowRankLinear, in_features="64", out_features="10", rank="8")
@argument_check(*_CONVS, in_channels="64", out_channels="64", kernel_size="3", rank="8")
def check_rank(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """A whole number of features between the two."""
    if not is_whole(config.get("rank", 1), 1):
        raise ConfigError(
            f"{new.__name__} needs a whole number of at least 1 for rank, and got {config['rank']!r}.",
            got=config["rank"],
            way_out=f"ts.like(old, ts.{new.__name__}, rank=8)",
        )
    if issubclass(new, _TwoConvs):
        check_conv(old, new.conv, config)


# --- into two


@conversion(nn.Linear, LowRankLinear)
@conversion(nn.Conv1d, (LowRankConv1d, SeparableConv1d))
@conversion(nn.Conv2d, (LowRankConv2d, SeparableConv2d, AsymmetricConv2d))
@conversion(nn.Conv3d, (LowRankConv3d, SeparableConv3d))
def into_two(pair: Pair) -> Conversion:
    """The largest singular values, shared out evenly between the two layers."""
    asked = {name for name, value in pair.overrides.items() if pair.config.get(name, value) != value}
    rank = pair.overrides.get("rank", signature_of(pair.new).defaults.get("rank"))
    if rank is None or asked & _SIZES:
        return pair.carry(uses=("groups",))
    check_rank(pair.old, pair.new, {"rank": rank})
    found = _found(pair)
    blank: dict[str, Origin] = {} if pair.config["bias"] else {"1.bias": filled(_outputs(pair), 0.0)}
    result = pair.carry({"rank": rank}, {**found.origins(rank), **blank}, Fidelity.EXACT, uses=("groups",))
    if pair.config["bias"] and not result.config.get("bias", True):
        return result.limited(Fidelity.APPROXIMATE, None, "the bias goes")
    if moved := sorted(asked - {"bias"}):
        return result.limited(Fidelity.APPROXIMATE, None, f"another {' and '.join(moved)}")
    return result.limited(*found.holds(rank))


_SIZES = {"in_features", "out_features", "in_channels", "out_channels", "kernel_size"}


def _outputs(pair: Pair) -> int:
    return int(pair.config["out_features" if "out_features" in pair.config else "out_channels"])


def _found(pair: Pair) -> Any:
    try:
        return factoring(pair.old, pair.new.scheme)  # type: ignore[attr-defined]
    except ConfigError as err:
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: {str(err).partition(chr(10))[0]}",
            got=pair.old,
            way_out=err.way_out or f"register what it comes to:  @ts.conversion(…, ts.{pair.new.__name__})",
        ) from err


# --- and back


@conversion(LowRankLinear, nn.Linear)
@conversion((LowRankConv1d, SeparableConv1d), nn.Conv1d)
@conversion((LowRankConv2d, SeparableConv2d, AsymmetricConv2d), nn.Conv2d)
@conversion((LowRankConv3d, SeparableConv3d), nn.Conv3d)
def into_one(pair: Pair) -> Conversion:
    """The product of the two weights."""
    if any(pair.config.get(name, value) != value for name, value in pair.overrides.items() if name in _SIZES):
        return pair.carry(uses=("rank",))
    scheme, groups = pair.old.scheme, getattr(pair.old[0], "groups", 1)  # type: ignore[index]

    def product(first: Tensor, second: Tensor) -> Tensor:
        return _product(precise(first), precise(second), scheme, groups).to(first.dtype)  # type: ignore[arg-type]

    bias = "1.bias" if pair.config["bias"] else filled(_outputs(pair), 0.0)
    origins = {"weight": Computed(("0.weight", "1.weight"), product, "the product of the two"), "bias": bias}
    result = pair.carry({}, origins, Fidelity.EXACT, uses=("rank",))
    changed = [name for name, value in pair.config.items() if result.config.get(name, value) != value]
    return result.limited(Fidelity.APPROXIMATE, None, f"another {' and '.join(changed)}") if changed else result


def _product(first: Tensor, second: Tensor, scheme: Scheme, groups: int) -> Tensor:
    if scheme == "asymmetric":
        return torch.einsum("rih,orw->oihw", first[..., 0], second[:, :, 0])
    if scheme == "thin":
        return (second.flatten(1) @ first.flatten(1)).reshape(second.shape[0], *first.shape[1:])
    taps, mixed = first.reshape(groups, -1, first[0].numel()), second.reshape(len(second), groups, -1)
    return torch.einsum("irk,oir->oik", taps, mixed).reshape(len(second), groups, *first.shape[2:])


# --- among themselves


@conversion(LowRankLinear, LowRankLinear)
@conversion((LowRankConv1d, SeparableConv1d), (LowRankConv1d, SeparableConv1d))
@conversion(_CONVS_2D, _CONVS_2D)
@conversion((LowRankConv3d, SeparableConv3d), (LowRankConv3d, SeparableConv3d))
def into_two_others(pair: Pair) -> Conversion:
    """Into one, and that into two: another rank, or another way to split."""
    one = convert(pair.old, nn.Linear if isinstance(pair.old, LowRankLinear) else pair.new.conv)  # type: ignore[attr-defined]
    dense = build(one, pair.old)
    overrides = {"rank": pair.config["rank"], **pair.overrides} if pair.new is type(pair.old) else pair.overrides
    two = into_two(Pair(dense, pair.new, arguments_of(dense), overrides))
    origins = {name: _through(origin, one.origins) for name, origin in two.origins.items()}
    two = replace(two, origins=origins, lost=())
    # What is of that rank already loses nothing but what rounding leaves of the other singular values.
    alike = pair.old.scheme == pair.new.scheme and overrides.get("rank", 1) >= pair.config["rank"]  # type: ignore[attr-defined]
    only_rank = pair.overrides.keys() <= {"rank"}
    return replace(two, fidelity=Fidelity.EXACT, error=None) if alike and only_rank else two


def _through(origin: Origin, inner: Mapping[str, Origin]) -> Origin:
    """An origin in terms of the layer's tensors rather than of those of the one that stands for it."""
    if not isinstance(origin, Computed) or not origin.sources:
        return origin
    (source,) = origin.sources
    first = inner[source]
    if isinstance(first, Same):
        return replace(origin, sources=(first.source,))
    if not isinstance(first, Computed):
        return first
    compute = first.function
    return Computed(first.sources, lambda *tensors: origin.function(compute(*tensors)), f"{first.what}, {origin.what}")
