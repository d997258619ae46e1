"""What was done to which model in this process: the order of surgeries, and the layers that they brought.

Nothing is stored on a model itself, and neither models nor layers are kept alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from .errors import RecipeError
from .recipes import Operation, Recipe
from .recipes.structure import Structure, structure_of
from .tree import uncompiled


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One surgery on one model.

    Attributes:
        layers: The layers that it brought, while they live.
        widths_changed: Whether one of them gives another width than the layer before.
        record: What was done and what came of it, as data.
    """

    layers: tuple[weakref.ref[nn.Module], ...]
    widths_changed: bool = False
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One surgery as data.

    Attributes:
        recipe: What was done, between the structures before and after.
        foreign: Where the model had been altered by other means since the surgery before, or None.
    """

    recipe: Recipe
    foreign: tuple[str, str | None, str | None] | None = None


_ENTRIES: weakref.WeakKeyDictionary[nn.Module, list[Entry]] = weakref.WeakKeyDictionary()


def remember(
    model: nn.Module, modules: Iterable[nn.Module], widths_changed: bool = False, record: Record | None = None
) -> Entry:
    """Note a surgery; answers its entry, for `is_last` and `forget`."""
    entry = Entry(tuple(weakref.ref(module) for module in modules), widths_changed, record)
    _ENTRIES.setdefault(model, []).append(entry)
    return entry


def record(model: nn.Module, operations: tuple[Operation, ...], before: Structure) -> Record:
    """What was just done to a model that had this structure before, as data."""
    earlier = records(model)
    foreign = earlier[-1].recipe.result.difference(before) if earlier and earlier[-1].recipe.result else None
    return Record(Recipe(operations, before, structure_of(model)), foreign)


def forget(model: nn.Module, entry: Entry) -> None:
    """Take the note of a surgery back."""
    entries = _ENTRIES.get(model, [])
    if entry in entries:
        entries.remove(entry)


def is_last(model: nn.Module, entry: Entry) -> bool:
    """Whether no later surgery on the model is still in force."""
    entries = _ENTRIES.get(model, [])
    return bool(entries) and entries[-1] is entry


def altered(model: nn.Module) -> list[nn.Module]:
    """The layers that surgeries have brought into `model` and that still live, in order, each once."""
    found = (ref() for entry in _ENTRIES.get(model, []) for ref in entry.layers)
    return list(dict.fromkeys(layer for layer in found if layer is not None))


def widths_changed(model: nn.Module) -> bool:
    """Whether a surgery in force has changed how wide some layer's answer is."""
    return any(entry.widths_changed for entry in _ENTRIES.get(model, []))


# --- as data


def records(model: nn.Module) -> tuple[Record, ...]:
    """What is in force on a model, in order."""
    return tuple(entry.record for entry in _ENTRIES.get(model, []) if entry.record is not None)


def recipe_of(model: nn.Module) -> Recipe:
    """All that this process has done to a model and that is in force, as one recipe.

    Args:
        model: The model. A copy of it is another one, of which nothing is known.

    Raises:
        RecipeError: if it was altered by other means as well, which no recipe tells.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> done = ts.replace(net, nn.ReLU, nn.GELU), ts.insert(net, nn.Dropout(0.1), after="1")
        >>> print(ts.recipe_of(net))
        Recipe of 2 operations
          replace 1
          insert 1
    """
    model = uncompiled(model)
    now, done = structure_of(model), records(model)
    if not done:
        return Recipe((), now, now)
    operations = tuple(operation for record in done for operation in record.recipe.operations)
    whole = Recipe(operations, done[0].recipe.base, done[-1].recipe.result)
    assert whole.result is not None
    for found in (*(record.foreign for record in done), whole.result.difference(now)):
        if found is not None:
            name, left, there = found
            raise RecipeError(
                f"{name or 'the model'} was altered by other means than this library, which no recipe tells.",
                f"the surgery left {left or 'nothing'}",
                f"there is now {there or 'nothing'}",
                name=name,
                expected=left,
                got=there,
                way_out="put it back, and make the change with this library:  ts.replace(model, …)",
            )
    return whole
