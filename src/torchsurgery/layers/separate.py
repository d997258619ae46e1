"""Multi-head attention with its projections as layers of their own, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin, Same
from .attending import attended, joint_mask, split_in_heads
from .config import config_rule
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class SeparateAttention(nn.Module):
    """`nn.MultiheadAttention` with four `nn.Linear`s, each of which is called: q_proj, k_proj, v_proj and out_proj.

    So each of them can be quantized, factorized or adapted by itself. It is called as `nn.MultiheadAttention` is. Masks
    mean what they mean there: True is what is *not* attended to, the opposite of what it means for
    `scaled_dot_product_attention`; a floating mask is added to the scores.

    Args:
        embed_dim: As in `nn.MultiheadAttention`, like all the others.
        num_heads: Heads, which divide `embed_dim`.
        dropout: Share of the attention weights that is dropped in training.
        bias: Whether the projections have biases.
        kdim: Features of the keys, `embed_dim` by default.
        vdim: Features of the values, `embed_dim` by default.
        batch_first: Whether inputs are (N, L, E) rather than (L, N, E).

    Example:
        >>> old = nn.MultiheadAttention(16, 2, batch_first=True).eval()
        >>> new, x = ts.like(old, ts.SeparateAttention), torch.randn(3, 5, 16)
        >>> torch.allclose(old(x, x, x)[0], new(x, x, x)[0], atol=1e-6)
        True
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads don't divide embed_dim {embed_dim}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        made = {"bias": bias, "device": device, "dtype": dtype}
        self.q_proj = nn.Linear(embed_dim, embed_dim, **made)
        self.k_proj = nn.Linear(self.kdim, embed_dim, **made)
        self.v_proj = nn.Linear(self.vdim, embed_dim, **made)
        self.out_proj = nn.Linear(embed_dim, embed_dim, **made)

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
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal says of which kind attn_mask is: give both")
        alone = query.dim() == 2
        q, k, v = (self._batched(tensor, alone) for tensor in (query, key, value))
        heads = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        q, k, v = (split_in_heads(tensor, self.num_heads) for tensor in heads)
        mask = joint_mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        mixed, weights = attended(q, k, v, mask, dropout, q.shape[-1] ** -0.5, need_weights)
        answer: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if alone:
            return answer.squeeze(0), None if weights is None else weights.squeeze(0)
        return (answer if self.batch_first else answer.transpose(0, 1)), weights

    def _batched(self, tensor: Tensor, alone: bool) -> Tensor:
        return tensor.unsqueeze(0) if alone else tensor if self.batch_first else tensor.transpose(0, 1)


@config_rule(SeparateAttention)
def _config(layer: SeparateAttention) -> dict[str, Any]:
    names = ("embed_dim", "num_heads", "dropout", "kdim", "vdim", "batch_first")
    return {**{name: getattr(layer, name) for name in names}, "bias": layer.q_proj.bias is not None}


@conversion(nn.MultiheadAttention, SeparateAttention)
def separated(pair: Pair) -> Conversion:
    """The rows of the joint projection are those of the three."""
    extras = [name for name in ("add_bias_kv", "add_zero_attn") if pair.config.get(name)]
    if extras:
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made a {pair.new.__name__}: that has no {' and no '.join(extras)}.",
            got=extras,
            way_out="leave it as it is:  ts.select(model, nn.MultiheadAttention, bias_k=False)",
        )
    width = pair.config["embed_dim"]
    origins: dict[str, str | Origin] = {}
    for place, name in enumerate(_PROJECTIONS):
        joint = pair.old._parameters["in_proj_weight"] is not None
        origins[f"{name}.weight"] = _rows("in_proj_weight", place, width) if joint else f"{name}_weight"
        if pair.config["bias"]:
            origins[f"{name}.bias"] = _rows("in_proj_bias", place, width)
    return _account(pair, pair.carry({}, origins, Fidelity.EXACT))


def _account(pair: Pair, result: Conversion) -> Conversion:
    """What other arguments come to; a dropout draws other random numbers."""
    changed = {name for name, value in result.config.items() if pair.config.get(name, value) != value}
    if "batch_first" in changed:
        result = result.limited(Fidelity.APPROXIMATE, None, "time and batch are the other way round")
    if others := sorted(changed - {"batch_first", "dropout"}):
        result = result.limited(Fidelity.APPROXIMATE, None, f"another {' and '.join(others)}")
    drops = pair.config["dropout"] or result.config.get("dropout")
    same = not drops or (result.new is type(pair.old) and "dropout" not in changed)
    return result if same else result.limited(Fidelity.EXACT_IN_EVAL)


@conversion(nn.MultiheadAttention, nn.MultiheadAttention)
@conversion(SeparateAttention, SeparateAttention)
def same_attention(pair: Pair) -> Conversion:
    """With other arguments."""
    return _account(pair, pair.carry(fidelity=Fidelity.EXACT))


def _rows(source: str, place: int, width: int) -> Computed:
    def rows(tensor: Tensor) -> Tensor:
        return tensor[place * width : (place + 1) * width].clone()

    return Computed((source,), rows, f"rows {place * width}–{(place + 1) * width - 1} of {source}", per_entry=True)


@conversion(SeparateAttention, nn.MultiheadAttention)
def joined(pair: Pair) -> Conversion:
    """The other way round."""
    weights = tuple(f"{name}.weight" for name in _PROJECTIONS)
    apart = {pair.config["kdim"], pair.config["vdim"]} != {pair.config["embed_dim"]}
    origins: dict[str, str | Origin] = {f"{name}_weight": Same(f"{name}.weight") for name in _PROJECTIONS if apart}
    if not apart:
        origins["in_proj_weight"] = Computed(weights, _stacked, "the three, stacked")
    if pair.config["bias"]:
        origins["in_proj_bias"] = Computed(tuple(f"{name}.bias" for name in _PROJECTIONS), _stacked, "stacked")
    return _account(pair, pair.carry({}, origins, Fidelity.EXACT))


def _stacked(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors)
