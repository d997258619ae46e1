"""Two tables of a model's modules → one tree of rows: each before and after, what was done to it and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from ..changes import Change, Planned
from ..edits import Recut
from ..measuring import Stats
from ..stats import Row
from ..text import layer, row_words
from .renaming import Names

_LONGEST = 120  # characters that describe a layer


@dataclass(slots=True, eq=False)
class Pair:
    """One module, before and after.

    Attributes:
        name: Its full name after the edits; of what is gone, the one before.
        before: What it was; None for what is new.
        after: What it is; None for what is gone.
        words: What it was and is, in words; empty for what there was or is not.
        kind: What was done to it, as `Change.kind` says; "" for nothing, "insert" for what came with a change above.
        why: By which edits: "1 prune", "follows layer1.0.conv1".
        children: The modules in it.
        changed: Whether something was done to it, or to what lies in it.
    """

    name: str
    before: Row | None
    after: Row | None
    words: tuple[str, str]
    kind: str = ""
    why: str = ""
    children: list[Pair] = field(default_factory=list)
    changed: bool = False

    def walk(self) -> Iterator[Pair]:
        """This one and all that lie in it."""
        yield self
        for child in self.children:
            yield from child.walk()


def paired(planned: Sequence[Planned], before: Stats, after: Stats) -> Pair:
    """The tree of all modules; the model itself is its root. A shared module is in it once, by its first name."""
    return _Pairing(planned, {row.name: row for row in before.rows}, {row.name: row for row in after.rows}).root()


class _Done(NamedTuple):
    """What was done to one module by all edits: what it was at first and is in the end, the last verb, and why."""

    old: nn.Module
    new: nn.Module
    kind: str
    why: str


class _Pairing:
    def __init__(self, planned: Sequence[Planned], before: Mapping[str, Row], after: Mapping[str, Row]) -> None:
        self.names, self.before, self.after = Names(planned), before, after
        self.done = _all_done(planned, self.names)
        self.pairs: dict[str, Pair] = {}
        self.place: dict[str, str] = {}  # where what had this name before is now

    def root(self) -> Pair:
        for name, row in self.after.items():
            earlier = self.names.before(name)
            was = None if earlier is None else self.before.get(earlier)
            if was is not None:
                self.place.setdefault(was.name, name)
            self._lay(name, was, row, name.rpartition(".")[0])
        for name, row in self.before.items():
            if name not in self.place:
                above = name.rpartition(".")[0]
                self.place[name] = name
                self._lay(name, row, None, self.place.get(above, above))
        root = self.pairs[""]
        _mark(root)
        return root

    def _lay(self, name: str, before: Row | None, after: Row | None, above: str) -> None:
        done = self.done.get(name)
        kind = "" if before and after else "insert" if after else "remove"
        pair = Pair(name, before, after, _words(before, after, done))
        pair.kind, pair.why = (done.kind, done.why) if done else (kind, "")
        self.pairs[name] = pair
        if name:
            self.pairs[above].children.append(pair)


def _mark(pair: Pair) -> bool:
    inside = [_mark(child) for child in pair.children]
    pair.changed = bool(pair.kind) or any(inside)
    return pair.changed


def _words(before: Row | None, after: Row | None, done: _Done | None) -> tuple[str, str]:
    words = tuple(row_words(row) if row else "" for row in (before, after))
    if done is not None and words[0] == words[1]:  # what has changed may be in what short words leave out
        full = tuple(layer(module) for module in (done.old, done.new))
        words = words if full[0] == full[1] else full
    one, other = (text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]} …" for text in words)
    return one, other


def _all_done(planned: Sequence[Planned], names: Names) -> dict[str, _Done]:
    """By the name after all edits."""
    found: dict[str, _Done] = {}
    for number, item in enumerate(planned):
        leaders = _leaders(item)
        for change in item.changes:
            for name in change.names:
                at = names.after(name, number)
                why, old, earlier = _why(change, name, number, leaders, names), change.old, found.get(at)
                if earlier is not None:
                    why, old = f"{earlier.why}, {why}", earlier.old
                found[at] = _Done(old, change.new, change.kind, why)
    return found


def _why(change: Change, name: str, number: int, leaders: Mapping[str, str], names: Names) -> str:
    if change.kind != "follow":
        return f"{number + 1} {change.kind}"
    leader = leaders.get(name)
    return f"follows edit {number + 1}" if leader is None else f"follows {names.after(leader, number)}"


def _leaders(item: Planned) -> dict[str, str]:
    """Of what follows, the first layer that it follows, where the edit knows."""
    found: dict[str, str] = {}
    if not isinstance(item.edit, Recut):
        return found
    for tied in item.edit.ties:
        leader = next((name for name in tied.giving if name in item.edit.layers), None)
        if leader is not None:
            found.update({name: leader for name in (*tied.giving, *tied.taking) if name not in found})
    return found
