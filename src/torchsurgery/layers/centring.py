"""A linear layer and a layer norm behind it as a linear layer and an RMS norm: the mean is taken off in the weights."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin, Same
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion, reads_itself


@reads_itself
@conversion(nn.Sequential, nn.RMSNorm)
def centred(pair: Pair) -> Conversion:
    """Exact but for the norm's shift, which an RMSNorm has not got."""
    linear, norm = _both(pair)
    bias = linear.bias is not None
    origins: dict[str, Origin] = {"0.weight": Computed(("0.weight",), _centred, "less the mean of its rows")}
    if bias:
        origins["0.bias"] = Computed(("0.bias",), _centred, "less its mean")
    if norm.weight is not None:
        origins["1.weight"] = Same("1.weight")
    made = {"inputs": linear.in_features, "width": linear.out_features, "bias": bias, "eps": norm.eps}
    # A plain Sequential can't be made of keywords: in the place of the class stands what makes one.
    kind = cast("type[nn.Module]", _linear_norm)
    result = Conversion(kind, {**made, "scales": norm.weight is not None}, origins, Fidelity.EXACT)
    shifts = norm.bias is not None and (norm.bias.is_meta or bool(norm.bias.any()))
    return result.limited(Fidelity.APPROXIMATE, None, "the shift of the norm goes") if shifts else result


def _centred(tensor: Tensor) -> Tensor:
    return tensor - tensor.mean(0, keepdim=True)


def _linear_norm(inputs: int, width: int, bias: bool, eps: float, scales: bool) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width, bias), nn.RMSNorm(width, eps, scales))


def _both(pair: Pair) -> tuple[Any, Any]:
    """The linear layer and the norm.

    Raises:
        ConfigError: if the Sequential is not of these two.
    """
    parts: list[Any] = list(pair.old.children())
    kinds = [type(part) for part in parts] == [nn.Linear, nn.LayerNorm]
    if not kinds or pair.overrides or tuple(parts[1].normalized_shape) != (parts[0].out_features,):
        raise ConfigError(
            f"this Sequential can't be made a {pair.new.__name__}: it is not a Linear and a LayerNorm of its outputs.",
            got=pair.old,
            way_out="ts.like(nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8)), nn.RMSNorm)",
        )
    return parts[0], parts[1]
