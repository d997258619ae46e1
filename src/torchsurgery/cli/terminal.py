"""Where answers go: colours where they are wanted, plain characters where there are no others, progress on the side."""

from __future__ import annotations

import json as json_module
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..progress import Advance, unheard
from .progress import Display

# One character for one, so that columns stay where they are.
_PLAIN = str.maketrans("→←↳├└│─█▏▎▍▌▋▊▉−–×·…✓✗≤µ", "><`|`|-#   ####--x|~+x<u")

# What is drawn how; a group's name is the style.
_STYLES = (
    r"(?m)^(?P<bold>plan|inspect|apply|verify|report|export) (?P<cyan>.+?)(?P<dim>   .*)?$",
    r"(?m)^(?P<green>\+) insert   (?P<red>-) remove   (?P<magenta>-/\+) replace or wrap   (?P<yellow>~) resize",
    r"(?m)^(?P<bold>\d+  [a-z]+)\b",
    r"(?m)^ +(?P<green>\+ \S+)",
    r"(?m)^ +(?P<red>- \S+)",
    r"(?m)^ +(?P<yellow>~ \S+)",
    r"(?m)^ +(?P<magenta>-/\+ \S+)",
    r"(?P<dim>↳|→|[├└]─|│)",
    r"(?m)^  (?P<green>✓) ",
    r"(?m)^  (?P<red>✗) ",
    r"(?m)^ *(?P<yellow>!) ",
    r"(?P<green>−[\d.,]+ %)",
    r"(?P<blue>[█▏▎▍▌▋▊▉]+)",
    r"(?m)(?P<dim>^MACs: .*$|^ +… .*$)",
    r"(?m)^(?P<bold>Plan:|Wrote)",
    r"(?m)^(?P<dim>Saved to .*)$",
)


class Terminal:
    """Standard output and error, as they are when something is shown.

    Attributes:
        json: Whether answers are JSON; nothing else is printed then.
        progress: Whether progress is told in a pipe, too.
        delay: Seconds after which progress is shown.
        written: What to tell who interrupts a command, once it has written something.
    """

    written = ""

    def __init__(self, json: bool = False, progress: bool = False, delay: float = 1.0) -> None:
        self.json, self.progress, self.delay = json, progress, delay
        self._display: Display | None = None

    @property
    def width(self) -> int | None:
        """Columns that there are; None where the output isn't looked at but read by a program."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    @property
    def shows_progress(self) -> bool:
        """Whether somebody looks, or has asked for it."""
        return not self.json and (self.progress or sys.stderr.isatty())

    def show(self, text: str) -> None:
        """Print an answer."""
        if not self.json:
            _write(sys.stdout, text if self.width is None else folded(text, self.width))

    def data(self, document: Any) -> None:
        """Print an answer for machines."""
        if self.json:
            sys.stdout.write(json_module.dumps(document, indent=2) + "\n")

    def error(self, kind: str, message: str, place: str = "") -> None:
        """Say what is wrong: on standard error, for machines on standard output."""
        if self.json:
            first, *details = message.split("\n")
            rows = [row.strip() for row in details]
            self.data({"error": {"kind": kind, "message": first, "details": rows, "place": place}})
            return
        sys.stdout.flush()
        _write(sys.stderr, f"{f'{place}: ' if place else ''}{kind}: {message}", (r"^(?P<red>(\S+: )?\w+):",))

    @contextmanager
    def busy(self, what: str, total: float | None = None, unit: str = "") -> Iterator[Advance]:
        """A block that may take a while: what is done, how fast and for how much longer."""
        if not self.shows_progress:
            yield unheard
            return
        if self._display is None:
            self._display = Display(sys.stderr, _drawable(sys.stderr), self.delay)
        with self._display.work(what, total, unit) as advance:
            yield advance


def _drawable(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def folded(text: str, width: int) -> str:
    """Lines that are too long in several, broken between words, the further ones indented."""
    return "\n".join(row for line in text.split("\n") for row in _rows(line, width))


def _rows(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = " " * min(len(line) - len(line.lstrip()) + 2, width // 4)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [line]


def _write(stream: TextIO, text: str, styles: Iterable[str] = _STYLES) -> None:
    text = _encodable(text, stream.encoding or "utf-8")
    if not _coloured(stream):
        stream.write(text + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    drawn = Text(text)
    for pattern in styles:
        drawn.highlight_regex(pattern)
    Console(file=stream, highlight=False, emoji=False, legacy_windows=False).print(drawn, soft_wrap=True)


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def _encodable(text: str, encoding: str) -> str:
    """The text, or one in plain characters where the stream knows no others."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN).encode("ascii", "replace").decode("ascii")
    return text
