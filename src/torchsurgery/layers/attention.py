"""Constructor arguments of multi-head attention. Its biases have other names than the arguments that ask for them."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule


@config_rule(nn.MultiheadAttention, stale=("embed_dim", "kdim", "vdim", "head_dim"))
def _attention(layer: nn.MultiheadAttention) -> dict[str, Any]:
    embed_dim = layer.out_proj.weight.shape[0]
    separate = layer._parameters["in_proj_weight"] is None
    return {
        "embed_dim": embed_dim,
        "num_heads": layer.num_heads,
        "dropout": layer.dropout,
        "bias": layer._parameters["in_proj_bias"] is not None,
        "add_bias_kv": layer.bias_k is not None,
        "add_zero_attn": layer.add_zero_attn,
        "kdim": layer.k_proj_weight.shape[1] if separate else embed_dim,
        "vdim": layer.v_proj_weight.shape[1] if separate else embed_dim,
        "batch_first": layer.batch_first,
    }
