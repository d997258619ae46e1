"""Layers as data, and back.

A layer is one of
    {"class": key, "arguments": {…}}          its constructor's call
    {"class": key, "parts": [[name, layer]]}  a plain container
    {"factory": key, "arguments": {…}}        what a registered function makes of the old layer, and of its name
    {"old": path}                             the layer that was there before, or one inside of it
    {"placed": place, "path": path}           one that the same operation has put elsewhere already
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..edits import takes_name
from ..errors import RecipeError, SurgeryError
from ..layers.building import signature_of
from ..layers.config import arguments_of
from . import naming, values
from .strict import Field
from .typed import hints_of, refuse_other_type
from .values import Tensors, Unwritable

CONTAINERS: tuple[type[nn.Module], ...] = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
NAME = r"[^.\x00-\x1f]{1,200}"
PATH = r"[^\x00-\x1f]{0,1000}"
_MOST_PRODUCT = 2**46
_MOST_REPEATS = 4096
# Arguments that say how often something is built: no tensor's size stands against them.
_REPEATS = ("num_layers", "num_encoder_layers", "num_decoder_layers", "n_classes")
# What a layer was made by that a recipe has told, while it lives: where a constructor's arguments leave no trace.
_MADE_BY: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()


# --- from a layer


@dataclass
class Describing:
    """What the layers of one operation are told by.

    Attributes:
        tensors: Where tensors among their arguments go.
        placed: The id of each layer that the operation has put → the place, and the path there.
    """

    tensors: Tensors
    placed: dict[int, tuple[str, str]] = field(default_factory=dict)
    _kept: list[nn.Module] = field(default_factory=list)  # so that no id is given twice

    def describe(self, layer: nn.Module, old: nn.Module | None, place: str) -> Any:
        """The data of a layer that comes to `place`, where `old` was.

        Raises:
            Unwritable: if it isn't what a constructor's call makes.
        """
        inside = {id(module): path for path, module in old.named_modules()} if old is not None else {}
        data = self._layer(layer, inside)
        for path, module in layer.named_modules():
            if id(module) not in inside:
                self.placed.setdefault(id(module), (place, path))
                self._kept.append(module)
        return data

    def _layer(self, layer: nn.Module, inside: Mapping[int, str]) -> Any:
        if (path := inside.get(id(layer))) is not None:
            return {"old": path}
        if (there := self.placed.get(id(layer))) is not None:
            return {"placed": there[0], "path": there[1]}
        kind = type(layer)
        if kind in CONTAINERS:
            parts = [[name, self._layer(part, inside)] for name, part in layer._modules.items() if part is not None]
            return {"class": naming.key_of(kind), "parts": parts}
        try:
            given = arguments_of(layer)
            return {"class": naming.key_of(kind), "arguments": self.arguments(given, kind, inside)}
        except (SurgeryError, Unwritable) as error:
            if layer in _MADE_BY:
                return _MADE_BY[layer]
            raise Unwritable(f"{kind.__name__}: {str(error).splitlines()[-1].strip()}") from error

    def called(self, kind: type[nn.Module], config: Mapping[str, Any]) -> Any:
        """The data of a layer that is made by this call and nothing else; None where other layers are in it."""
        if kind in CONTAINERS or any(isinstance(value, nn.Module) for value in config.values()):
            return None
        try:
            return {"class": naming.key_of(kind), "arguments": self.arguments(config, kind)}
        except Unwritable:
            return None

    def arguments(self, given: Mapping[str, Any], kind: Any, inside: Mapping[int, str] = {}) -> dict[str, Any]:
        """Arguments as data, but for those that are what they are by default."""
        defaults = signature_of(kind).defaults if isinstance(kind, type) else {}
        return {
            name: values.written(value, self.tensors, lambda layer: self._layer(layer, inside))
            for name, value in given.items()
            if name not in defaults or not _is_same(value, defaults[name])
        }


def _is_same(value: Any, default: Any) -> bool:
    plain = (bool, int, float, str, type(None), tuple)
    return type(value) is type(default) and isinstance(value, plain) and value == default


# --- data from anywhere


def checked(layer: Field, depth: int = 0) -> None:
    """Raise if the data of a layer isn't right: an unknown class, an argument that it doesn't take."""
    if isinstance(layer.value, dict) and "old" in layer.value:
        layer.members("old")["old"].text(PATH, "a path")
    elif isinstance(layer.value, dict) and "placed" in layer.value:
        for member in layer.members("placed path").values():
            member.text(PATH, "a path")
    elif isinstance(layer.value, dict) and "parts" in layer.value:
        members = layer.members("class parts")
        kind = values.known(members["class"]).thing
        if kind not in CONTAINERS:
            members["class"].refuse("a container")
        for row in members["parts"].items():
            name, part = row.row(2)
            name.text(NAME, "the name of a part")
            checked(part, depth + 1)
    else:
        word = "factory" if isinstance(layer.value, dict) and "factory" in layer.value else "class"
        members = layer.members(f"{word} arguments")
        checked_call(members[word], members["arguments"], depth)


def checked_call(key: Field, arguments: Field, depth: int = 0) -> None:
    """Raise if a class, or a factory, isn't known or doesn't take these arguments."""
    entry = values.known(key)
    is_layer = isinstance(entry.thing, type) and issubclass(entry.thing, nn.Module)
    signature = signature_of(entry.thing) if is_layer else None  # type: ignore[arg-type]
    hints = hints_of(entry.thing) if is_layer else {}
    for name, value in arguments.entries():
        if signature is not None and name not in signature.names and not signature.takes_any:
            arguments.refuse(f"arguments of {key.value}: {', '.join(signature.names) or 'none'}", name)
        values.checked(value, checked, depth)
        if is_layer and name in hints:
            refuse_other_type(value, hints[name])
        _fits(value, entry.schema.get(name), key.value)
        if name in _REPEATS and isinstance(value.value, int):
            value.whole(0, _MOST_REPEATS if name != "n_classes" else 2**31)
    product = 1
    for number in _numbers(arguments.value):
        product *= number
    if product > _MOST_PRODUCT:
        arguments.refuse(f"sizes whose product is at most 2^46 in {key.value}", f"{product:.3g}")


def _fits(value: Field, rule: Any, key: str) -> None:
    """Raise if a value isn't what was registered for it."""
    if rule is None:
        return
    data = value.value
    if isinstance(rule, range):
        if type(data) is not int or data not in rule:
            value.refuse(f"a whole number in {rule}, as registered for {key}")
    elif isinstance(rule, type | tuple):
        if not isinstance(data, rule) or (isinstance(data, bool) and bool not in _types(rule)):
            value.refuse(f"{' or '.join(t.__name__ for t in _types(rule))}, as registered for {key}")
    elif not rule(data):
        value.refuse(f"what {getattr(rule, '__name__', 'the schema')} allows, as registered for {key}")


