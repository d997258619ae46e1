"""Constructor arguments of transformers, which keep few of theirs: the rest is read off their layers.

Encoders and decoders are made of clones of one layer, so they can be rebuilt while their layers agree.
"""

from __future__ import annotations

import itertools
from typing import Any

from torch import nn

from .comparing import Differs
from .config import config_rule


def _layer(layer: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) -> dict[str, Any]:
    return {
        "d_model": layer.self_attn.out_proj.weight.shape[0],
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.weight.shape[0],
        "dropout": layer.dropout.p,
        "activation": layer.activation,
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    }


config_rule(nn.TransformerEncoderLayer)(_layer)
config_rule(nn.TransformerDecoderLayer)(_layer)


@config_rule(nn.TransformerEncoder, stale=("num_layers",))
def _encoder(encoder: nn.TransformerEncoder) -> dict[str, Any]:
    return {
        "encoder_layer": _first(encoder),
        "num_layers": len(encoder.layers),
        "norm": encoder.norm,
        "enable_nested_tensor": encoder.enable_nested_tensor,
        "mask_check": encoder.mask_check,
    }


@config_rule(nn.TransformerDecoder, stale=("num_layers",))
def _decoder(decoder: nn.TransformerDecoder) -> dict[str, Any]:
    return {"decoder_layer": _first(decoder), "num_layers": len(decoder.layers), "norm": decoder.norm}


def _first(stack: nn.TransformerEncoder | nn.TransformerDecoder) -> nn.Module:
    if not len(stack.layers):
        raise Differs("it has no layers left that it could be made of clones of")
    layer: nn.Module = stack.layers[0]
    return layer


@config_rule(nn.Transformer)
def _transformer(model: nn.Transformer) -> list[dict[str, Any]]:
    """With layers of the standard kind where they are, or else with the encoder and the decoder as they are."""
    own = {"d_model": model.d_model, "nhead": model.nhead, "batch_first": model.batch_first}
    encoders = [*_standard(model.encoder, "num_encoder_layers"), {"custom_encoder": model.encoder}]
    decoders = [*_standard(model.decoder, "num_decoder_layers"), {"custom_decoder": model.decoder}]
    pairs = itertools.product(encoders, decoders)
    return [own | encoder | decoder for encoder, decoder in pairs if _agree(encoder, decoder)]


def _standard(stack: Any, count: str) -> list[dict[str, Any]]:
    if type(stack) not in (nn.TransformerEncoder, nn.TransformerDecoder) or not len(stack.layers):
        return []
    found = _layer(stack.layers[0])
    kept = ("dim_feedforward", "dropout", "activation", "layer_norm_eps", "norm_first", "bias")
    return [{count: len(stack.layers)} | {name: found[name] for name in kept}]


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] is other[name] or one[name] == other[name] for name in one.keys() & other.keys())
