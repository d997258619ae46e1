"""What was done to one root, as it is told of another one: of the model around a submodule, or of a part of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import RecipeError
from ..tree import Draft
from .recipe import Operation
from .structure import outermost

# Of modules that went along into what was put around them: the name after, and the one before.
Moves = Sequence[tuple[str, str]]
Names = Mapping[nn.Module, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class View:
    """How the modules of one root are called in another one, at some time.

    Attributes:
        names: Of the outermost modules that both have: the name there → all names here.
        around: Names there of what an edit put around such a module, and which is not here.
    """

    names: Mapping[str, tuple[str, ...]]
    around: frozenset[str] = frozenset()

    def places(self, name: str) -> tuple[str, ...]:
        """All that a module or tensor is called here; nothing, where it isn't here."""
        above = outermost(name, self.names.keys())
        if above is None:
            return ()
        return tuple(_joined(here, name[len(above) :].lstrip(".")) for here in self.names[above])

    def first(self, name: str) -> str | None:
        """The first of what a module or tensor is called here."""
        return next(iter(self.places(name)), None)

    def target(self, name: str) -> str | None:
        """What the target of an edit is called here; None where the edit was about what is around it."""
        return None if name in self.around else self.first(name)

    def before(self, moves: Moves) -> View:
        """The names as they were before modules went along into what was put around them."""
        names = {rewound(name, moves): here for name, here in self.names.items()}
        around = frozenset(names.keys() - self.names.keys())
        return View(names, around) if around or self.around else self

    def of_moves(self, moves: Moves) -> Moves:
        """Moves by the names that modules have here, of those that are here before and after."""
        pairs = [zip(self.places(after), self.places(before), strict=False) for after, before in moves]
        return [pair for places in pairs for pair in places]

    @classmethod
    def of(cls, root: nn.Module, there: Names, here: Names) -> View:
        """From the names of the modules of a root, there, and those of the modules of another one."""
        if root in here:
            return cls({"": here[root]})
        found = {name: here[module] for module, names in there.items() if module in here for name in names}
        return cls({name: names for name, names in found.items() if outermost(name, found.keys()) == name})


def view_of(root: nn.Module, model: nn.Module) -> View:
    """How the modules of `root` are called in `model`, as both are now."""
    there, here = ({m: spots.names for m, spots in Draft(of).spots().items()} for of in (root, model))
    return View.of(root, there, here)


def rewound(name: str, moves: Moves) -> str:
    """What a module or tensor was called before modules went along into what was put around them."""
    for after, before in reversed(moves):
        if name == after or name.startswith(f"{after}."):
            name = _joined(before, name[len(after) :].lstrip("."))
    return name


def moved(operation: Operation, view: View) -> Operation | None:
    """An operation as it is told of another root; None where it did nothing there.

    Raises:
        RecipeError: if only a part of it was done there that can't be told by itself.
    """
    data = {**operation.data, **_MOVERS[operation.data["do"]](operation, view)}
    members = [data[name] for name in _REQUIRED[operation.data["do"]]]
    if not any(members):
        return None
    if not members[0]:
        raise untold(operation)
    used = set(_tensors_in(data))
    return Operation(data, {name: tensor for name, tensor in operation.tensors.items() if name in used})


def moved_lines(lines: Mapping[str, str], view: View) -> dict[str, str]:
    """Lines of a structure as they are in another root's; see `structure`."""
    found: dict[str, str] = {}
    for name, what in lines.items():
        first, *others = view.places(name) or (None,)
        if first is None:
            continue
        whose = first
        if what.startswith("is "):
            whose = view.first("" if what == "is the model" else what.removeprefix("is ")) or ""
            what = f"is {whose or 'the model'}"
            if whose == first:  # two names there are one here
                continue
        found[first] = what
        if not what.startswith(("parameter ", "buffer ", "unsaved buffer ")):
            found.update({other: f"is {whose or 'the model'}" for other in others})
    return found


