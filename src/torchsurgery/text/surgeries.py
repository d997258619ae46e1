"""What was done, in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..changes import Change
from ..stats import Size, count
from .words import MOST, plural

_DONE = {
    "replace": "replaced",
    "insert": "with one inserted",
    "remove": "removed",
    "wrap": "wrapped",
    "prune": "pruned",
    "widen": "widened",
    "call": "made of a call",
    "follow": "adjusted",
}


def surgery_line(model: str, changes: Sequence[Change], before: Size, after: Size, in_force: bool) -> str:
    """`Surgery on ResNet: 20 layers replaced · params 11,689,512 → 11,689,512 · undo() takes it back`."""
    counts = Counter(change.kind for change in changes)
    done = ", ".join(f"{plural(n, 'layer')} {_DONE[kind]}" for kind, n in counts.items()) or "nothing done"
    state = "undo() takes it back" if in_force else "undone"
    rows = [f"Surgery on {model}: {done} · params {count(before.params)} → {count(after.params)} · {state}"]
    rows += [f"! {change.name}: {warning}" for change in changes for warning in change.warnings][:MOST]
    return "\n  ".join(rows)
