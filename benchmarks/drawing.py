"""Charts as SVG: light and dark by themselves, with text to be read aloud, the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 760
_LINE = 20  # of text
_LETTER = 6.6  # average width of a letter at 13 px
_STYLE = (
    ":root{color-scheme:light dark}"
    "text{font:13px system-ui,sans-serif;fill:light-dark(#1f2328,#e6edf3)}"
    ".title{font-size:15px;font-weight:600}.small{font-size:12px}"
    ".small,.axis{fill:light-dark(#59636e,#9198a1)}"
    ".ground{fill:light-dark(#fff,#0d1117)}"
    "line,path{stroke:light-dark(#d1d9e0,#3d444d);fill:none}"
    ".strong{stroke:light-dark(#59636e,#9198a1)}"
    ".ours{fill:light-dark(#0969da,#4493f8)}.theirs{fill:light-dark(#818b98,#7d8590)}"
    "path.ours{stroke:light-dark(#0969da,#4493f8);fill:none;stroke-width:2}"
    "path.theirs{stroke:light-dark(#818b98,#7d8590);fill:none;stroke-width:2}"
    ".dot{fill-opacity:.75}"
)


@dataclass
class Drawing:
    """A picture that grows downwards.

    Attributes:
        title: What it says, in one sentence; stands above it.
        description: What is drawn how, for those who can't see it.
        height: How far it reaches so far.
    """

    title: str
    description: str
    height: float = 0.0
    _parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for line in folded(self.title, 86):
            self.height += _LINE
            self.text(0, self.height - 4, line, "title")
        self.height += 8

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words that begin, end or have their middle at x, on the line y."""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        name = f' class="{kind}"' if kind else ""
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{where}{name}>{escape(words, quote=False)}</text>')

    def bar(self, x: float, y: float, width: float, kind: str, height: float = 9) -> None:
        """A bar to the right of x, below y; one pixel at least."""
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(1.0, width):.1f}" height="{height:g}" rx="2"/>'
        )

    def dot(self, x: float, y: float, kind: str, radius: float = 4.5) -> None:
        """A dot around a point."""
        self._parts.append(f'<circle class="{kind} dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "") -> None:
        """A straight line."""
        name = f' class="{kind}"' if kind else ""
        self._parts.append(f'<line{name} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        self._parts.append(f'<path class="{kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>')

    def key(self, entries: Sequence[tuple[str, str]]) -> None:
        """What the colours stand for, in one row."""
        x = 0.0
        for kind, words in entries:
            self.dot(x + 5, self.height + 8, kind)
            self.text(x + 14, self.height + 12, words, "small")
            x += 14 + len(words) * _LETTER + 24
        self.height += _LINE + 6

    def note(self, words: str) -> None:
        """Small print below."""
        for line in folded(words, 118):
            self.height += 17
            self.text(0, self.height - 4, line, "small")

    def svg(self) -> str:
        """The whole file."""
        height = math.ceil(self.height + 4)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -8 {WIDTH + 24} {height + 16}" role="img" '
            f'aria-labelledby="title description">\n<title id="title">{escape(self.title, quote=False)}</title>\n'
            f'<desc id="description">{escape(self.description, quote=False)}</desc>\n<style>{_STYLE}</style>\n'
            f'<rect class="ground" x="-12" y="-8" width="{WIDTH + 24}" height="{height + 16}"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


@dataclass(frozen=True)
class Scale:
    """Numbers to places on a line, by their logarithms or as they are."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.begin + (self.end - self.begin) * (at - low) / (high - low)


def folded(words: str, width: int) -> list[str]:
    """Words in lines of at most so many letters."""
    lines = [""]
    for word in words.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