def untold(operation: Operation) -> RecipeError:
    """Why an operation can't be told of a part of the model."""
    return RecipeError(
        f"'{operation}' was done to a larger model, and can't be told of this part of it alone.",
        name=next(iter(operation.names), None),
        got=operation,
        way_out="save the model that was altered, and take the part out of it after  ts.load",
    )


def _joined(above: str, below: str) -> str:
    return f"{above}.{below}" if above and below else above or below


# --- one for each kind


def _some(names: Iterable[str], view: View) -> list[str]:
    return [here for here in map(view.target, names) if here is not None]


def _layers(operation: Operation, view: View) -> dict[str, Any]:
    groups = [(group, _some(group["at"], view)) for group in operation.data["layers"]]
    return {"layers": [_placed({**group, "at": at}, operation, view) for group, at in groups if at]}


def _placed(data: Any, operation: Operation, view: View) -> Any:
    """The data of layers, with the places of those that are put into several."""
    if isinstance(data, list):
        return [_placed(item, operation, view) for item in data]
    if not isinstance(data, Mapping):
        return data
    if "placed" in data and "path" in data:
        if (here := view.target(data["placed"])) is None:
            raise untold(operation)
        return {**data, "placed": here}
    if "arguments" in data:  # whose names are a constructor's, whatever they are
        named = {name: _placed(value, operation, view) for name, value in data["arguments"].items()}
        return {**data, "arguments": named}
    return {name: value if name in _NAMES else _placed(value, operation, view) for name, value in data.items()}


def _remove(operation: Operation, view: View) -> dict[str, Any]:
    return {"at": _some(operation.data["at"], view)}


def _fold(operation: Operation, view: View) -> dict[str, Any]:
    takings = []
    for row in operation.data["takings"]:
        here = [None if name is None else view.target(name) for name in row]
        if any(name is not None for name in here):
            if [name is None for name in here] != [name is None for name in row]:
                raise untold(operation)
            takings.append(here)
    return {"takings": takings}


def _rows(rows: Iterable[Sequence[Any]], view: View) -> list[list[Any]]:
    """Rows whose first entry is a name."""
    return [[here, *rest] for name, *rest in rows if (here := view.target(name)) is not None]


def _resize(operation: Operation, view: View) -> dict[str, Any]:
    return {**_layers(operation, view), "attributes": _rows(operation.data["attributes"], view)}


def _recut(operation: Operation, view: View) -> dict[str, Any]:
    data = operation.data
    rows = {name: _rows(data[name], view) for name in _ROWS if name in data}
    return {"layers": _some(data["layers"], view), **rows}


def _calls(operation: Operation, view: View) -> dict[str, Any]:
    calls = [{**call, "in": view.target(call["in"])} for call in operation.data["calls"]]
    return {"calls": [call for call in calls if call["in"] is not None]}


def _tensors_in(data: Any) -> Iterable[str]:
    """Texts and numbers in data: all names of tensors that it may refer to."""
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, list | tuple):
        for item in data:
            yield from _tensors_in(item)
    elif isinstance(data, str):
        yield data


_NAMES = ("at", "carries")
_ROWS = ("kept", "attributes", "caches", "shares", "added")
_MOVERS: Mapping[str, Callable[[Operation, View], dict[str, Any]]] = {
    "replace": _layers,
    "insert": _layers,
    "wrap": _layers,
    "remove": _remove,
    "fold": _fold,
    "resize": _resize,
    "prune": _recut,
    "widen": _recut,
    "calls": _calls,
}
# What an operation can't be without, and what else it may do.
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "replace": ("layers",),
    "insert": ("layers",),
    "wrap": ("layers",),
    "remove": ("at",),
    "fold": ("takings",),
    "resize": ("layers", "attributes"),
    "prune": ("kept", "attributes", "caches"),
    "widen": ("kept", "attributes", "caches"),
    "calls": ("calls",),
}
