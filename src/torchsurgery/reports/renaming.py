"""Where a module lies after edits that put others around it: `relu` is `relu.layer` once a layer is inserted there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..changes import Planned


class Names:
    """The names of a model's modules before, between and after the edits of a plan."""

    def __init__(self, planned: Sequence[Planned]) -> None:
        self._inner = [_inner_paths(item) for item in planned]

    def before(self, name: str) -> str | None:
        """What a module that has this name after all edits was called before them; None for one that they brought.

        What is around a layer goes by the layer's own name, as its numbers are to be held against the layer's.
        """
        found: str | None = name
        for inner in reversed(self._inner):
            found = None if found is None else _unwrapped(found, inner)
        return found

    def after(self, name: str, edit: int) -> str:
        """Where that is after all edits which edit number `edit` has left at `name`, by the names that it saw."""
        found = _wrapped(name, self._inner[edit], itself=False)
        for inner in self._inner[edit + 1 :]:
            found = _wrapped(found, inner, itself=True)
        return found


def _inner_paths(item: Planned) -> dict[str, str]:
    return {name: change.inner for change in item.changes if change.inner for name in change.names}


def _unwrapped(name: str, inner: Mapping[str, str]) -> str | None:
    found: list[str] = []
    ahead = _parts(inner.get("", ""))
    for part in _parts(name):
        if ahead:
            if part != ahead.pop(0):
                return None
            continue
        found.append(part)
        ahead = _parts(inner.get(".".join(found), ""))
    at = ".".join(found)
    whole = _parts(inner.get(at, ""))
    # Between the wrapper and the layer inside there may be containers of the wrapper's own.
    return at if ahead in ([], whole) else None


def _wrapped(name: str, inner: Mapping[str, str], itself: bool) -> str:
    parts, found = _parts(name), list[str]()
    for depth in range(len(parts) + 1):
        if depth < len(parts) or itself:
            path = inner.get(".".join(parts[:depth]), "")
            found += _parts(path)
        found += parts[depth : depth + 1]
    return ".".join(found)


def _parts(name: str) -> list[str]:
    return name.split(".") if name else []
