"""Resize: layers at one end of a model get another number of channels, and what tells the number follows."""

from __future__ import annotations

from collections.abc import Iterator

from ..changes import Assign, Change
from ..edits import Resize
from ..selection import Place
from ..tree import Draft
from .guards import guard
from .replacing import by_conversion, explained
from .scene import Scene


def resize_all(scene: Scene, edit: Resize) -> list[Change]:
    """The changes of all layers of the scene."""
    changes = []
    for place in scene.places:
        guard(scene, place, edit)
        with explained(place, edit):
            changes.append(_resized(scene, place, edit))
    return changes


def _resized(scene: Scene, place: Place, edit: Resize) -> Change:
    name = next(name for name in place.names if name in edit.converters)
    return by_conversion(scene, place, edit.converters[name](place.module, name))


def attributes_told(draft: Draft, edit: Resize) -> Iterator[Change]:
    """The changes of attributes; "config.x" is one of the module's configuration."""
    for module, spots in draft.spots().items():
        for name, attribute, value in edit.attributes:
            if name not in spots.names:
                continue
            holder = module
            *above, last = attribute.split(".")
            for part in above:
                holder = getattr(holder, part)
            shown = f"{attribute}={value!r}" if isinstance(value, int) else attribute
            step = Assign(vars(holder), {last: value})
            standing = draft.standing(module)
            yield Change(
                "follow", tuple(spots.names), module, module, standing, (step,), "an attribute is set", remarks=(shown,)
            )
