"""Constructor arguments of losses. Their weights are buffers of the arguments' names, so only one needs a rule."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule


@config_rule(nn.LinearCrossEntropyLoss)
def _linear_cross_entropy(loss: nn.LinearCrossEntropyLoss) -> dict[str, Any]:
    return {
        "in_features": loss.linear.weight.shape[1],
        "num_classes": loss.num_classes,
        "out_features": loss.out_features,
        "bias": loss.linear.bias is not None,
        "reduction": loss.reduction,
        "weight": loss.weight,
        "ignore_index": loss.ignore_index,
        "label_smoothing": loss.label_smoothing,
        "options": loss.options,
    }
