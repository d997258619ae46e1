"""Constructor arguments of the adaptive softmax, which keeps the number of classes as its last cutoff."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule


@config_rule(nn.AdaptiveLogSoftmaxWithLoss, stale=("in_features", "n_classes"))
def _adaptive(layer: nn.AdaptiveLogSoftmaxWithLoss) -> dict[str, Any]:
    *cutoffs, n_classes = layer.cutoffs
    return {
        "in_features": layer.head.weight.shape[1],
        "n_classes": n_classes,
        "cutoffs": cutoffs,
        "div_value": layer.div_value,
        "head_bias": layer.head.bias is not None,
    }