def _types(rule: Any) -> tuple[Any, ...]:
    return rule if isinstance(rule, tuple) else (rule,)


def _numbers(data: Any) -> Iterator[int]:
    """Whole numbers above 1 among the arguments of one call, not those of layers among them."""
    if isinstance(data, list):
        for item in data:
            yield from _numbers(item)
    elif isinstance(data, dict):
        for name, item in data.items():
            if name not in ("layer", "tensor"):
                yield from _numbers(item)
    elif isinstance(data, int) and not isinstance(data, bool) and data > 1:
        yield data


# --- to a layer


@dataclass
class Building:
    """What the layers of one operation are made of.

    Attributes:
        tensors: Those that the operation brings.
        placed: Place → the layer that was put there, of those that others refer to.
    """

    tensors: dict[str, Tensor]
    placed: dict[str, nn.Module] = field(default_factory=dict)

    def build(self, data: Any, old: nn.Module, name: str) -> nn.Module:
        """The layer that checked data stands for, where `old` is, whose name is `name`.

        Raises:
            RecipeError: if the class refuses the arguments, or a path leads nowhere.
        """
        if "old" in data:
            return _inside(old, data["old"], "the layer that was there")
        if "placed" in data:
            if data["placed"] not in self.placed:
                raise RecipeError(f"nothing was put at {data['placed']!r} that another layer could share.")
            return _inside(self.placed[data["placed"]], data["path"], f"the layer at {data['placed']!r}")
        key: str = data["class"] if "class" in data else data["factory"]
        function = naming.known(key)
        if "parts" in data:
            container: nn.Module = function()
            for part_name, part in data["parts"]:
                _called(container.add_module, key, part_name, self.build(part, old, name))
            return container
        given = self.arguments(data["arguments"], old, name)
        first = () if "class" in data else (old, name) if takes_name(function, given) else (old,)
        made: object = _called(function, key, *first, **given)
        if not isinstance(made, nn.Module):
            raise RecipeError(f"{key} makes a {type(made).__name__}, and no layer.", expected="a layer", got=made)
        # Of torch's and ours it can be read off the layer; and what is referred to can't become another.
        if not key.startswith(("torch.nn.", "torchsurgery.")) and _is_whole(data["arguments"]):
            _MADE_BY[made] = data
        return made

    def arguments(self, data: Mapping[str, Any], old: nn.Module, name: str) -> dict[str, Any]:
        """The arguments that checked data stands for."""
        return {
            key: values.read(value, self.tensors, lambda layer: self.build(layer, old, name))
            for key, value in data.items()
        }


def _is_whole(data: Any) -> bool:
    """Whether it says all by itself: no tensor that lies elsewhere, and no layer."""
    if isinstance(data, Mapping):
        return data.keys().isdisjoint(("layer", "tensor")) and all(map(_is_whole, data.values()))
    return not isinstance(data, list) or all(map(_is_whole, data))


def _called(function: Callable[..., Any], key: str, *positional: Any, **named: Any) -> Any:
    try:
        return function(*positional, **named)
    except SurgeryError:
        raise
    except Exception as error:
        given = ", ".join([*map(repr, positional[:1]), *(f"{name}={value!r}" for name, value in named.items())])
        raise RecipeError(
            f"{key} refuses its arguments: {type(error).__name__}: {error}"[:300],
            f"the call was  {key.rpartition('.')[2]}({given})"[:300],
            got=named,
            way_out=_whose(key),
        ) from error


def _whose(key: str) -> str:
    if key.startswith("torch"):
        return "load it with the version of torch that it was saved with"
    return (
        "load it with the version of the class that it was saved with; if what its constructor was given can't be read "
        f"off it, say it before it is altered:  ts.register_config({key.rpartition('.')[2]}, lambda layer: dict(…))"
    )


def _inside(module: nn.Module, path: str, whose: str) -> nn.Module:
    """A module by its path, which is compared with those that there are."""
    parts: dict[str, nn.Module] = dict(module.named_modules(remove_duplicate=False))
    if path in parts:
        return parts[path]
    raise RecipeError(f"{whose} has no part {path!r}.", name=path, expected=path)
