"""The modules: foldable, each before and after, with bars on one scale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..markup import escape, name, spaced
from ..reports import Report
from ..reports.pairing import Pair
from ..stats import Cost, count, share, short
from ..text.words import first_shape
from .bars import bar

_SYMBOLS = {
    "replace": ("-/+", "replaced"),
    "insert": ("+", "new"),
    "remove": ("-", "removed"),
    "wrap": ("-/+", "wrapped"),
    "prune": ("~", "resized"),
    "widen": ("~", "resized"),
    "call": ("+", "made of a call"),
    "follow": ("↳", "follows"),
}
# At most so many rows are shown at first, that the page is there at once; more lie in folds.
_OPEN = 500


def tree(report: Report) -> str:
    """All modules of a report."""
    both = (report.before, report.after)
    drawn = _Drawn(
        max(stats.params for stats in both),
        max(stats.macs for stats in both),
        any(stats.inputs for stats in both),
        all(stats.inputs for stats in both),
        "why" if report.planned else "",
        frozenset(_opened(report.tree)),
    )
    head = "".join(f"<span>{column}</span>" for column in drawn.columns)
    kind = "tree run" if drawn.was_run else "tree"
    rows = "".join(drawn.rows(report.tree, report.model_name))
    return f'<div class="{kind}"><div class="row head" aria-hidden="true">{head}</div><ul>{rows}</ul></div>'


def _opened(root: Pair) -> list[str]:
    """What is unfolded at first: everything, else where something has changed, else the first levels."""
    inside = [pair for pair in root.walk() if pair.children]
    deepest = max((pair.name.count(".") for pair in inside), default=0)
    choices = [inside, [pair for pair in inside if pair.changed]]
    choices += [[pair for pair in inside if pair.name.count(".") < depth] for depth in range(deepest, 0, -1)]
    for pairs in choices:
        if sum(len(pair.children) for pair in pairs) <= _OPEN:
            return [pair.name for pair in pairs]
    return [root.name]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Rows of one page.

    Attributes:
        params, macs: How much the longest bars stand for.
        was_run: Whether there are shapes and MACs.
        run_twice: Whether there are those from before and after.
        last: The name of the last column.
        opened: The names of what is unfolded.
    """

    params: int
    macs: int
    was_run: bool
    run_twice: bool
    last: str
    opened: frozenset[str]

    @property
    def columns(self) -> list[str]:
        run = self.was_run
        return ["module", "type", *(["output shape"] if run else []), "params", *(["MACs"] if run else []), self.last]

    def rows(self, pair: Pair, label: str) -> Iterator[str]:
        cells = "".join(f"<span>{cell}</span>" for cell in self._cells(pair, label))
        kind = f" {pair.kind}" if pair.kind else ""
        if not pair.children:
            yield f'<li class="row{kind}{" c" if pair.kind else ""}">{cells}</li>'
            return
        opened = " open" if pair.name in self.opened else ""
        changed = " class=c" if pair.changed else ""
        yield f'<li{changed}><details{opened}><summary class="row{kind}">{cells}</summary><ul>'
        for child in pair.children:
            yield from self.rows(child, child.name.rpartition(".")[2])
        yield "</ul></details></li>"

    def _cells(self, pair: Pair, label: str) -> Iterator[str]:
        sign, meaning = _SYMBOLS.get(pair.kind, ("", ""))
        symbol = f'<abbr title="{meaning}">{sign}</abbr>' if sign else ""
        yield f"{symbol}<code>{name(label)}</code>"
        yield _words(pair)
        both = pair.before, pair.after
        if self.was_run:
            yield told_apart(*(first_shape(row.output) if row else "" for row in both))
        was, now = (row.total if row else Cost() for row in both)
        if pair.before is None and any(inner.before for inner in pair.walk()):
            was = now  # the container is new, what lies in it is not
        yield _numbers(was.params, now.params, self.params)
        if self.run_twice:
            yield _numbers(was.macs, now.macs, self.macs)
        elif self.was_run:  # once: there is nothing to compare
            yield _numbers(was.macs or now.macs, was.macs or now.macs, self.macs)
        yield name(pair.why)


def _words(pair: Pair) -> str:
    before, after = pair.words
    if pair.kind in ("insert", "wrap") and before:
        return f"<b>{escape(after)}</b> around {escape(before)}"
    return told_apart(before, after) if after else f"<s>{escape(before)}</s>"


def _numbers(before: int, after: int, whole: int) -> str:
    if not before and not after:
        return ""
    drawn = bar(before, after, whole)
    if before == after:
        return f"{spaced(short(after))}{drawn}"
    exact = f"{count(before)} → {count(after)}"
    return f'<b title="{exact}">{spaced(short(after))}</b> <small>{spaced(share(before, after))}</small>{drawn}'


def told_apart(before: str, after: str) -> str:
    """Two lines of words as one: `Conv2d(64, <b>64→48</b>, 3)`; two that differ in more, one after the other."""
    if not before or before == after:
        return escape(after)
    old, new = (re.split(r"(, |\(|\))", words) for words in (before, after))
    differ = sum(a != b for a, b in zip(old, new, strict=False))
    if len(old) != len(new) or old[0] != new[0] or differ > 3:
        return f"<s>{escape(before)}</s> → <b>{escape(after)}</b>"
    return "".join(escape(a) if a == b else f"<b>{_arrow(a, b)}</b>" for a, b in zip(old, new, strict=True))


def _arrow(before: str, after: str) -> str:
    """`padding=0` and `padding=1` as `padding=0→1`."""
    name, equals, value = before.partition("=")
    if equals and after.startswith(name + "="):
        return escape(f"{name}={value}→{after[len(name) + 1 :]}")
    return escape(f"{before or 'default'}→{after or 'default'}")
