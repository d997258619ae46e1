"""Losses among themselves: what means the same carries, and few of them are the same function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.loss import _Loss

from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion

LOSSES: tuple[type[nn.Module], ...] = tuple(
    cls
    for name in nn.modules.loss.__all__
    if issubclass(cls := getattr(nn.modules.loss, name), _Loss) and cls.__module__ == _Loss.__module__
)


@conversion(LOSSES, LOSSES)
def loss_to_loss(pair: Pair) -> Conversion:
    """Exact where both are the same function with the same arguments."""
    result = pair.carry(fidelity=Fidelity.EXACT)
    before, after = _function(type(pair.old), pair.config), _function(result.new, result.config)
    if before[0] != after[0]:
        return result.limited(Fidelity.INITIALISED, None, "another loss: its values compare with nothing before")
    changed = [name for name in before[1] if _differs(before[1][name], after[1].get(name, before[1][name]))]
    return result.limited(Fidelity.APPROXIMATE) if changed else result


def _function(cls: type[nn.Module], config: Mapping[str, Any]) -> tuple[type, Mapping[str, Any]]:
    """The function, under the name of one of the classes that it has, and its arguments."""
    known = next(base for base in cls.__mro__ if base in LOSSES)
    said = {name: value for name, value in config.items() if name not in ("size_average", "reduce")}
    if known is nn.SmoothL1Loss and config.get("beta", 1.0) == 1:
        return nn.HuberLoss, {"reduction": said.get("reduction", "mean"), "delta": 1.0}
    if known is nn.SmoothL1Loss and config.get("beta") == 0:
        return nn.L1Loss, {"reduction": said.get("reduction", "mean")}
    return (nn.NLLLoss if known.__name__ == "NLLLoss2d" else known), said


def _differs(before: Any, after: Any) -> bool:
    # Tensors among the arguments are carried by their names.
    return False if hasattr(before, "shape") else bool(before != after)
