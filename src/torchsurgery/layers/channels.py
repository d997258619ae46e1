"""How wide a layer is: under which names torch's layers tell how many channels or features they take and give."""

from __future__ import annotations

from torch import nn

_BOTH = ("num_features", "num_channels", "embed_dim")
IN = ("in_channels", "in_features", *_BOTH, "input_size")
OUT = ("out_channels", "out_features", *_BOTH, "embedding_dim", "hidden_size")


def width(layer: nn.Module, names: tuple[str, ...]) -> int | None:
    """How many channels or features a layer takes (`IN`) or gives (`OUT`), where it says so."""
    return next((value for name in names if isinstance(value := vars(layer).get(name), int)), None)
