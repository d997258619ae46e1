"""The transformers library's part of the zoo: a tiny network of each of these architectures, without and with heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from zoo_models import Inputs, Subject

_TEXT = """
    albert bamba bart bert bert-generation big_bird bigbird_pegasus blenderbot bloom camembert canine codegen cohere
    convbert ctrl deberta deberta-v2 distilbert electra ernie esm falcon fnet gemma gemma2 gemma3_text glm gpt2
    gpt_bigcode gpt_neo gpt_neox gptj granite gpt_oss helium ibert layoutlm led lfm2 llama longformer longt5 m2m_100
    mamba mamba2 marian mbart megatron-bert mistral mixtral mobilebert modernbert mpnet mpt mvp nemotron
    nystromformer olmo olmo2 opt pegasus persimmon phi phi3 plbart prophetnet qwen2 qwen2_moe qwen3 qwen3_moe
    recurrent_gemma reformer rembert roberta roc_bert roformer rwkv smollm3 splinter squeezebert stablelm starcoder2
    switch_transformers t5 umt5 xglm xlm xlm-roberta xlnet xmod yoso
"""
_VISION = """
    beit convnext convnextv2 cvt data2vec-vision deit dinov2 focalnet levit mobilenet_v2 mobilevit poolformer pvt
    regnet resnet segformer swiftformer swin swinv2 vit vit_mae vit_msn
"""
_SOUND = "hubert sew unispeech wav2vec2 wavlm"

_TINY: dict[str, Any] = {
    **{"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 0},
    **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
}
_SOUND_TINY = {"conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2}
# What an architecture asks for beside that; None takes one of the arguments away.
_FURTHER: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 4, "mamba_d_head": 16, "attn_layer_indices": [1]},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "big_bird": {"attention_type": "original_full"},
    "codegen": {"rotary_dim": 8},
    "ctrl": {"dff": 64},
    "distilbert": {"hidden_dim": 64},
    "esm": {"position_embedding_type": "rotary"},
    "gptj": {"rotary_dim": 8},
    "helium": {"head_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "longformer": {"attention_window": 8},
    "mobilebert": {"embedding_size": 32},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "plbart": {"encoder_attention_heads": 4, "decoder_attention_heads": 4},
    "prophetnet": {"num_hidden_layers": None, "num_encoder_layers": 2, "num_decoder_layers": 2},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "gpt_oss": {"num_local_experts": 4},
    "recurrent_gemma": {"lru_width": 32, "use_cache": False, "num_hidden_layers": 3},
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (4, 4), "attn_layers": ["local", "local"]},
    "roc_bert": {"pronunciation_vocab_size": 96, "shape_vocab_size": 96},
    "squeezebert": {"embedding_size": 32},
    "xlnet": {"max_position_embeddings": None, "d_inner": 64, "d_head": 8},
    "xmod": {"languages": ("en_XX",), "default_language": "en_XX"},
}


def of_transformers() -> Iterator[Subject]:
    for name in _TEXT.split():
        yield Subject("transformers", name, _transformer(name), _text)
    for name in _VISION.split():
        yield Subject("transformers", name, _transformer(name), _pictures)
    for name in _SOUND.split():
        yield Subject("transformers", name, _transformer(name), _sound)


# Heads in the order in which they are looked for, and the classes that have them.
_HEADS = {
    "SEQ_TO_SEQ_CAUSAL_LM": "AutoModelForSeq2SeqLM",
    "MASKED_LM": "AutoModelForMaskedLM",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "IMAGE_CLASSIFICATION": "AutoModelForImageClassification",
    "AUDIO_CLASSIFICATION": "AutoModelForAudioClassification",
}


def with_heads() -> Iterator[Subject]:
    """The same with the head of its task: what it answers isn't as wide as the network inside."""
    from transformers.models.auto import modeling_auto

    known = {auto: getattr(modeling_auto, f"MODEL_FOR_{head}_MAPPING_NAMES") for head, auto in _HEADS.items()}
    for subject in of_transformers():
        auto = next((auto for auto, names in known.items() if subject.name in names), None)
        if auto is not None:
            build = _transformer(subject.name, auto)
            head = auto.removeprefix("AutoModel")
            # Those of convolutions are as wide as published in any case.
            wide = _as_published(subject.name, auto) if _tiny(subject.name) else None
            yield Subject("with heads", f"{subject.name} {head}", build, subject.inputs, wide=wide)


def _transformer(name: str, auto: str = "AutoModel") -> Callable[[], nn.Module]:
    return _of_config(name, auto, _tiny(name) | _FURTHER.get(name, {}))


# What of `_FURTHER` has nothing to do with widths, so that an architecture asks for it at any.
_AT_ANY_WIDTH = """
    attn_layer_indices attention_type attention_types position_embedding_type attention_window attn_layers languages
    default_language use_cache num_hidden_layers num_encoder_layers num_decoder_layers axial_pos_shape
    pronunciation_vocab_size shape_vocab_size
"""


