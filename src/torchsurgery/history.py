"""What was done to which model in this process: the order of surgeries, and the layers that they brought.

Nothing is stored on a model itself, and neither models nor layers are kept alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from .changes import Change, Planned
from .errors import RecipeError
from .recipes import Operation, Recipe
from .recipes.structure import (
    Structure,
    first_other,
    line_of,
    parts_of,
    signature_of_model,
    structure_of,
)
from .tree import refuse_no_model, uncompiled


class Done(Protocol):
    """What can be taken back for a while: a `Surgery`."""

    @property
    def planned(self) -> tuple[Planned, ...]: ...

    def taken_back(self, since: int = 0) -> AbstractContextManager[nn.Module]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One surgery on one model.

    Attributes:
        layers: The layers that it brought, while they live.
        widths_changed: Whether one of them gives another width than the layer before.
        record: What was done and what came of it, as data.
        surgery: What can be taken back, as long as somebody holds it.
    """

    layers: tuple[weakref.ref[nn.Module], ...]
    widths_changed: bool = False
    record: Record | None = None
    surgery: weakref.ref[Done] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One surgery as data.

    Attributes:
        operations: What was done.
        was: The lines of the modules that it changed, as they were before; see `structure.parts_of`.
        classes: The classes that modules had before which only take another one; emptied when it is settled.
        left: What it left, at a glance.
        foreign: The name of a module that had been altered by other means since the surgery before, what was there and
            what was found; or None.
    """

    operations: tuple[Operation, ...]
    was: dict[str, Mapping[str, str]]
    classes: dict[str, type[nn.Module]]
    left: Sequence[Any]
    foreign: tuple[str, str, str] | None
    _lines: dict[str, str] = field(default_factory=dict)

    def lines_before(self, model: nn.Module, after: Structure) -> Structure:
        """The structure before, from the one after; of the last surgery in force, or one that was settled."""
        return Structure({**after.lines, **self._lines, **self._retyped(model)}).with_parts(self.was)

    def settle(self, model: nn.Module) -> None:
        """Note what can be seen of the model only as long as no other surgery has changed it."""
        self._lines.update(self._retyped(model))
        self.classes.clear()

    def _retyped(self, model: nn.Module) -> dict[str, str]:
        """The lines of modules that only took another class, as they were."""
        modules = dict(model.named_modules(remove_duplicate=False)) if self.classes else {}
        return {name: line_of(modules[name], kind) for name, kind in self.classes.items() if name in modules}


_ENTRIES: weakref.WeakKeyDictionary[nn.Module, list[Entry]] = weakref.WeakKeyDictionary()


def remember(
    model: nn.Module,
    modules: Iterable[nn.Module],
    widths_changed: bool = False,
    record: Record | None = None,
    surgery: Done | None = None,
) -> Entry:
    """Note a surgery; answers its entry, for `is_last` and `forget`."""
    held = None if surgery is None else weakref.ref(surgery)
    entry = Entry(tuple(weakref.ref(module) for module in modules), widths_changed, record, held)
    _ENTRIES.setdefault(model, []).append(entry)
    return entry


class Recording:
    """What has to be noted of a model before a surgery, so that it can be told afterwards."""

    def __init__(self, model: nn.Module, operations: tuple[Operation, ...], changes: Sequence[Change]) -> None:
        self.model, self.operations = model, operations
        earlier = records(model)
        self.foreign = None
        if earlier:
            self.foreign = first_other(model, earlier[-1].left)
            earlier[-1].settle(model)
        self.was: dict[str, Mapping[str, str]] = {}
        self.classes: dict[str, type[nn.Module]] = {}
        if all(change.kind != "call" and vars(change.old) is vars(change.new) for change in changes):
            self.classes = {change.names[0]: type(change.old) for change in reversed(changes)}
        else:
            self.was |= parts_of(model, {name for change in changes for name in change.names})

    def done(self) -> Record:
        """The note of it, after the surgery."""
        return Record(self.operations, self.was, self.classes, signature_of_model(self.model), self.foreign)


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


def in_force(model: nn.Module) -> list[Done | None]:
    """The surgeries that are in force on `model`, in order; None for those that nobody holds any more."""
    return [None if entry.surgery is None else entry.surgery() for entry in _ENTRIES.get(model, [])]


def widths_changed(model: nn.Module) -> bool:
    """Whether a surgery in force has changed how wide some layer's answer is."""
    return any(entry.widths_changed for entry in _ENTRIES.get(model, []))


# --- as data


def records(model: nn.Module) -> tuple[Record, ...]:
    """What is in force on a model, in order."""
    return tuple(entry.record for entry in _ENTRIES.get(model, []) if entry.record is not None)


def recipe_of_one(model: nn.Module, record: Record) -> Recipe:
    """One surgery as a recipe; between the structures before and after, while it is in force."""
    done = records(model)
    if record not in done:
        return Recipe(record.operations)
    structures = _structures(model, done)
    place = done.index(record)
    return Recipe(record.operations, structures[place].untied, structures[place + 1])


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
    refuse_no_model(model)
    model = uncompiled(model)
    done = records(model)
    found = [record.foreign for record in done if record.foreign is not None]
    if done and (now := first_other(model, done[-1].left)) is not None:
        found.append(now)
    if found:
        name, was, there = found[0]
        raise RecipeError(
            f"{name or 'the model'} was altered by other means than this library, which no recipe tells.",
            f"expected {was}, as it was left",
            f"got {there}",
            name=name,
            expected=was,
            got=there,
            way_out="put it back, and make the change with this library:  ts.replace(model, …)",
        )
    first, *_, last = _structures(model, done) * 2
    return Recipe(tuple(operation for record in done for operation in record.operations), first.untied, last)


def refuse_unknown_past(model: nn.Module) -> None:
    """Raise if a model came about in a way that its own recipe doesn't tell.

    Raises:
        RecipeError: if a part was altered as a model of its own, or the model looks like a copy of an altered one.
    """
    if records(model):
        return
    kind = type(model).__name__
    if name := next((name for name, module in model.named_modules() if records(module)), None):
        raise RecipeError(
            f"{name} was altered as a model of its own, and nothing tells how this {kind} came about.",
            name=name,
            got=model,
            way_out=f"ts.save(model.{name}, …), or, where a builder alters it itself:  ts.save(model, …, base=build)",
        )
    if _is_copy(model):
        raise RecipeError(
            f"this {kind} looks like a copy of one that was altered, and a copy has no recipe.",
            got=model,
            way_out="ts.save(copy, folder, recipe=ts.recipe_of(original)), or with base=, what it was built by",
        )


def _is_copy(model: nn.Module) -> bool:
    """Whether another model here was altered and then was just like this one."""
    alike = [done[-1].left for other in list(_ENTRIES) if type(other) is type(model) and (done := records(other))]
    return bool(alike) and signature_of_model(model) in alike


def _structures(model: nn.Module, done: Sequence[Record]) -> list[Structure]:
    """The structures before each surgery in force and after the last one: read backwards off what there is."""
    found = [structure_of(model)]
    for record in reversed(done):
        found.insert(0, record.lines_before(model, found[0]))
    return found
