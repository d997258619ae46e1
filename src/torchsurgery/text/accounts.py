"""What becomes of a layer's tensors and arguments, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..changes import Change
from ..layers.conversion import Fidelity
from ..origins import Computed, Initialised, Origin, Same
from .words import listed


def carried(change: Change) -> str:
    """What becomes of the tensors and arguments: `carried weight, bias · lost running_mean · dropped momentum=0.1`."""
    parts = []
    if change.kind == "follow":
        return " · ".join(change.remarks)
    if change.fidelity not in (None, Fidelity.INITIALISED):  # of which the tensors tell
        error = f" (relative error about {change.error:.2g})" if change.error is not None else ""
        parts.append(change.fidelity.value + error)
    # What a layer that only moves brings along is all of it.
    moved = change.kind in ("insert", "wrap")
    parts += _tensor_words({k: o for k, o in change.origins.items() if not (moved and isinstance(o, Same))})
    if not change.origins and change.kind == "replace" and change.new.state_dict(keep_vars=True):
        parts.append("all tensors carried")
    if change.lost:
        parts.append(f"lost {listed(change.lost)}")
    if change.dropped:
        parts.append(f"without counterpart: {listed(change.dropped)}")
    return " · ".join([*parts, *change.remarks])


def _tensor_words(origins: Mapping[str, Origin]) -> Iterator[str]:
    same = [name for name, origin in origins.items() if isinstance(origin, Same)]
    if same:
        yield f"carried {listed(same)}"
    for name, origin in origins.items():
        if isinstance(origin, Computed):
            yield f"{name} {origin.describe()}"
    for why, names in _grouped(origins):
        yield f"{'new' if why == 'as given' else 'initialised'} {listed(names)}{f' ({why})' if why else ''}"


def _grouped(origins: Mapping[str, Origin]) -> Iterator[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for name, origin in origins.items():
        if isinstance(origin, Initialised):
            groups.setdefault(origin.why, []).append(name)
    yield from groups.items()
