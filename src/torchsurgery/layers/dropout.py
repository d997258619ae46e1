"""Dropouts among themselves, and to and from Identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import ConfigError
from .arguments import argument_check
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@conversion(DROPOUTS, (*DROPOUTS, nn.Identity))
@conversion(nn.Identity, DROPOUTS)
def dropout(pair: Pair) -> Conversion:
    """None of them does anything in eval; in training they agree where nothing is dropped, or all is the same."""
    result = pair.carry(fidelity=Fidelity.EXACT)
    before, after = _share(type(pair.old), pair.config), _share(result.new, result.config)
    if before == after == 0 or (before == after and result.new is type(pair.old)):
        return result
    return result.limited(Fidelity.EXACT_IN_EVAL)


def _share(cls: type[nn.Module], config: Mapping[str, Any]) -> float:
    return float(config.get("p", 0.5)) if issubclass(cls, DROPOUTS) else 0.0


@argument_check(*DROPOUTS)
def check_dropout(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """A probability is between 0 and 1."""
    p = config.get("p", 0.5)
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
        raise ConfigError(
            f"{new.__name__} drops with a probability between 0 and 1, and p={p!r} is none.",
            expected="0 <= p <= 1",
            got=p,
            way_out=f"ts.like(old, {new.__name__}, p=0.1)",
        )
