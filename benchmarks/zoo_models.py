"""The models of the zoo benchmarks: how each is built, small where that can be chosen, and its inputs.

All weights are random; nothing is downloaded. The libraries are imported in functions, so that one that is not asked
for need not be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # positional, by keyword
IMPORTED = {
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers.modeling_utils",
    "with heads": "transformers.modeling_utils",
}


class Repeated(TorchDispatchMode):
    """Fills tensors with the same few random numbers over and over: most of the time would go into drawing them."""

    DRAWN = 65_536

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kind = func.overloadpacket.__name__
        if kind == "linalg_qr" and args[0].numel() > 16 * self.DRAWN:  # of rows that should be orthogonal: for minutes
            return args[0].clone(), args[0].new_ones(2 * (min(args[0].shape),))
        if kind not in ("normal_", "uniform_") or args[0].is_meta or args[0].numel() <= self.DRAWN:
            return func(*args, **(kwargs or {}))
        drawn = func(args[0].new_empty(self.DRAWN), *args[1:], **(kwargs or {}))
        for part in args[0].view(-1).split(self.DRAWN):
            part.copy_(drawn[: part.numel()])
        return args[0]


@dataclass(frozen=True)
class Subject:
    """One model of a library.

    Attributes:
        inputs: What it is given in eval, of the model.
        training: The same in train, where these must be others.
        wide: The model as wide as it was published, where `build` makes a narrow one.
    """

    library: str
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module], Inputs]
    training: Callable[[nn.Module], Inputs] | None = None
    wide: Callable[[], nn.Module] | None = None


def subjects(libraries: tuple[str, ...] = ("transformers", "timm", "torchvision")) -> Iterator[Subject]:
    """All models of the libraries; the quick ones first."""
    from zoo_transformers import of_transformers

    for library in libraries:
        yield from {"torchvision": of_torchvision, "timm": of_timm, "transformers": of_transformers}[library]()


def as_used() -> Iterator[Subject]:
    """As people use them: transformers with their heads; and pictures of the size that a model is made for."""
    from zoo_transformers import composed, with_heads

    yield from with_heads()
    yield from composed()
    yield from of_timm(number=1, most=4)
    yield from of_torchvision(small=False)


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


def of_torchvision(small: bool = True) -> Iterator[Subject]:
    """With small pictures; else of the models' own size, as far as that can be run in seconds."""
    for name, kind in torchvision_kinds().items():
        training = _detection_training if kind == "detection" else None
        shrunk = small or kind == "detection" or name == "vit_h_14"
        inputs = _classified_natively(name) if kind == "classification" and not shrunk else _KINDS[kind](name)
        yield Subject("torchvision", name, _torchvision(name, shrunk), inputs, training)


def torchvision_kinds() -> dict[str, str]:
    """Each of torchvision's models and what it is for; what is made to be quantized is for classification, too."""
    import torchvision.models as models

    kinds = {model: kind for kind in _KINDS for model in models.list_models(module=getattr(models, kind, models))}
    return {name: kinds.get(name, "classification") for name in models.list_models()}


def _torchvision(name: str, small: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision.models as models

        plain = {"weights": None, "weights_backbone": None} if "weights_backbone" in _takes(name) else {"weights": None}
        return models.get_model(name, **plain, **(_of_prefix(_SMALLER, name, {}) if small else {}))

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


def _classified_natively(name: str) -> Callable[[nn.Module], Inputs]:
    return lambda model: images(299 if name.endswith("inception_v3") else 224, 1)


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


_KINDS = {
    "classification": _classified,
    "video": _filmed,
    "detection": _detected,
    "optical_flow": _flowing,
    "segmentation": _classified,
}


# --- timm: of every family, the smallest as far as names tell; or of each architecture in it, as far as names tell that

_SMALLEST = re.split(
    " ", "test_ zepto atto femto pico nano xxtiny xtiny xxs xx_small _ti tiny xs mini small _s0 _b0 _t0 _m0 050 _s"
)
_LARGE = re.compile("large|huge|giant|_[0-9]+b_")
_LARGE_IMAGES = re.compile(r"(384|448|512|336|1024)$")

# Where names mislead: those with smaller images; and the number of blocks for what has only large ones.
_RATHER = {
    "mobilenetv5": "mobilenetv5_base",
    "hieradet_sam2": "hieradet_small",
    "vision_transformer_sam": "samvit_base_patch16_224",
}
_DEPTH = {"deepseek_vit_412m": 2, "gemma4_vit_167m": 2, "qwen3_vit_88m": 2}


def of_timm(number: int = 2, most: int = 1) -> Iterator[Subject]:
    """At most so many models of every family, each of another architecture."""
    import timm

    for module in timm.list_modules():
        for name in _of_family(module, timm.list_models(module=module))[:most]:
            yield Subject("timm", f"{module}: {name}", _timm(name), partial(_timm_images, number=number))


def _of_family(module: str, names: list[str]) -> list[str]:
    """The smallest of each architecture; the first is the smallest of all."""
    names = sorted(names, key=_size_by_name)
    first = [_RATHER[module]] if module in _RATHER else names[:1]
    found: dict[str, str] = {}
    for name in (*first, *(name for name in names if not _LARGE.search(name))):
        found.setdefault(_architecture(name), name)
    return list(found.values())


def _architecture(name: str) -> str:
    """The first word of a name: "seresnext" of "seresnext26d_32x4d"."""
    return re.split(r"[^a-z]", name.removeprefix("test_"), maxsplit=1)[0]


def _size_by_name(name: str) -> tuple[bool, int, int, str]:
    rank = next((i for i, word in enumerate(_SMALLEST) if word in name), len(_SMALLEST))
    return bool(_LARGE_IMAGES.search(name)), rank, len(name), name


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **({"depth": _DEPTH[name]} if name in _DEPTH else {}))

    return build


def _timm_images(model: nn.Module, number: int) -> Inputs:
    told: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    channels, *size = told["input_size"]
    # Whole patches of 14 and of 16 fit into 224.
    size = size if told.get("fixed_input_size") or max(size) <= 256 else [224, 224]
    return (torch.randn(number, channels, *size),), {}
