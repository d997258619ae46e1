"""Weight-standardised convolutions of timm and transformers as plain ones. Neither library is imported."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from ..origins import Computed
from .building import adopted
from .config import arguments_of
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion, reads_itself

STANDARDISED = (
    "timm.layers.std_conv.StdConv2d",
    "timm.layers.std_conv.StdConv2dSame",
    "timm.layers.std_conv.ScaledStdConv2d",
    "timm.layers.std_conv.ScaledStdConv2dSame",
    "transformers.models.bit.modeling_bit.WeightStandardizedConv2d",
)


@reads_itself
@conversion(STANDARDISED, nn.Conv2d)
def baked(pair: Pair) -> Conversion:
    """The weight as it is standardised in each forward, once and for all: from then on it is trained as it is."""
    old: Any = pair.old
    _refuse(pair)
    config = {**_arguments(old), "padding_mode": "zeros"}  # their forward knows no other
    sources = ("weight", "gain") if "gain" in old._parameters else ("weight",)
    eps, scale = old.eps, getattr(old, "scale", 1.0)

    def standardise(weight: Tensor, gain: Tensor | None = None) -> Tensor:
        flat = weight.reshape(1, weight.shape[0], -1)
        factor = None if gain is None else (gain * scale).flatten()
        return F.batch_norm(flat, None, None, factor, training=True, momentum=0.0, eps=eps).reshape_as(weight)

    weight = Computed(sources, standardise, "standardised, once and for all")
    return Pair(old, pair.new, config, {}).carry({}, {"weight": weight}, Fidelity.EXACT)


def _arguments(old: nn.Module) -> dict[str, Any]:
    """Those of the convolution that it is besides."""
    plain = adopted(nn.Conv2d, old)
    for slots in (plain._parameters, plain._modules):
        for name in set(slots) - {"weight", "bias"}:
            del slots[name]
    vars(plain).pop("pad", None)
    return arguments_of(plain)


def _refuse(pair: Pair) -> None:
    old: Any = pair.old
    name = type(old).__name__
    if getattr(old, "same_pad", False) or old._modules.get("pad") is not None:
        raise ConfigError(
            f"{name} can't be made a {pair.new.__name__}: it pads by as much as the input's size asks for.",
            got=old,
            way_out=f"register what it comes to:  @ts.conversion({name}, nn.{pair.new.__name__})",
        )
    if pair.overrides:
        raise ConfigError(
            f"{name} becomes a plain Conv2d first, with the arguments that it has.",
            got=dict(pair.overrides),
            way_out=f"ts.plan(model).replace({name}, nn.Conv2d).replace(…, nn.Conv2d, {next(iter(pair.overrides))}=…)",
        )
