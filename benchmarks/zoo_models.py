"""The models that zoo_layers.py takes apart: how each is built, small where that can be chosen, and its inputs.

All weights are random; nothing is downloaded. The libraries are imported in functions, so that one that is not asked
for need not be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # positional, by keyword


@dataclass(frozen=True)
class Subject:
    """One model of a library: `inputs(model)` are for eval, `training(model)` for train where these must be others."""

    library: str
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module], Inputs]
    training: Callable[[nn.Module], Inputs] | None = None


def subjects(libraries: tuple[str, ...] = ("transformers", "timm", "torchvision")) -> Iterator[Subject]:
    """All models of the libraries; the quick ones first."""
    for library in libraries:
        yield from {"torchvision": of_torchvision, "timm": of_timm, "transformers": of_transformers}[library]()


def images(size: int | tuple[int, ...], number: int = 2) -> Inputs:
    """A batch of images, or of videos where `size` says (frames, height, width)."""
    shape = (size, size) if isinstance(size, int) else size
    return (torch.randn(number, 3, *shape),), {}


# --- torchvision: every model that it lists

# What can't do with an image of 64×64; and arguments that make a model take a small one.
_SIZES = {"inception_v3": 299, "googlenet": 96, "maxvit_t": 224}
_SMALL_IMAGES = {"min_size": 96, "max_size": 128}
_FEW_REGIONS = {"rpn_post_nms_top_n_train": 32, "rpn_post_nms_top_n_test": 32, "box_detections_per_img": 8}
_SMALLER: dict[str, dict[str, Any]] = {
    "vit_h_14": {"image_size": 56},
    "vit_": {"image_size": 64},
    "maxvit_t": {"input_size": (224, 224)},
    **{name: _SMALL_IMAGES for name in ("retinanet", "fcos")},
    **{name: _SMALL_IMAGES | _FEW_REGIONS for name in ("fasterrcnn", "maskrcnn", "keypointrcnn")},
}
_FRAMES = {"s3d": (16, 224, 224), "mvit_v1_b": (16, 224, 224), "mvit_v2_s": (16, 224, 224)}


def of_torchvision() -> Iterator[Subject]:
    import torchvision.models as models

    kinds = {model: kind for kind in _KINDS for model in models.list_models(module=getattr(models, kind))}
    for name in models.list_models():
        kind = kinds.get(name, "classification")
        training = _detection_training if kind == "detection" else None
        yield Subject("torchvision", name, _torchvision(name), _KINDS.get(kind, _classified)(name), training)


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision.models as models

        plain = {"weights": None, "weights_backbone": None} if "weights_backbone" in _takes(name) else {"weights": None}
        return models.get_model(name, **plain, **_of_prefix(_SMALLER, name, {}))

    return build


def _takes(name: str) -> tuple[str, ...]:
    import inspect

    import torchvision.models as models

    return tuple(inspect.signature(models.get_model_builder(name)).parameters)


def _of_prefix(table: dict[str, Any], name: str, default: Any) -> Any:
    return next((value for prefix, value in table.items() if name.startswith(prefix)), default)


def _classified(name: str) -> Callable[[nn.Module], Inputs]:
    size = 56 if name == "vit_h_14" else _of_prefix(_SIZES, name.removeprefix("quantized_"), 64)
    return lambda model: images(size)


def _filmed(name: str) -> Callable[[nn.Module], Inputs]:
    return lambda model: images(_FRAMES.get(name, (8, 64, 64)))


def _detected(name: str) -> Callable[[nn.Module], Inputs]:
    return lambda model: (([torch.rand(3, 96, 96), torch.rand(3, 80, 112)],), {})


def _flowing(name: str) -> Callable[[nn.Module], Inputs]:
    return lambda model: ((torch.randn(2, 3, 128, 128), torch.randn(2, 3, 128, 128)), {"num_flow_updates": 2})


def _detection_training(model: nn.Module) -> Inputs:
    (pictures,), _ = _detected("")(model)
    return (pictures, [_target(), _target()]), {}


def _target() -> dict[str, Tensor]:
    masks = torch.zeros(1, 80, 96, dtype=torch.uint8)
    masks[:, 10:60, 10:70] = 1
    points = torch.tensor([[[20.0, 30.0, 1.0]] * 17])
    boxes, labels = torch.tensor([[10.0, 10.0, 70.0, 60.0]]), torch.ones(1, dtype=torch.int64)
    return {"boxes": boxes, "labels": labels, "masks": masks, "keypoints": points}


_KINDS = {"video": _filmed, "detection": _detected, "optical_flow": _flowing, "segmentation": _classified}


# --- timm: of every family, the smallest as far as names tell

_SMALLEST = re.split(
    " ", "test_ zepto atto femto pico nano xxtiny xtiny xxs xx_small _ti tiny xs mini small _s0 _b0 _t0 _m0 050 _s"
)
_LARGE_IMAGES = re.compile(r"(384|448|512|336|1024)$")

# Where names mislead: those with smaller images; and the number of blocks for what has only large ones.
_RATHER = {
    "mobilenetv5": "mobilenetv5_base",
    "hieradet_sam2": "hieradet_small",
    "vision_transformer_sam": "samvit_base_patch16_224",
}
_DEPTH = {"deepseek_vit_412m": 2, "gemma4_vit_167m": 2, "qwen3_vit_88m": 2}


def of_timm() -> Iterator[Subject]:
    import timm

    for module in timm.list_modules():
        if names := timm.list_models(module=module):
            name = _RATHER.get(module, min(names, key=_size_by_name))
            yield Subject("timm", f"{module}: {name}", _timm(name), _timm_images)


def _size_by_name(name: str) -> tuple[bool, int, int, str]:
    rank = next((i for i, word in enumerate(_SMALLEST) if word in name), len(_SMALLEST))
    return bool(_LARGE_IMAGES.search(name)), rank, len(name), name


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **({"depth": _DEPTH[name]} if name in _DEPTH else {}))

    return build


def _timm_images(model: nn.Module) -> Inputs:
    told: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    channels, *size = told["input_size"]
    size = size if told.get("fixed_input_size") else [min(256, side) for side in size]
    return (torch.randn(2, channels, *size),), {}


# --- transformers: a tiny network of each of these architectures

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
        yield Subject("transformers", name, _transformer(name, _TINY), _text)
    for name in _VISION.split():
        yield Subject("transformers", name, _transformer(name, _seeing(name)), _pictures)
    for name in _SOUND.split():
        yield Subject("transformers", name, _transformer(name, _TINY | _SOUND_TINY), _sound)


def _seeing(name: str) -> dict[str, Any]:
    columnar = {"beit", "data2vec-vision", "deit", "dinov2", "vit", "vit_mae", "vit_msn"}
    return {**_TINY, "image_size": 32, "patch_size": 8} if name in columnar else {}


def _transformer(name: str, tiny: dict[str, Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from transformers import AutoConfig, AutoModel

        arguments = {key: value for key, value in (tiny | _FURTHER.get(name, {})).items() if value is not None}
        return AutoModel.from_config(AutoConfig.for_model(name, **arguments))

    return build


def _text(model: nn.Module) -> Inputs:
    tokens = torch.randint(5, 90, (2, 16))
    decoder = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    return (), {"input_ids": tokens, **decoder}


def _pictures(model: nn.Module) -> Inputs:
    size = getattr(model.config, "image_size", 64)
    return (), {"pixel_values": torch.randn(2, 3, size, size)}


def _sound(model: nn.Module) -> Inputs:
    return (), {"input_values": torch.randn(2, 800)}
