"""Escaping, and numbers as they are written on a page. All text from outside goes through `escape`."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from importlib import resources

from ..text.words import listed

NONE = "–"


def escape(text: object) -> str:
    """Text that a browser shows as it is, wherever it stands: between tags or in a quoted attribute."""
    # What is no character in HTML, such as a NUL in a name, would be dropped or break the page off.
    return html.escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", "�", str(text)))


def code(text: object) -> str:
    """A name or a piece of code."""
    return f"<code>{escape(text)}</code>"


def style(name: str) -> str:
    """A style sheet of this folder, without comments and indents."""
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"\s*([{};,>])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()


def in_shapes(shapes: Sequence[tuple[int, ...]], most: int = 4) -> str:
    """Shapes in a row: `(2, 3, 64, 64), (2, 10)`."""
    return listed([str(shape) for shape in shapes], most)


def spaced(text: str) -> str:
    """A number with its unit, which stay in one line."""
    return escape(text.replace(" ", "\u00a0"))


def bar(before: float, after: float, whole: float) -> str:
    """Grey for before and blue for after, as shares of `whole`.

    Lengths are classes, in half per cents, since the page's policy lets no style be written at an element.
    """
    if not whole or not (before or after):
        return ""
    return f'<i class="bar w{_step(before, whole)} n{_step(after, whole)}"></i>'


def _step(value: float, whole: float) -> int:
    return 0 if not value else max(1, min(200, round(200 * value / whole)))
