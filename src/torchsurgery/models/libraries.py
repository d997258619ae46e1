"""torchvision and timm: their lists of models, asked only when a reference names them."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SourceError
from .references import close_names

# Packages whose models can be had by the extra; what else is missing is the user's own.
_EXTRA = ("torchvision", "timm", "transformers")
_OFFLINE = (
    "URLError",
    "ConnectionError",
    "ConnectError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "gaierror",
)


def library(name: str, reference: str) -> ModuleType:
    """An optional package, or the error that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise missing(reference, error.name or name) from error


def missing(reference: str, package: str) -> SourceError:
    """The error for a package that isn't installed."""
    known = package.partition(".")[0] in _EXTRA
    return SourceError(
        f"{reference} needs {package}, which is not installed.",
        got=reference,
        expected=package,
        way_out="pip install torchsurgery[models]" if known else f"install the package that has {package}",
    )


def unreachable(error: BaseException) -> Sequence[str]:
    """What to say of an error that comes of the network, of which libraries tell in several layers."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in _OFFLINE:
            return ("the pretrained weights or the configuration couldn't be fetched: is the network reachable?",)
        seen = seen.__cause__ or seen.__context__
    return ()


# --- torchvision


def of_torchvision(name: str) -> Callable[..., nn.Module]:
    """The builder of a torchvision model; nothing is fetched unless `weights` or `weights_backbone` ask for it."""
    models = library("torchvision", f"torchvision:{name}").models
    known = models.list_models()
    if name not in known:
        raise _misspelt("torchvision", name, known)
    builder = models.get_model_builder(name)
    takes = inspect.signature(builder).parameters
    preset: dict[str, Any] = {}
    if "weights_backbone" in takes:
        preset["weights_backbone"] = None
    # What these two do by default, said aloud, as they warn otherwise.
    if name in ("googlenet", "inception_v3"):
        preset["init_weights"] = True
    return _with_presets(builder, preset)


def _with_presets(builder: Callable[..., nn.Module], preset: dict[str, Any]) -> Callable[..., nn.Module]:
    @functools.wraps(builder)
    def build(**arguments: Any) -> nn.Module:
        asked = arguments.get("weights") is not None
        return builder(**({} if asked else preset) | arguments)

    return build


def usual_inputs(name: str, model: nn.Module) -> Tensor | None:
    """One image, or clip, of the size that a torchvision classifier's weights were trained for; zeros."""
    models = importlib.import_module("torchvision").models
    size = next(_crop_sizes(models.get_model_weights(name)), None)
    first = next((m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)), None)
    if size is None or first is None:
        return None
    volume = (16,) if isinstance(first, nn.Conv3d) else ()
    reference = next(model.parameters(), torch.empty(0))
    return torch.zeros(1, first.in_channels, *volume, *size, dtype=reference.dtype, device=reference.device)


def _crop_sizes(weights: Any) -> Iterator[tuple[int, int]]:
    for entry in weights:
        crop = getattr(entry.transforms(), "crop_size", None)
        if isinstance(crop, Sequence) and crop:
            yield (crop[0], crop[-1])


# --- timm


def of_timm(name: str) -> Callable[..., nn.Module]:
    """The builder of a timm model, without pretrained weights unless `pretrained=True` asks for them."""
    timm = library("timm", f"timm:{name}")
    plain, _, tag = name.partition(".")
    known = timm.list_models()
    if plain not in known:
        raise _misspelt("timm", name, known)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{plain}.*")] if tag else []
    if tag and tag not in tags:
        raise SourceError(
            f"timm:{plain} has no weights tagged {tag}.",
            f"its tags are {', '.join(tags)}" if tags else "it has no pretrained weights",
            got=tag,
            expected=tags,
            way_out=f"for random weights leave the tag out:  timm:{plain}",
        )
    return functools.partial(timm.create_model, name)


def _misspelt(source: str, name: str, known: Sequence[str]) -> SourceError:
    close = close_names(name, known)
    elsewhere = [other for other in candidates(name) if not other.startswith(source)]
    rows = [f"closest names: {', '.join(close)}"] if close else []
    rows += [f"there is {', '.join(elsewhere)}"] if elsewhere else []
    best = elsewhere[0] if elsewhere else f"{source}:{close[0]}" if close else None
    way_out = f"write  {best}" if best else f"see what there is:  python -c 'import {source}; help({source}.models)'"
    return SourceError(
        f"{source} has no model {name} ({len(known)} models).",
        *rows,
        name=name,
        expected=close,
        got=name,
        way_out=way_out,
    )


def candidates(name: str) -> list[str]:
    """References with this very name in the libraries that are installed."""
    return [f"{source}:{name}" for source, known in _installed() if _plain(name, source) in known]


def alike(name: str) -> list[str]:
    """References with a name much like this one in the libraries that are installed."""
    return [f"{source}:{close}" for source, known in _installed() for close in close_names(name, known, most=2)]


def _plain(name: str, source: str) -> str:
    """The name without the tag of its weights, which timm's may have."""
    return name.partition(".")[0] if source == "timm" else name


def _installed() -> Iterator[tuple[str, list[str]]]:
    for source in ("torchvision", "timm"):
        if importlib.util.find_spec(source) is not None:
            module = importlib.import_module(source)
            yield source, module.models.list_models() if source == "torchvision" else module.list_models()
