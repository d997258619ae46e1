"""Constructor arguments of embeddings."""

from __future__ import annotations

from typing import Any

from torch import nn

from .config import config_rule

_SIZES = ("num_embeddings", "embedding_dim")


def _table(layer: nn.Embedding | nn.EmbeddingBag) -> dict[str, Any]:
    rows, columns = layer.weight.shape
    return {
        "num_embeddings": rows,
        "embedding_dim": columns,
        "padding_idx": layer.padding_idx,
        "max_norm": layer.max_norm,
        "norm_type": layer.norm_type,
        "scale_grad_by_freq": layer.scale_grad_by_freq,
        "sparse": layer.sparse,
    }


@config_rule(nn.Embedding, stale=_SIZES)
def _embedding(layer: nn.Embedding) -> dict[str, Any]:
    frozen = {} if layer.weight.requires_grad else {"_freeze": True}
    return _table(layer) | frozen


@config_rule(nn.EmbeddingBag, stale=_SIZES)
def _embedding_bag(layer: nn.EmbeddingBag) -> dict[str, Any]:
    return _table(layer) | {"mode": layer.mode, "include_last_offset": layer.include_last_offset}
