"""How wide a layer is: under which names torch's layers tell how many channels or features they take and give."""

from __future__ import annotations

from torch import nn

_BOTH = ("num_features", "num_channels", "embed_dim")
IN = ("in_channels", "in_features", *_BOTH, "input_size")
OUT = ("out_channels", "out_features", *_BOTH, "embedding_dim", "hidden_size")


def width(layer: nn.Module, names: tuple[str, ...]) -> int | None:
    """How many channels or features a layer takes (`IN`) or gives (`OUT`), where it says so."""
    return next((value for name in names if isinstance(value := vars(layer).get(name), int)), None)


def shape_told(layer: nn.Module) -> dict[str, object]:
    """What a layer says that the shape of its answer depends on: its width, and how a window moves along each axis.

    Returns:
        "channels": how many it gives; "stride"; "reach": by how much the answer is shorter than the input, at stride 1.
        Only those that it tells.
    """
    told: dict[str, object] = {
        "channels": width(layer, OUT),
        "stride": vars(layer).get("stride"),
        "reach": _reach(layer),
    }
    return {key: value for key, value in told.items() if value is not None}


def _reach(layer: nn.Module) -> tuple[int, ...] | None:
    state = vars(layer)
    windows = [state.get(key) for key in ("kernel_size", "dilation", "padding")]
    if not all(isinstance(value, tuple) for value in windows):
        return None
    kernel, dilation, padding = (tuple(value) for value in windows)  # type: ignore[arg-type]
    if not all(isinstance(item, int) for item in (*kernel, *dilation, *padding)):
        return None
    return tuple(d * (k - 1) - 2 * p for k, d, p in zip(kernel, dilation, padding, strict=False))
