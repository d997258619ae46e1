"""All surgeries in force, in the order in which they were made, whatever they were made on."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator, Set
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from ..changes import Planned
from ..tree import every_module
from .records import Record


class Done(Protocol):
    """What can be taken back for a while: a `Surgery`."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def planned(self) -> tuple[Planned, ...]: ...

    def taken_back(self, since: int = 0) -> AbstractContextManager[nn.Module]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One surgery on one root.

    Attributes:
        number: Its place among all surgeries of this process.
        root: What it was made on, without the wrapper around it.
        layers: The layers that it brought, while they live.
        following: The layers that it adjusted to them.
        cut: Those of `layers` that are the layers before with fewer or more channels.
        widths_changed: Whether one of them gives another width than the layer before.
        record: What was done and what came of it, as data.
        surgery: What can be taken back, as long as somebody holds it.
    """

    number: int
    root: weakref.ref[nn.Module]
    layers: tuple[weakref.ref[nn.Module], ...]
    following: tuple[weakref.ref[nn.Module], ...] = ()
    widths_changed: bool = False
    record: Record | None = None
    surgery: weakref.ref[Done] | None = None
    cut: tuple[weakref.ref[nn.Module], ...] = ()

    def concerns(self, modules: Set[nn.Module]) -> bool:
        """Whether it was made on one of these modules, or has brought or adjusted one of them."""
        return self.root() in modules or any(ref() in modules for ref in (*self.layers, *self.following))

    def is_gone(self) -> bool:
        """Whether nothing is left that it could be told of."""
        return self.root() is None and all(ref() is None for ref in (*self.layers, *self.following))


_ENTRIES: list[Entry] = []
_NUMBERS = itertools.count()


def remember(
    model: nn.Module,
    modules: Iterable[nn.Module],
    widths_changed: bool = False,
    record: Record | None = None,
    surgery: Done | None = None,
    following: Iterable[nn.Module] = (),
    cut: Iterable[nn.Module] = (),
) -> Entry:
    """Note a surgery; answers its entry, for `later` and `forget`."""
    for gone in [entry for entry in _ENTRIES if entry.is_gone()]:
        forget(gone)
    held = None if surgery is None else weakref.ref(surgery)
    root = weakref.ref(model) if record is None else record.root
    layers, adjusted = tuple(map(weakref.ref, modules)), tuple(map(weakref.ref, following))
    narrowed = tuple(map(weakref.ref, cut))
    entry = Entry(next(_NUMBERS), root, layers, adjusted, widths_changed, record, held, narrowed)
    _ENTRIES.append(entry)
    return entry


def forget(entry: Entry) -> None:
    """Take the note of a surgery back."""
    with suppress(ValueError):  # another thread may have done so
        _ENTRIES.remove(entry)


def entries() -> tuple[Entry, ...]:
    """All that are in force, in order."""
    return tuple(_ENTRIES)


def later(entry: Entry) -> Entry | None:
    """The last surgery in force that was made after another one and is to be undone first; on whatever root."""
    modules = None
    for other in reversed(_ENTRIES):
        if other is entry:
            return None
        root = entry.root()
        if root is None or other.root() is root:
            return other
        modules = every_module(root) if modules is None else modules
        above = other.root()
        if other.concerns(modules) or (above is not None and entry.concerns(every_module(above))):
            return other
    return None


def altered(model: nn.Module) -> list[nn.Module]:
    """The layers that surgeries have brought into `model` and that still live, in order, each once."""
    found = (ref() for entry in _concerning(model) for ref in entry.layers)
    return list(dict.fromkeys(layer for layer in found if layer is not None))


def only_cut(model: nn.Module) -> set[nn.Module]:
    """The layers in `model` that have been there before, and of which surgeries have changed no more than the width."""
    cut, brought = set[nn.Module | None](), set[nn.Module | None]()
    for entry in _concerning(model):
        own = {ref() for ref in entry.cut}
        cut |= own
        brought |= {ref() for ref in entry.layers} - own
    return {layer for layer in cut - brought if layer is not None}


def in_force(model: nn.Module) -> list[Done | None]:
    """The surgeries in force on a model, in order; None for what nobody holds any more, or was made on another root."""
    held = (None if entry.surgery is None else entry.surgery() for entry in _concerning(model))
    return [done if done is not None and done.model is model else None for done in held]


def widths_changed(model: nn.Module) -> bool:
    """Whether a surgery in force has changed how wide some layer's answer is."""
    wider = [entry for entry in _ENTRIES if entry.widths_changed]
    return bool(wider) and any(True for _ in _concerning(model, wider))


def _concerning(model: nn.Module, among: Iterable[Entry] = _ENTRIES) -> Iterator[Entry]:
    modules: Set[nn.Module] | None = None
    for entry in tuple(among):
        if entry.root() is model:
            yield entry
        else:
            modules = every_module(model) if modules is None else modules
            if entry.concerns(modules):
                yield entry
