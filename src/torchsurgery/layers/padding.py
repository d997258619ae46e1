"""Padding layers among themselves: how wide the border is carries, what stands in it is another thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import ConfigError
from .arguments import argument_check
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion

ZERO = (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
CONSTANT = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
REFLECTION = (nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d)
REPLICATION = (nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d)
CIRCULAR = (nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
_KINDS = {"zeros": ZERO, "constant": CONSTANT, "reflected": REFLECTION, "replicated": REPLICATION, "circular": CIRCULAR}
PADS = tuple(cls for kind in _KINDS.values() for cls in kind)


@conversion(PADS, PADS)
def pad_to_pad(pair: Pair) -> Conversion:
    """Exact where both fill the border alike, or there is none; to more axes, the new ones in front get no border."""
    axes = (_axes(type(pair.old)), _axes(pair.new))
    padding = tuple(pair.config["padding"])
    given: dict[str, Any] = {"padding": (*padding, *[0, 0] * (axes[1] - axes[0]))[: 2 * axes[1]]}
    if issubclass(pair.new, CONSTANT) and not issubclass(pair.new, ZERO):
        given["value"] = pair.config.get("value", 0.0)
    result = pair.carry(given, fidelity=Fidelity.EXACT)
    if axes[0] > axes[1] and any(padding[2 * axes[1] :]):
        result = result.limited(Fidelity.APPROXIMATE, None, "the border along the axis that goes, goes")
    before, after = _filling(type(pair.old), pair.config), _filling(result.new, result.config)
    widths = _numbers(result.config["padding"], 2 * axes[1])
    if widths != given["padding"]:
        return result.limited(Fidelity.APPROXIMATE, None, "the output has another shape")
    if before == after or not any(widths):
        return result
    return result.limited(Fidelity.APPROXIMATE, None, f"the border is {after}, not {before}")


def _axes(cls: type[nn.Module]) -> int:
    return next(n for kind in _KINDS.values() for n, base in enumerate(kind, 1) if issubclass(cls, base))


def _numbers(padding: Any, count: int) -> tuple[int, ...]:
    return tuple(padding) if isinstance(padding, tuple | list) else (padding,) * count


def _filling(cls: type[nn.Module], config: Mapping[str, Any]) -> str:
    value = config.get("value", 0.0)
    if issubclass(cls, CONSTANT):
        return f"{value:g}" if value else "zeros"
    return next(name for name, kind in _KINDS.items() if issubclass(cls, kind))


@argument_check(*PADS, padding="1", value="0.0")
def check_pad(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """A number for each side, or one for all."""
    padding, count = config.get("padding", 0), 2 * _axes(new)
    if isinstance(padding, tuple | list) and len(padding) != count:
        raise ConfigError(
            f"{new.__name__} has {count} sides, and padding={padding!r} is for {len(padding)}.",
            expected=count,
            got=padding,
            way_out=f"padding={(*padding, *[0] * count)[:count]}, or one number for all",
        )
