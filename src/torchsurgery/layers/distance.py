"""Constructor arguments of distances."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule


@config_rule(nn.PairwiseDistance)
def _pairwise(layer: nn.PairwiseDistance) -> dict[str, Any]:
    return {"p": layer.norm, "eps": layer.eps, "keepdim": layer.keepdim}
