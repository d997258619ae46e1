"""Constructor arguments of upsampling, all of them attributes; its `name` is that of its class."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule


@config_rule(nn.Upsample, stale=("name",))
def _upsample(layer: nn.Upsample) -> dict[str, Any]:
    names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
    return {name: getattr(layer, name) for name in names}


def _by_size_or_factor(layer: nn.Upsample) -> dict[str, Any]:
    return {"size": layer.size, "scale_factor": layer.scale_factor}


for _class in (nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d):
    config_rule(_class, stale=("name",))(_by_size_or_factor)
