"""Which layers hang together, and by what: one small drawing for each group of channels that an edit has cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..edits import Recut, Tied
from ..markup import code, escape
from ..reports import Report
from ..text.words import listed, plural

_MOST = 24  # drawings on one page
_CHARACTER, _LINE, _GAP, _PAD = 6.7, 26, 34, 8


def diagrams(report: Report) -> str:
    """The groups of all edits that take channels away or give more; nothing where there are none."""
    ties = [tied for item in report.planned if isinstance(item.edit, Recut) for tied in item.edit.ties]
    if not ties:
        return ""
    alike: dict[object, list[Tied]] = {}
    for tied in ties:
        alike.setdefault(_form(tied), []).append(tied)
    drawn = list(alike.values())
    figures = "\n".join(_figure(first, others) for first, *others in drawn[:_MOST])
    beyond = sum(map(len, drawn[_MOST:]))
    rest = f'<p class="dim">… {plural(beyond, "group")} more</p>' if beyond else ""
    return (
        '<section>\n<h2>What hangs together</h2>\n<p class="legend dim">filled: gives these channels · outlined: takes '
        "them · between them the operations that tie them</p>\n"
        f'<div class="figures">\n{figures}\n</div>{rest}\n</section>'
    )


def _form(tied: Tied) -> object:
    """The same for groups of which one drawing will do: those of blocks that differ by their numbers alone."""
    parts = tied.giving[0].split(".")

    def seen_from_first(name: str) -> tuple[int, str]:
        shared = next((i for i, (a, b) in enumerate(zip(parts, name.split("."), strict=False)) if a != b), len(parts))
        return shared, ".".join(name.split(".")[shared:])

    names = tuple(seen_from_first(name) for name in (*tied.giving, *tied.taking))
    return re.sub(r"\d+", "#", tied.giving[0]), names, len(tied.giving), tied.channels, tied.gone


def _figure(tied: Tied, others: Sequence[Tied]) -> str:
    layers = len({*tied.giving, *tied.taking})
    left = f"{tied.channels:,} → {tied.channels - tied.gone:,}"
    caption = f"{code(tied.giving[0])} {left} channels in {plural(layers, 'layer')}"
    more = layers - 1 - len(tied.paths)
    if more > 0:
        caption += f", {more:,} of which are not drawn"
    if others:
        caption += f"<br>likewise {listed([code(other.giving[0]) for other in others], 3)}"
    drawing = _drawn(tied)
    label = escape(f"Layers that share {tied.channels} channels: {', '.join(drawing.columns)}")
    return (
        f'<figure><div class="scroll" tabindex="0" role="group" aria-label="{label}">{drawing.svg()}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


@dataclass(slots=True)
class _Drawing:
    """Names from left to right by how many steps they are away from the first layer.

    Attributes:
        kinds: "give" or "take" of each layer; operations have none.
        columns: Each name's distance from the first layer.
        links: Pairs of names.
        lines: Each name's place in its column, from the top.
    """

    kinds: Mapping[str, str]
    columns: dict[str, int] = field(default_factory=dict)
    links: dict[tuple[str, str], None] = field(default_factory=dict)
    lines: dict[str, float] = field(default_factory=dict)

    def svg(self) -> str:
        """The drawing."""
        left = self._lefts()
        height = _LINE * (max(self.lines.values(), default=0) + 1)
        width = max(left[column] + self._width(column) for column in left) + 1  # for the stroke
        parts = [*self._curves(left), *self._boxes(left)]
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        return f'<svg {size} aria-hidden="true">{"".join(parts)}</svg>'

    def _width(self, column: int) -> float:
        longest = max(len(name) for name, at in self.columns.items() if at == column)
        return longest * _CHARACTER + 2 * _PAD

    def _lefts(self) -> dict[int, float]:
        left, at = 1.0, dict[int, float]()
        for column in range(max(self.columns.values()) + 1):
            at[column] = left
            left += self._width(column) + _GAP
        return at

    def _curves(self, left: Mapping[int, float]) -> Iterator[str]:
        for one, other in self.links:
            x1 = left[self.columns[one]] + len(one) * _CHARACTER + 2 * _PAD
            x2 = left[self.columns[other]]
            y1, y2 = ((self.lines[name] + 0.5) * _LINE for name in (one, other))
            middle = (x1 + x2) / 2
            yield f'<path d="M{x1:.0f} {y1:.0f}C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"/>'

    def _boxes(self, left: Mapping[int, float]) -> Iterator[str]:
        for name, column in self.columns.items():
            x, y, kind = left[column], self.lines[name] * _LINE, self.kinds.get(name, "")
            if kind:
                width = len(name) * _CHARACTER + 2 * _PAD
                yield f'<rect class="{kind}" x="{x:.0f}" y="{y + 3:.0f}" width="{width:.0f}" height="20" rx="4"/>'
            style = f' class="{kind or "step"}"'
            yield f'<text{style} x="{x + _PAD:.0f}" y="{y + 17:.0f}">{escape(name)}</text>'


def _drawn(tied: Tied) -> _Drawing:
    kinds = {**dict.fromkeys(tied.taking, "take"), **dict.fromkeys(tied.giving, "give")}
    drawing = _Drawing(kinds, {tied.giving[0]: 0})
    for path in tied.paths:
        steps = _without_own(path)
        for i, step in enumerate(steps):
            drawing.columns[step] = max(i, drawing.columns.get(step, 0))
        drawing.links.update(dict.fromkeys(pairwise(steps)))
    _settle(drawing)
    return drawing


def _without_own(path: Sequence[str]) -> list[str]:
    """A way without what the layer at its end does itself: `batch_norm (bn1)` ahead of `bn1`."""
    first, *between, last = path
    own = {f"({first})", f"({last})"}
    return list(dict.fromkeys([first, *(step for step in between if step[step.find("(") :] not in own), last]))


def _settle(drawing: _Drawing) -> None:
    """Put what follows another to the right of it, and each name near the height of those that it hangs on."""
    for _ in range(len(drawing.columns)):
        for one, other in drawing.links:
            if drawing.columns[other] <= drawing.columns[one]:
                drawing.columns[other] = drawing.columns[one] + 1
    taken: dict[int, float] = {}
    for name in sorted(drawing.columns, key=drawing.columns.__getitem__):
        above = [drawing.lines[one] for one, other in drawing.links if other == name and one in drawing.lines]
        column = drawing.columns[name]
        line = max(taken.get(column, 0.0), sum(above) / len(above) if above else 0.0)
        drawing.lines[name], taken[column] = line, line + 1
