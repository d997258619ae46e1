"""`nn.MultiheadAttention` whose heads, their width and the width of the stream are independent of each other.

The original wants embed_dim == num_heads · head_dim, so that it can't lose a head and keep the stream, nor the other
way round. This one has the same parameters under the same names and computes the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.attending import attended, joint_mask, split_in_heads


class Attention(nn.MultiheadAttention):
    """Attention with any number of heads of any width on a stream of any width.

    What `nn.MultiheadAttention` becomes when its heads, or the stream that it reads, are pruned. Same parameters, same
    arguments, same results.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `nn.MultiheadAttention`."""
        batched = query.dim() == 3
        inputs = [t if batched else t.unsqueeze(0 if self.batch_first else 1) for t in (query, key, value)]
        if not self.batch_first:
            inputs = [t.transpose(0, 1) for t in inputs]
        # The same tensor three times is projected by one multiplication.
        same = query is key and key is value
        q, k, v = self._heads(inputs, same)
        mask = joint_mask(attn_mask, key_padding_mask, q)
        more = k.shape[-2] - inputs[1].shape[1]
        if mask is not None and more:
            mask = F.pad(mask, (0, more))
        # As wide as it was built, whatever has gone since: scores of pruned heads' neighbours must not change.
        scale = float(vars(self).get("score_scale", int(self.head_dim) ** -0.5))
        out, weights = attended(q, k, v, mask, self.dropout if self.training else 0.0, scale, need_weights)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if not self.batch_first:
            out = out.transpose(0, 1)
        if batched:
            return out, weights
        return out.squeeze(0 if self.batch_first else 1), None if weights is None else weights.squeeze(0)

    def _heads(self, inputs: list[Tensor], same: bool) -> list[Tensor]:
        """Query, key and value as (N, heads, length, width)."""
        bias = self.in_proj_bias
        biases = (None, None, None) if self._parameters["in_proj_bias"] is None else self.in_proj_bias.chunk(3)
        if not self._packed():
            own = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            parts = [F.linear(t, w, b) for t, w, b in zip(inputs, own, biases, strict=True)]
        elif same:
            parts = list(F.linear(inputs[0], self.in_proj_weight, bias).chunk(3, -1))
        else:
            weights = self.in_proj_weight.chunk(3)
            parts = [F.linear(t, w, b) for t, w, b in zip(inputs, weights, biases, strict=True)]
        return self._with_more_keys(*(split_in_heads(t, self.num_heads) for t in self._with_biases(parts)))

    def _with_biases(self, parts: list[Tensor]) -> list[Tensor]:
        """Behind the keys and values, if there are any, those that are learned: `add_bias_kv`."""
        if self.bias_k is None or self.bias_v is None:
            return parts
        q, k, v = parts
        more = (bias.expand(len(k), -1, -1) for bias in (self.bias_k, self.bias_v))
        return [q, *(torch.cat(both, 1) for both in zip((k, v), more, strict=True))]

    def _with_more_keys(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """Behind them one key and value of zeros: `add_zero_attn`."""
        return [q, *(F.pad(t, (0, 0, 0, 1)) for t in (k, v))] if self.add_zero_attn else [q, k, v]

    def _packed(self) -> bool:
        return self._parameters["in_proj_weight"] is not None


def is_plain_attention(module: nn.Module) -> bool:
    """Whether a module is torch's own attention, which `Attention` computes."""
    return type(module) is nn.MultiheadAttention


def as_attention(state: dict[str, Any]) -> dict[str, Any]:
    """The attributes that `Attention` has besides those of `nn.MultiheadAttention`."""
    width = state["head_dim"]
    # TransformerEncoderLayer's fused kernel would take the heads to be embed_dim // num_heads wide.
    return {**state, "score_scale": state.get("score_scale", float(width) ** -0.5), "_qkv_same_embed_dim": False}
