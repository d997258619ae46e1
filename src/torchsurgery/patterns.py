"""Patterns over fully-qualified names: `*` one name, `**` any number of them, `[..]` as in fnmatch, `re:` a regex."""

from __future__ import annotations

import re

from .errors import SelectionError


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern over fully-qualified names; see `select`."""
    try:
        return re.compile(pattern[3:] if pattern.startswith("re:") else _translate(pattern))
    except re.error as err:
        raise SelectionError(f"{pattern!r} is not a valid pattern: {err}.", got=pattern) from err


def _translate(pattern: str) -> str:
    first, *rest = pattern.split(".")
    if {first, *rest} == {"**"}:
        return ".*"
    # A dot belongs to the names that `**` stands for: with none of them, none is left behind.
    expression = r"(?:[^.]+\.)*" if first == "**" else _one_name(first)
    after_stars = first == "**"
    for part in rest:
        if part == "**":
            expression += "" if after_stars else r"(?:\.[^.]+)*"
        else:
            expression += ("" if after_stars else r"\.") + _one_name(part)
        after_stars = after_stars and part == "**"
    return expression


def _one_name(part: str) -> str:
    """One part of a pattern, as fnmatch reads it, kept from crossing a dot."""
    if part == "*":
        return "[^.]+"
    pieces = re.split(r"(\*|\?|\[[!^]?\]?[^\]]*\])", part)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece in ("*", "?"):
        return "[^.]" + piece.strip("?")
    if piece.startswith("[") and piece.endswith("]"):
        body = piece[1:-1].replace("\\", r"\\")
        return f"[^{body[1:]}]" if body.startswith(("!", "^")) else f"[{body}]"
    return re.escape(piece)
