"""Text that a browser shows as it is, and style sheets."""

from __future__ import annotations

import html
import re
from importlib import resources


def escape(text: object) -> str:
    """Text that a browser shows as it is, wherever it stands: between tags or in a quoted attribute."""
    # What is no character in HTML, such as a NUL in a name, would be dropped or break the page off.
    return html.escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", "�", str(text)))


def code(text: object) -> str:
    """A name or a piece of code."""
    return f"<code>{escape(text)}</code>"


def name(text: str) -> str:
    """A full name, which breaks after its dots and underscores where it is too long for a line."""
    return re.sub(r"([._])(?=\w)", r"\1<wbr>", escape(text))


def spaced(text: str) -> str:
    """A number with its unit, which stay in one line."""
    return escape(text.replace(" ", "\u00a0"))


def style(package: str, name: str) -> str:
    """A style sheet that lies in a package, without comments and indents."""
    text = resources.files(package).joinpath(name).read_text("utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"\s*([{};,>])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()
