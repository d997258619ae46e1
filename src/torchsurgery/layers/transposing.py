"""Convolutions as transposed ones and back: with a stride of 1 they are the same thing with the kernel turned round."""

from __future__ import annotations

from torch import Tensor

from ..origins import Computed, Initialised, Origin
from .conv import CONVS, GEOMETRY, TRANSPOSED, axes_of, windows_of
from .conversion import Conversion, Fidelity
from .fills import filled
from .padded import PADDED
from .pair import Pair
from .registry import conversion


@conversion((*CONVS, *PADDED), TRANSPOSED)
@conversion(TRANSPOSED, CONVS)
def turned(pair: Pair) -> Conversion:
    """Exact for a stride of 1 where the padding can be had; else only the arguments carry, and one undoes the other."""
    config, given = pair.config, _turned_arguments(pair)
    blank: dict[str, Origin] = {} if config["bias"] else {"bias": filled(config["out_channels"], 0.0)}
    asked = {name for name, value in pair.overrides.items() if {**config, **(given or {})}.get(name) != value}
    if given is None or asked - {"bias"}:
        origins: dict[str, Origin] = {"weight": Initialised("another kind of convolution")}
        return pair.carry({"kernel_size": config["kernel_size"]}, origins, ignores=["padding", "padding_mode"])
    weight = Computed(
        ("weight",), lambda tensor: turned_round(tensor, config["groups"]), "turned round", per_entry=True
    )
    uses, ignores = (*GEOMETRY, "padding_mode"), ("padding", "output_padding", "pads", "padding_mode")
    result = pair.carry(given, {"weight": weight, **blank}, Fidelity.EXACT, uses=uses, ignores=ignores)
    goes = config["bias"] and not result.config.get("bias", True)
    return result.limited(Fidelity.APPROXIMATE, None, "the bias goes") if goes else result


def _turned_arguments(pair: Pair) -> dict[str, tuple[int, ...]] | None:
    """The padding that makes it the same, or None where there is none."""
    config = pair.config
    windows = windows_of(config, pair.old)
    padded = any(window.left or window.right for window in windows)
    if axes_of(pair.new) != len(windows) or (config.get("padding_mode", "zeros") != "zeros" and padded):
        return None
    left = tuple(window.extent - window.left for window in windows)
    more = tuple(window.right - window.left for window in windows)
    to_transposed = issubclass(pair.new, TRANSPOSED)
    possible = [
        window.stride == 1 and p >= 0 and 0 <= m < (max(1, window.dilation) if to_transposed else 1)
        for window, p, m in zip(windows, left, more, strict=True)
    ]
    if not all(possible):
        return None
    return {"padding": left, "output_padding": more} if to_transposed else {"padding": left}


def turned_round(weight: Tensor, groups: int) -> Tensor:
    """(rows, columns / groups, *sizes) to (columns, rows / groups, *sizes), every axis backwards."""
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:]).transpose(1, 2)
    return split.flip(tuple(range(3, split.dim()))).reshape(-1, weight.shape[0] // groups, *weight.shape[2:])
