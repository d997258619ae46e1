"""What attention comes to in the words of `nn.MultiheadAttention`: its heads, its masks, its weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def split_in_heads(tensor: Tensor, heads: int) -> Tensor:
    """(N, L, E) → (N, heads, L, E / heads)."""
    return torch.unflatten(tensor, -1, (heads, -1)).transpose(1, 2)


def joint_mask(attn_mask: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
    """Both masks as one that is added to the scores, (N or 1, heads or 1, L, S).

    Args:
        attn_mask: (L, S) or (N · heads, L, S); True is what is not attended to, numbers are added.
        padding: (N, S) or (S); likewise.
        like: The queries, (N, heads, L, E / heads), which give dtype and device.
    """
    if attn_mask is not None and attn_mask.dim() == 3:
        attn_mask = torch.unflatten(attn_mask, 0, (like.shape[0], -1))
    attn_mask, padding = _additive(attn_mask, like), _additive(padding, like)
    if padding is None:
        return attn_mask
    padding = padding.reshape(-1, 1, 1, padding.shape[-1])
    return padding if attn_mask is None else attn_mask + padding


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill(mask, float("-inf"))


def attended(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, scale: float, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """The values as the queries weigh them, (N, heads, L, E / heads), and the weights where they are asked for."""
    if not need_weights:
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=scale), None
    scores = (q * scale) @ k.transpose(-2, -1)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return weights @ v, weights
