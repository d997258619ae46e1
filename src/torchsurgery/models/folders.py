"""Hugging Face models: by their name on the hub, or from a folder with a config.json."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import SourceError
from .libraries import library

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def of_hub(name: str, revision: str) -> Callable[..., nn.Module]:
    """The builder of a model on the hub: its configuration is fetched, and with `pretrained=True` its weights."""
    if Path(name).is_dir() and not revision:
        return of_folder(name)
    if name.startswith((".", "/", "~")):
        raise SourceError(f"there is no folder {name}.", got=name, way_out="give its path from where you are")
    return functools.partial(_build, name, revision or None, False)


def of_folder(path: str) -> Callable[..., nn.Module]:
    """The builder of a model that lies in a folder, with its weights where they are there.

    Raises:
        SourceError: if the folder has no configuration that can be read.
    """
    folder = Path(path)
    config = folder / "config.json"
    if (folder / "COMMIT.json").is_file():
        raise SourceError(
            f"{path} is a saved surgery.", got=path, way_out=f"load it onto its base:  ts.load({path!r}, base=…)"
        )
    if not config.is_file():
        raise SourceError(
            f"{path} has no config.json: it is no Hugging Face model.",
            got=path,
            way_out="for a model of your own give its builder:  path/file.py:build",
        )
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(
            f"{config} can't be read: {error}.",
            got=path,
            way_out="write it anew:  model.config.save_pretrained(folder)",
        ) from error
    has_weights = any(next(folder.glob(pattern), None) for pattern in _WEIGHTS)
    return functools.partial(_build, path, None, has_weights, local_files_only=True)


def _build(name: str, revision: str | None, pretrained: bool, /, **arguments: Any) -> nn.Module:
    transformers = library("transformers", f"hf:{name}")
    if arguments.pop("trust_remote_code", False):
        raise SourceError(
            f"hf:{name}: code from the hub is not run.",
            got="trust_remote_code",
            way_out="read it, put it into a file of your own, and give  path/file.py:build",
        )
    pretrained = arguments.pop("pretrained", pretrained)
    local = arguments.pop("local_files_only", False)
    with _quietly():
        config = transformers.AutoConfig.from_pretrained(name, revision=revision, local_files_only=local, **arguments)
        kind = _class_of(transformers, config)
        if pretrained:
            model: nn.Module = kind.from_pretrained(name, config=config, revision=revision, local_files_only=local)
            return model
    model = kind.from_config(config) if kind is transformers.AutoModel else kind(config)
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """A block in which tries that fail are not told one by one: the error at the end says it once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _class_of(transformers: Any, config: Any) -> Any:
    """The class that the configuration names, with its head; else the bare model."""
    for name in config.architectures or ():
        kind = getattr(transformers, name, None)
        if isinstance(kind, type) and issubclass(kind, nn.Module):
            return kind
    return transformers.AutoModel
