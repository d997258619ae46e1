"""Convolutions that pad by themselves as a padding layer and a convolution without, and back."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from ..errors import ConfigError
from ..origins import Origin, Same
from .conv import CONVS, axes_of, pads_of
from .conversion import Conversion, Fidelity
from .padded import PADDED
from .padding import CIRCULAR, REFLECTION, REPLICATION, ZERO
from .pair import Pair
from .registry import conversion, reads_itself
from .windows import per_axis

_BY_MODE: dict[str, tuple[type[nn.Module], ...]] = {
    "zeros": ZERO,
    "reflect": REFLECTION,
    "replicate": REPLICATION,
    "circular": CIRCULAR,
}
_PADS = tuple(cls for kind in _BY_MODE.values() for cls in kind)


def _mode(pad: type[nn.Module]) -> str:
    """What torch's convolutions call this kind of border."""
    return next(name for name, kind in _BY_MODE.items() if issubclass(pad, kind))


@conversion((*CONVS, *PADDED), _PADS)
def padding_apart(pair: Pair) -> Conversion:
    """The padding as a layer before the convolution, as a plain Sequential; another kind of it is another border."""
    config, axes = pair.config, axes_of(type(pair.old))
    mode = _mode(pair.new)
    if pair.new is not _BY_MODE[mode][axes - 1] or pair.overrides:
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__} with a convolution behind it.",
            f"that is a {_BY_MODE[mode][axes - 1].__name__} as wide as the convolution's own padding.",
            got=pair.old,
            way_out=f"ts.like(conv, nn.{_BY_MODE[config['padding_mode']][axes - 1].__name__})",
        )
    kernel, dilation = (per_axis(config[name], axes) for name in ("kernel_size", "dilation"))
    padding = tuple(side for pads in reversed(pads_of(config, kernel, dilation)) for side in pads)
    names = ("in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups", "bias")
    made = {"pad": pair.new, "padding": padding, **{name: config[name] for name in names}}
    origins: dict[str, Origin] = {"1.weight": Same("weight"), **({"1.bias": Same("bias")} if config["bias"] else {})}
    # A plain Sequential can't be made of keywords: in the place of the class stands what makes one.
    result = Conversion(cast("type[nn.Module]", _pad_convolve), made, origins, Fidelity.EXACT)
    if mode == config["padding_mode"] or not any(padding):
        return result
    return result.limited(Fidelity.APPROXIMATE, None, f"the border is {mode}, not {config['padding_mode']}")


def _pad_convolve(pad: Any, padding: tuple[int, ...], **config: Any) -> nn.Sequential:
    return nn.Sequential(pad(padding), CONVS[len(padding) // 2 - 1](**config))


@reads_itself
@conversion(nn.Sequential, CONVS)
def padding_within(pair: Pair) -> Conversion:
    """A padding layer and a convolution without padding as one convolution."""
    pad, conv = _both(pair)
    axes = axes_of(pair.new)
    flat = per_axis(pad.padding, 2 * axes)
    pads = tuple((flat[2 * i], flat[2 * i + 1]) for i in reversed(range(axes)))
    even = all(left == right >= 0 for left, right in pads)
    given: dict[str, Any] = {"padding": tuple(left for left, _ in pads)} if even else {"pads": pads}
    given["padding_mode"] = _mode(type(pad))
    names = ("in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups")
    config = {**{name: getattr(conv, name) for name in names}, "bias": conv.bias is not None}
    origins: dict[str, str | Origin] = {"weight": "1.weight", "bias": "1.bias"}
    cls = pair.new if even else PADDED[axes - 1]
    return Pair(pair.old, cls, config, {}).carry(given, origins, Fidelity.EXACT)


def _both(pair: Pair) -> tuple[Any, Any]:
    """The padding and the convolution.

    Raises:
        ConfigError: if the Sequential is not of these two.
    """
    parts = list(pair.old.children())
    axes = axes_of(pair.new)
    pads = [kind[axes - 1] for kind in _BY_MODE.values()]
    fits = [type(part) for part in parts[1:]] == [pair.new] and type(parts[0]) in pads
    if not fits or pair.overrides or any(per_axis(parts[1].padding, axes)):
        raise ConfigError(
            f"this Sequential can't be made a {pair.new.__name__}: it is not a padding layer of as many axes and a "
            f"plain {pair.new.__name__} without padding.",
            got=pair.old,
            way_out="ts.like(nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3)), nn.Conv2d)",
        )
    return parts[0], parts[1]
