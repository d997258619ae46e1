"""Conversions by name: what a layer comes to, said by a few numbers rather than by a function.

Each way is a function of `layers/`, the arguments that it takes besides the layer, and what these may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError, RecipeError
from ..layers.conversion import Conversion, Converter
from ..layers.dimensions import Axes
from ..layers.ends import with_channels, with_inputs, with_outputs
from ..layers.foreign import turned
from ..layers.frozen import held
from ..layers.lowrank import factoring
from .strict import Field
from .values import Tensors

_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Way:
    """One way to convert.

    Attributes:
        decide: From a layer and the arguments, by name, to what it comes to.
        check: Raises if the data of the arguments isn't right.
    """

    decide: Callable[..., Conversion]
    check: Callable[[Field], None]


def converter(words: str, name: str, arguments: Mapping[str, Any] | Callable[[str], Mapping[str, Any]]) -> Any:
    """What an edit takes for a new layer: a conversion that can be written down.

    Args:
        words: What the plan calls it.
        name: A key of `WAYS`.
        arguments: For the way; or a function from the layer's name to them.
    """

    def of(place: str) -> tuple[str, Mapping[str, Any]]:
        return name, arguments(place) if callable(arguments) else arguments

    return Converter(words, lambda old, place: WAYS[name].decide(old, **of(place)[1]), of)


def written(way: tuple[str, Mapping[str, Any]], tensors: Tensors) -> dict[str, Any]:
    """A way with its arguments as data; lists of rows are tensors, with −1 for what is new."""
    name, arguments = way
    data = {
        key: {"tensor": tensors.add_indices(tuple(-1 if row is None else row for row in value))}
        if isinstance(value, tuple)
        else value
        for key, value in arguments.items()
    }
    return {"name": name, "arguments": data}


def read(data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The way and its arguments that checked data stands for."""
    found = {}
    for key, value in data["arguments"].items():
        found[key] = _rows(value["tensor"], tensors) if isinstance(value, dict) else value
    return data["name"], found


def _rows(name: str, tensors: Mapping[str, Tensor]) -> tuple[int | None, ...]:
    rows = tensors.get(name)
    if rows is None or rows.dim() != 1 or rows.is_floating_point() or not rows.numel() or int(rows.min()) < -1:
        raise RecipeError(f"the list of rows {name!r} that the recipe names is not there, or is none.", got=name)
    return tuple(None if row < 0 else row for row in rows.tolist())


# --- what there is


def _outputs(old: nn.Module, rows: tuple[int | None, ...], why: str) -> Conversion:
    weight = old._parameters.get("weight")
    there = None if weight is None else max(weight.shape)
    if there is not None and any(row is not None and row >= there for row in rows):
        raise ConfigError(f"a row beyond the {there} that there are is to be kept.", got=max(filter(None, rows)))
    return with_outputs(old, rows, why)


def _low_rank(old: nn.Module, rank: int, separated: bool) -> Conversion:
    return factoring(old, "depthwise" if separated else "thin").conversion(rank)


def _axes(old: nn.Module, own: int, new: int, centred: bool, kernel: int | None, strided: bool) -> Conversion:
    found = turned(old, own, Axes(new, centred, kernel, strided))
    if found is None:
        raise ConfigError(f"{type(old).__name__} needs no change over {new} axes.")
    return found


def _flag(value: Field) -> None:
    if not isinstance(value.value, bool):
        value.refuse("true or false")


def _check_outputs(arguments: Field) -> None:
    members = arguments.members("rows why")
    members["rows"].members("tensor")["tensor"].text(r"\d{1,9}", "the name of a list of rows")
    members["why"].text()


def _check_inputs(arguments: Field) -> None:
    members = arguments.members("channels fill")
    members["channels"].whole(1, _MOST)
    members["fill"].one_of("zeros", "repeat", "first")


def _check_channels(arguments: Field) -> None:
    arguments.members("channels")["channels"].whole(1, _MOST)


def _check_low_rank(arguments: Field) -> None:
    members = arguments.members("rank separated")
    members["rank"].whole(1, _MOST)
    _flag(members["separated"])


def _check_axes(arguments: Field) -> None:
    members = arguments.members("own new centred kernel strided")
    for name in ("own", "new"):
        members[name].whole(1, 3)
    if members["kernel"].value is not None:
        members["kernel"].whole(1, 1024)
    _flag(members["centred"])
    _flag(members["strided"])


WAYS: Mapping[str, Way] = {
    "inputs": Way(with_inputs, _check_inputs),
    "channels": Way(with_channels, _check_channels),
    "outputs": Way(_outputs, _check_outputs),
    "low rank": Way(_low_rank, _check_low_rank),
    "axes": Way(_axes, _check_axes),
    "frozen": Way(held, lambda a: _flag(a.members("trainable")["trainable"])),
}
