"""What a model is called with: as the user says, or found out from what the model says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .errors import TraceError
from .flow import Flow, IsLeaf, follow

Arguments: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"

# What is tried for the axes behind the channels, small ones first: by the number of axes.
_SIZES: Mapping[int, Sequence[int]] = {1: (1024, 16000, 128), 2: (64, 224, 299, 32, 28, 256), 3: (32, 64, 16)}
_TOKENS = 8


def followed(
    model: nn.Module, example_inputs: Any = None, *, train: bool = False, is_leaf: IsLeaf | None = None
) -> Flow:
    """Run the model on these inputs, or on some that it takes, and see which layers feed which; see `flow.follow`.

    Args:
        model: Any module.
        example_inputs: What it is called with: a tensor, a tuple of positional or a dict of keyword arguments. By
            default what the model's configuration or its first layer asks for is tried.
        train: Whether to run it in train mode.
        is_leaf: Which modules are taken as one layer.

    Raises:
        TraceError: if the model can't be run on them, or no inputs are found.
    """
    if example_inputs is not None:
        args, kwargs = arguments_of(example_inputs)
        return follow(model, args, kwargs, train=train, is_leaf=is_leaf)
    tried: list[TraceError] = []
    for args, kwargs in guesses(model):
        try:
            return follow(model, args, kwargs, train=train, is_leaf=is_leaf)
        except TraceError as error:
            tried.append(error)
    raise _not_found(model, tried)


def arguments_of(example_inputs: Any) -> Arguments:
    """Positional and keyword arguments, from what a user gives as inputs."""
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    return (tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)), {}


def not_taken(model: nn.Module, name: str, error: Exception, argument: str) -> TraceError:
    """The error for a model that fails on what it is called with.

    Args:
        model: The model.
        name: Where in it.
        error: What it raised.
        argument: The argument by which the user has given the inputs.
    """
    place = f"{name} of {type(model).__name__}" if name else type(model).__name__
    first = str(error).strip().partition("\n")[0][:200]
    return TraceError(
        f"{place} fails on these inputs: {type(error).__name__}: {first}",
        name=name,
        got=error,
        way_out=f"give {argument} that the model takes as it is:  model(*inputs)",
    )


def _not_found(model: nn.Module, tried: Sequence[TraceError]) -> TraceError:
    name = type(model).__name__
    causes = list(dict.fromkeys(line for error in tried for line in str(error).split("\n")[:2]))
    return TraceError(
        f"no inputs were found that {name} takes; {len(tried)} were tried.",
        *(line.strip() for line in causes[:4]),
        name="",
        way_out="give some:  example_inputs=torch.randn(1, 3, 224, 224)",
    )


# --- what a model may take


def guesses(model: nn.Module) -> Iterator[Arguments]:
    """Arguments that the model may take, the likeliest first."""
    reference = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.empty(0))
    yield from _of_timm(model, reference)
    yield from _of_transformers(model, reference)
    yield from _of_first_layer(model, reference)


def _filled(shape: Sequence[int], reference: Tensor) -> Tensor:
    # The same numbers each time, drawn from nobody's generator.
    count = torch.Size(shape).numel()
    values = torch.sin(torch.arange(count, dtype=torch.float64) * 12.9898).reshape(tuple(shape))
    return values.to(reference.device, reference.dtype)


def _of_timm(model: nn.Module, reference: Tensor) -> Iterator[Arguments]:
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, attribute, None)
        size = config.get("input_size") if isinstance(config, Mapping) else getattr(config, "input_size", None)
        if isinstance(size, Sequence) and len(size) == 3:
            channels = _channels(model) or size[0]
            yield (_filled((1, channels, *size[1:]), reference),), {}


def _of_transformers(model: nn.Module, reference: Tensor) -> Iterator[Arguments]:
    config, name = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if config is None or not isinstance(name, str):
        return
    tokens = torch.ones(1, _TOKENS, dtype=torch.long, device=reference.device)
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if name == "pixel_values":
        for side in (size, *_SIZES[2]) if size is not None else _SIZES[2]:
            sides = tuple(side) if isinstance(side, Sequence) else (side, side)
            yield (), {name: _filled((1, channels, *sides), reference)}
    if name == "input_values":
        yield (), {name: _filled((1, 16000), reference)}
    if name == "input_features":
        bins = getattr(config, "num_mel_bins", 80)
        for shape in ((1, bins, 2 * getattr(config, "max_source_positions", 50)), (1, 100, bins)):
            yield (), {name: _filled(shape, reference)}
            yield (), {name: _filled(shape, reference), "decoder_input_ids": tokens}
    for more in ({}, {"decoder_input_ids": tokens}):
        yield (), {"input_ids": tokens, **more}


def _first(model: nn.Module) -> nn.Module | None:
    """The first layer with a weight, in the order in which the model was written."""
    return next((m for m in model.modules() if not m._modules and any(True for _ in m.parameters())), None)


def _channels(model: nn.Module) -> int | None:
    channels = getattr(_first(model), "in_channels", None)
    return channels if isinstance(channels, int) else None


def _of_first_layer(model: nn.Module, reference: Tensor) -> Iterator[Arguments]:
    first = _first(model)
    if isinstance(first, (nn.Embedding, nn.EmbeddingBag)):
        yield (torch.zeros(1, _TOKENS, dtype=torch.long, device=reference.device),), {}
    if (width := getattr(first, "in_features", None) or getattr(first, "input_size", None)) and isinstance(width, int):
        for shape in ((2, width), (1, _TOKENS, width)):
            yield (_filled(shape, reference),), {}
    kernel = getattr(first, "kernel_size", None)
    axes = len(kernel) if isinstance(kernel, tuple) else 0
    if (channels := _channels(model)) and axes in _SIZES:
        for size in _SIZES[axes]:
            yield (_filled((1, channels, *[size] * axes), reference),), {}
        yield ([_filled((channels, *[224] * axes), reference)],), {}
    if _channels(model) == 1:  # a sound as it is, which the model cuts or lays out itself
        for size in _SIZES[1]:
            yield (_filled((2, size), reference),), {}
    norm = getattr(first, "num_features", None) or getattr(first, "num_channels", None)
    if isinstance(norm, int):
        for rank in (2, 0, 1, 3):
            yield (_filled((2, norm, *[32] * rank), reference),), {}
