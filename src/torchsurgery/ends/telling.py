"""What both ends have in common: attributes that tell a number, and the altered model run once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from ..edits import Resize
from ..errors import PlanError, TraceError

# Under these names models tell how many channels they take, and how many classes they tell.
CHANNELS = ("in_channels", "in_chans", "num_channels", "n_channels", "input_channels", "num_mel_bins")
CLASSES = ("num_classes", "num_labels", "n_classes", "nb_classes", "num_columns")


class Unclear(Exception):
    """Why the way from or to an end can't be followed."""


def refuse_no_number(number: object, what: str, example: str) -> None:
    """Raise if what should be a number of channels is none."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise PlanError(f"{what} must be a whole number of at least 1, got {number!r}.", got=number, way_out=example)


def by_hand(layers: Sequence[tuple[str, nn.Module]], features: str, channels: str, number: int) -> str:
    """How to change a layer by its name, the first one of these that says how wide it is."""
    for name, layer in layers:
        kind = type(layer).__name__
        word = next((word for word in (features, channels) if word in vars(layer)), None)
        if word is not None and type(layer) is getattr(nn, kind, None):
            return f"change the layer that you mean:  ts.replace(model, {name!r}, nn.{kind}, {word}={number})"
    return "change the layers that you mean yourself:  ts.replace(model, …)"


def attributes_told(
    model: nn.Module, names: Sequence[str], words: Sequence[str], old: int, new: int
) -> Iterator[tuple[str, str, Any]]:
    """The attributes that tell a number, of the modules above the layers and of the model's configuration."""
    for name, module in model.named_modules():
        if any(layer.startswith(f"{name}." if name else "") and layer != name for layer in names):
            yield from ((name, word, new) for word in words if _is(vars(module).get(word), old))
    config = getattr(model, "config", None)
    for word in words if hasattr(config, "__dict__") else ():
        if _is(vars(config).get(word), old):
            yield "", f"config.{word}", new


def _is(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


def confirmed(model: nn.Module, edit: Resize, run: Callable[[], object]) -> None:
    """Raise if the altered model can't be run: something else tells the number, too.

    Raises:
        PlanError: naming what fails.
    """
    try:
        run()
    except TraceError as error:
        first, *rest = str(error).split("\n")
        layers = ", ".join(edit.converters)
        raise PlanError(
            f"cannot {edit.asked} of {type(model).__name__}: with {layers} changed it can't be run.",
            *(line.strip() for line in (first, *rest[:1])),
            name=error.name,
            got=list(edit.converters),
            way_out="something else in its code tells the number; change that, too, before:  ts.plan(model).replace(…)",
        ) from error
