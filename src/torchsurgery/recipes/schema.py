"""Which operations there are, and what each may say; whatever else a file says is refused before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import specs, values
from .strict import Field
from .ways import WAYS

VERSION = 1
_NAME = r"[^\x00-\x1f]{0,1000}"
_MOST = 2**31 - 1
# Attributes that tell a size: "groups", "kernel[1]", "config.hidden_size"; nothing with two underscores.
ATTRIBUTE = r"(?!.*__)[A-Za-z_]\w{0,99}(\.[A-Za-z_]\w{0,99}){0,3}(\[\d{1,3}\])?"


def checked_operations(operations: Field) -> None:
    """Raise if a list of operations isn't one that this version can do."""
    for operation in operations.items():
        if not isinstance(operation.value, dict) or "do" not in operation.value:
            operation.refuse("an operation, with a member 'do'")
        kind = Field(operation.value["do"], operation.where, f"{operation.path}.do").one_of(*KINDS)
        KINDS[kind](operation)


def _replace(operation: Field) -> None:
    for group in operation.members("do layers")["layers"].items(1):
        members = group.members("at", "layer carries by way retype")
        _names(members["at"], 1)
        if not {"layer", "by", "way", "retype"} & members.keys():
            group.refuse("a member layer, by, way or retype")
        _layer(members)
        if "by" in members:
            call = members["by"].members("class arguments")
            specs.checked_call(call["class"], call["arguments"])
        if "way" in members:
            _way(members["way"])
        if "retype" in members:
            values.known(members["retype"])


def _layer(members: Mapping[str, Field]) -> None:
    if "layer" in members:
        specs.checked(members["layer"])
    if "carries" in members:
        for _, source in members["carries"].entries():
            source.text(_NAME, "the name of a tensor")


def _way(way: Field) -> None:
    members = way.members("name arguments")
    members["name"].one_of(*WAYS)
    WAYS[members["name"].value].check(members["arguments"])


def _insert(operation: Field) -> None:
    members = operation.members("do where layers")
    members["where"].one_of("before", "after")
    _layers(members["layers"])


def _wrap(operation: Field) -> None:
    _layers(operation.members("do layers")["layers"])


def _layers(layers: Field) -> None:
    for group in layers.items(1):
        members = group.members("at layer")
        _names(members["at"], 1)
        _layer(members)


def _remove(operation: Field) -> None:
    _names(operation.members("do at")["at"], 1)


def _fold(operation: Field) -> None:
    for row in operation.members("do takings")["takings"].items(1):
        layer, *norms = row.row(3)
        layer.text(_NAME, "the name of a layer")
        if all(norm.value is None for norm in norms):
            row.refuse("a layer, the norm before it and the norm after it, not both null")
        for norm in norms:
            if norm.value is not None:
                norm.text(_NAME, "the name of a norm, or null")


def _resize(operation: Field) -> None:
    members = operation.members("do asked layers attributes")
    members["asked"].text()
    for group in members["layers"].items(1):
        parts = group.members("at way")
        _names(parts["at"], 1)
        _way(parts["way"])
    for row in members["attributes"].items():
        module, attribute, value = row.row(3)
        module.text(_NAME, "the name of a module")
        attribute.text(ATTRIBUTE, "the name of an attribute")
        _number_or_labels(value)


def _number_or_labels(value: Field) -> None:
    """What tells a number of classes: the number, or their names."""
    if not isinstance(value.value, dict):
        value.whole(1, _MOST)
        return
    for row in value.members("dict")["dict"].items():
        for item in row.row(2):
            if type(item.value) is int:
                item.whole(0, _MOST)
            else:
                item.text(what="a label or its number")


_RECUT = "do asked layers kept attributes caches"
_LIST = r"\d{1,9}"


def _prune(operation: Field) -> None:
    _recut(operation.members(_RECUT))


def _widen(operation: Field) -> None:
    members = operation.members(f"{_RECUT} shares noise seed added rows")
    _recut(members)
    for row in members["shares"].items():
        tensor, axis, shares = row.row(3)
        tensor.text(_NAME, "the name of a tensor")
        axis.whole(0, 15)
        shares.text(_LIST, "the name of a list of shares")
    noise = members["noise"]
    if type(noise.value) not in (int, float) or not 0 <= noise.value < float("inf"):
        noise.refuse("a number, zero or more")
    members["seed"].whole(0, _MOST)
    for row in members["added"].items():
        tensor, axis, number = row.row(3)
        tensor.text(_NAME, "the name of a tensor")
        axis.whole(0, 15)
        number.whole(1, _MOST)
    if members["rows"].value is not None:
        members["rows"].text(_LIST, "the name of a tensor, or null")


def _recut(members: Mapping[str, Field]) -> None:
    members["asked"].text()
    _names(members["layers"], 0)
    for row in members["kept"].items(1):
        tensor, axis, indices = row.row(3)
        tensor.text(_NAME, "the name of a tensor")
        axis.whole(0, 15)
        indices.text(_LIST, "the name of a list of indices")
    for row in members["attributes"].items():
        module, attribute, value = row.row(3)
        module.text(_NAME, "the name of a module")
        attribute.text(ATTRIBUTE, "the name of an attribute")
        value.whole(0, _MOST)
    for row in members["caches"].items():
        module, attribute = row.row(2)
        module.text(_NAME, "the name of a module")
        attribute.text(ATTRIBUTE, "the name of an attribute")


def _calls(operation: Field) -> None:
    for call in operation.members("do calls")["calls"].items(1):
        members = call.members("in method text which layer")
        for name in ("in", "method", "text", "layer"):
            members[name].text(r"(?s:[^\x00]*)", "a text")
        members["which"].whole(0, 10_000)


def _names(names: Field, least: int) -> None:
    for name in names.items(least):
        name.text(_NAME, "the name of a layer")


KINDS: Mapping[str, Callable[[Field], None]] = {
    "replace": _replace,
    "insert": _insert,
    "wrap": _wrap,
    "remove": _remove,
    "fold": _fold,
    "resize": _resize,
    "prune": _prune,
    "widen": _widen,
    "calls": _calls,
}
