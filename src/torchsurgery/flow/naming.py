"""The tensors in what a model is called with and answers, each with the path to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from ..checks.observing import tensors_in


def named_inputs(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a model is called with, under the names of a flow's inputs."""
    yield from bound_inputs(model.forward, args, kwargs)


def bound_inputs(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """As `named_inputs`, of a forward."""
    try:
        bound = inspect.signature(forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {f"argument {i}": value for i, value in enumerate(args)} | dict(kwargs)
    for name, value in bound.items():
        yield from named_tensors(name, value)


def named_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a model's input or output, each with the path to it: `output.logits`, `output[0]`."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from named_tensors(f"{name}[{i}]", item)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from named_tensors(f"{name}.{part.name}", getattr(value, part.name, None))
    else:
        yield from ((name, tensor) for tensor in tensors_in(value))
