"""Layers of torch.nn that read their children's tensors instead of calling them.

`TransformerEncoderLayer` in eval hands `linear1.weight` and its like to one fused kernel; `TransformerEncoder` nests
its input on the strength of its first layer's tensors: another child then works in train and is passed over in eval.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn


def reads_children(kind: type) -> bool:
    """Whether modules of a class may read their children's tensors."""
    return issubclass(kind, nn.MultiheadAttention | nn.TransformerEncoderLayer | nn.TransformerEncoder)


class Setting(NamedTuple):
    """An attribute that must have another value when a child below its module is changed."""

    module: nn.Module
    attribute: str
    value: Any
    why: str


def settings_for(ancestors: Iterable[tuple[nn.Module, str]], new: nn.Module) -> list[Setting]:
    """What to set so that the modules above a changed layer call it in eval as in train.

    Args:
        ancestors: The modules above the layer, each with the layer's name relative to it.
        new: What will stand in the layer's place.
    """
    found: list[Setting] = []
    for ancestor, below in ancestors:
        if isinstance(ancestor, nn.TransformerEncoderLayer):
            if ancestor.activation_relu_or_gelu:
                found.append(
                    Setting(ancestor, "activation_relu_or_gelu", 0, f"fast path off: it would not call {below}")
                )
            if below == "self_attn":
                found += _readable_attention(ancestor.self_attn, new)
        elif isinstance(ancestor, nn.TransformerEncoder) and getattr(ancestor, "use_nested_tensor", False):
            found.append(Setting(ancestor, "use_nested_tensor", False, "nested tensors off: they need the fast path"))
    return found


def _readable_attention(old: nn.Module, new: nn.Module) -> list[Setting]:
    """The attributes of its attention that `TransformerEncoderLayer` reads before it decides against its fast path."""
    wanted = {"batch_first": getattr(old, "batch_first", False), "in_proj_bias": None}
    return [
        Setting(new, name, value, "read by TransformerEncoderLayer.forward")
        for name, value in wanted.items()
        if not hasattr(new, name)
    ]