def _as_published(name: str, auto: str) -> Callable[[], nn.Module]:
    """As wide as the architecture's own configuration says, of two layers and few words."""
    tiny, kept = _tiny(name), {"vocab_size", "pad_token_id", "num_hidden_layers"}
    arguments = {key: value for key, value in tiny.items() if key in kept}
    further = {key: value for key, value in _FURTHER.get(name, {}).items() if key in _AT_ANY_WIDTH.split()}
    return _of_config(name, auto, arguments | further | _PUBLISHED.get(name, {}))


# Where a configuration has no number of its own for what it asks for.
_PUBLISHED: dict[str, dict[str, Any]] = {"nemotron": {"num_key_value_heads": 8}}


def _of_config(name: str, auto: str, given: dict[str, Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        arguments = {key: value for key, value in given.items() if value is not None}
        config = transformers.AutoConfig.for_model(name, **arguments)
        config.architectures = []  # where one class name has two heads, it is asked for and must be a list
        return getattr(transformers, auto).from_config(config)

    return build


def _tiny(name: str) -> dict[str, Any]:
    if name in _SOUND.split():
        return _TINY | _SOUND_TINY
    if name in _VISION.split():
        columnar = {"beit", "data2vec-vision", "deit", "dinov2", "vit", "vit_mae", "vit_msn"}
        return {**_TINY, "image_size": 32, "patch_size": 8} if name in columnar else {}
    return _TINY


def _text(model: nn.Module) -> Inputs:
    tokens = torch.randint(5, 90, (2, 16))
    further = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    if model.config.model_type in ("led", "longformer"):
        # As both are used: the first token attends to all others and they to it, by projections of its own.
        further["global_attention_mask"] = torch.zeros_like(tokens)
        further["global_attention_mask"][:, 0] = 1
    return (), {"input_ids": tokens, **further}


def _pictures(model: nn.Module) -> Inputs:
    size = getattr(model.config, "image_size", 64)
    return (), {"pixel_values": torch.randn(2, 3, size, size)}


def _sound(model: nn.Module) -> Inputs:
    return (), {"input_values": torch.randn(2, 800)}


# --- networks of several networks

_READS = {**_TINY, "eos_token_id": 2, "bos_token_id": 1}
_SEES = {key: _TINY[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
_SEES |= {"image_size": 32, "patch_size": 8}
_D_MODEL = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
_D_MODEL |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
_WHISPER = _D_MODEL | {"vocab_size": 96, "num_mel_bins": 16, "max_source_positions": 32, "max_target_positions": 32}
_WHISPER |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def composed() -> Iterator[Subject]:
    """Networks of several networks, which ask for configurations and inputs of their own."""
    for name, (build, inputs) in _COMPOSED.items():
        yield Subject("with heads", name, build, inputs)


def _clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=_READS, vision_config=_SEES, projection_dim=16))


def _siglip() -> nn.Module:
    from transformers import SiglipConfig, SiglipModel

    return SiglipModel(SiglipConfig(text_config=_READS, vision_config=_SEES))


def _whisper() -> nn.Module:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    return WhisperForConditionalGeneration(WhisperConfig(**_WHISPER, suppress_tokens=[], begin_suppress_tokens=[]))


def _backbone() -> Any:
    from transformers import ResNetConfig

    return ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage4"])


def _detr() -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection

    plain = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "num_queries": 8}
    return DetrForObjectDetection(DetrConfig(**_D_MODEL, **plain, backbone_config=_backbone()))


def _swin() -> dict[str, Any]:
    return {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2], "image_size": 64, "window_size": 2}


def _mask2former() -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    stages = SwinConfig(**_swin(), out_features=["stage1", "stage2", "stage3", "stage4"])
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 64}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "num_attention_heads": 4, "dim_feedforward": 64}
    return Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(backbone_config=stages, **sizes, **layers, num_queries=8)
    )


def _yolos() -> nn.Module:
    from transformers import YolosConfig, YolosForObjectDetection

    return YolosForObjectDetection(YolosConfig(**{**_SEES, "image_size": [32, 32]}, num_detection_tokens=8))


def _dpt() -> nn.Module:
    from transformers import DPTConfig, DPTForDepthEstimation

    outer = {"neck_hidden_sizes": [16, 16, 16, 16], "fusion_hidden_size": 16, "backbone_out_indices": [0, 1, 2, 3]}
    return DPTForDepthEstimation(DPTConfig(**{**_SEES, "num_hidden_layers": 4, **outer}))


def _words_and_picture(model: nn.Module) -> Inputs:
    return (), {"input_ids": torch.randint(5, 90, (2, 16)), "pixel_values": torch.randn(2, 3, 32, 32)}


def _spectrum(model: nn.Module) -> Inputs:
    return (), {"input_features": torch.randn(2, 16, 64), "decoder_input_ids": torch.randint(5, 90, (2, 8))}


def _picture_of(size: int) -> Callable[[nn.Module], Inputs]:
    return lambda model: ((), {"pixel_values": torch.randn(2, 3, size, size)})


_COMPOSED: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Inputs]]] = {
    "clip": (_clip, _words_and_picture),
    "siglip": (_siglip, _words_and_picture),
    "whisper": (_whisper, _spectrum),
    "detr": (_detr, _picture_of(64)),
    "mask2former": (_mask2former, _picture_of(64)),
    "yolos": (_yolos, _picture_of(32)),
    "dpt": (_dpt, _picture_of(32)),
}
