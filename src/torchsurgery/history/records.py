"""One surgery as data, and as it is told of a root."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import nn

from ..recipes import Operation
from ..recipes.lines import ModuleNote
from ..recipes.moving import Moves, View, moved, moved_lines
from ..recipes.structure import Parts, Structure

# Where a model isn't what it was left: the name, what was there and what is.
Other: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One surgery as data.

    Attributes:
        root: What it was made on, as names are told from there; without the wrapper around it.
        operations: What was done.
        moves: For each operation the names, after and before, of layers that went along into what it put around them.
        was: The modules that it changed, as they were before.
        classes: The classes that modules had before which only take another one; emptied when it is settled.
        left: What it left, at a glance, of its root and of others that share modules with it.
        foreign: What had been altered by other means since the surgery before, of these roots.
        adopted: What was done on other roots since the surgery before, as it was told of this root then.
        untold: What of it could not be told.
    """

    root: weakref.ref[nn.Module]
    operations: tuple[Operation, ...]
    moves: tuple[Moves, ...]
    was: Parts
    classes: dict[str, type[nn.Module]]
    left: Mapping[nn.Module, Sequence[Any]]
    foreign: Mapping[nn.Module, Other]
    adopted: tuple[Told, ...] = ()
    untold: tuple[Operation, ...] = ()
    _lines: dict[str, str] = field(default_factory=dict)

    def lines(self) -> dict[str, str]:
        """The lines of modules that only took another class, as they were."""
        return {**self._lines, **self._retyped()}

    def settle(self) -> None:
        """Note what can be seen of the model only as long as no other surgery has changed it."""
        self._lines.update(self._retyped())
        self.classes.clear()

    def _retyped(self) -> dict[str, str]:
        model = self.root() if self.classes else None
        modules = dict(model.named_modules(remove_duplicate=False)) if model is not None else {}
        return {
            name: ModuleNote.of(modules[name], kind).line() for name, kind in self.classes.items() if name in modules
        }


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """One surgery as it is told of a root.

    Attributes:
        number: Its place among all surgeries of this process.
        record: What was done, on the root that it was made on.
        operations: What was done, by the names that the root gives.
        moves: As the record's, by these names.
        views: How the names come from those of the record's root: one view after the other.
    """

    number: int
    record: Record
    operations: tuple[Operation, ...]
    moves: tuple[Moves, ...]
    views: tuple[View, ...] = ()

    @classmethod
    def own(cls, number: int, record: Record) -> Told:
        """A surgery as it is told of its own root."""
        return cls(number, record, record.operations, record.moves)

    def seen(self, view: View) -> Told:
        """The same as it is told of another root, which calls afterwards what it calls it now.

        Raises:
            RecipeError: if only a part of an operation was done there that can't be told by itself.
        """
        found: list[tuple[Operation, Moves]] = []
        for operation, moves in zip(reversed(self.operations), reversed(self.moves), strict=True):
            after, view = view, view.before(moves)
            if (here := moved(operation, view)) is not None:
                found.insert(0, (here, _moves_seen(moves, after, view)))
        operations, all_moves = tuple(here for here, _ in found), tuple(moves for _, moves in found)
        return Told(self.number, self.record, operations, all_moves, (*self.views, view))

    def name(self, name: str) -> str | None:
        """A module of the record's root, as it is called here."""
        here: str | None = name
        for view in self.views:
            here = None if here is None else view.first(here)
        return here

    def lines_before(self, after: Structure) -> Structure:
        """The structure of the root before, from the one after."""
        lines, parts = self.record.lines(), self.record.was.lines
        for view in self.views:
            lines = moved_lines(lines, view)
            parts = _parts_seen(parts, view)
        return Structure({**after.lines, **lines}).with_parts(parts)


def _parts_seen(parts: Mapping[str, Mapping[str, str]], view: View) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, lines in parts.items():
        for number, place in enumerate(view.places(name)):
            own = {} if number else moved_lines(lines, view)  # which are those of the other places, too
            found.setdefault(place, {}).update(own)
    return found


def _moves_seen(moves: Moves, after: View, before: View) -> Moves:
    pairs = ((after.first(there), before.first(was)) for there, was in moves)
    return tuple((there, was) for there, was in pairs if there is not None and was is not None)
