"""What was done to which model in this process: the order of surgeries, and the layers that they brought.

Nothing is stored on a model itself, and neither models nor layers are kept alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One surgery on one model.

    Attributes:
        layers: The layers that it brought, while they live.
        widths_changed: Whether one of them gives another width than the layer before.
    """

    layers: tuple[weakref.ref[nn.Module], ...]
    widths_changed: bool = False


_ENTRIES: weakref.WeakKeyDictionary[nn.Module, list[Entry]] = weakref.WeakKeyDictionary()


def remember(model: nn.Module, modules: Iterable[nn.Module], widths_changed: bool = False) -> Entry:
    """Note a surgery; answers its entry, for `is_last` and `forget`."""
    entry = Entry(tuple(weakref.ref(module) for module in modules), widths_changed)
    _ENTRIES.setdefault(model, []).append(entry)
    return entry


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
