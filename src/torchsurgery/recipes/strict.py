"""JSON from anywhere, read strictly: whatever is wrong with it is a `RecipeError` that says where."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import RecipeError

MOST_BYTES = 4 << 20
_MOST_ITEMS = 250_000  # of all lists and objects together: what a parser allocates for them stays below 64 MiB
_MOST_DIGITS = 19
_MOST_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a document, which knows where it stands.

    Attributes:
        value: What is there.
        where: The document, such as the name of its file.
        path: The way to it: "operations[2].layers[0].at".
    """

    value: Any
    where: str
    path: str = ""

    def refuse(self, expected: str, got: str | None = None, way_out: str | None = None) -> NoReturn:
        """Raise the error that says what should have been here."""
        shown = got or shortened(self.value)
        raise RecipeError(
            f"{self.where}: {self.path or 'the document'} is not what it must be.",
            f"expected {expected}",
            f"got {shown}",
            name=self.path or None,
            expected=expected,
            got=self.value,
            way_out=way_out,
        )

    def members(self, required: str, optional: str = "") -> dict[str, Field]:
        """The members of an object; all of `required`, and of others only those of `optional`, are there."""
        if not isinstance(self.value, dict):
            self.refuse(f"an object with {required.replace(' ', ', ')}")
        names = {*required.split(), *optional.split()}
        for name in self.value:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                meant = f"; did you mean {close[0]}?" if close else ", or a newer version of torchsurgery"
                self.refuse(f"no member but {', '.join(sorted(names))}{meant}", f"{shortened(name)}")
        for name in required.split():
            if name not in self.value:
                self.refuse(f"a member {name!r}", f"only {', '.join(map(repr, self.value)) or 'none'}")
        return {name: self._below(f".{name}", value) for name, value in self.value.items()}

    def entries(self) -> Iterator[tuple[str, Field]]:
        """The members of an object of any names."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        for name, value in self.value.items():
            yield name, self._below(f".{name}", value)

    def items(self, least: int = 0) -> list[Field]:
        """The entries of a list of at least so many."""
        if not isinstance(self.value, list) or len(self.value) < least:
            self.refuse("a list" + (f" of at least {least}" if least else ""))
        return [self._below(f"[{i}]", value) for i, value in enumerate(self.value)]

    def row(self, length: int) -> list[Field]:
        """The entries of a list of just this length."""
        if not isinstance(self.value, list) or len(self.value) != length:
            self.refuse(f"a list of {length}")
        return self.items()

    def text(self, pattern: str = r"[^\x00-\x1f]*", what: str = "a line of text") -> str:
        """A text that a regular expression fits."""
        if not isinstance(self.value, str) or len(self.value) > _MOST_TEXT or not re.fullmatch(pattern, self.value):
            self.refuse(what)
        return self.value

    def one_of(self, *choices: str) -> str:
        """One of these texts."""
        if not isinstance(self.value, str) or self.value not in choices:
            self.refuse(" or ".join(map(repr, choices)))
        return self.value

    def whole(self, least: int, most: int) -> int:
        """A whole number in a range."""
        if type(self.value) is not int or not least <= self.value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return self.value

    def _below(self, step: str, value: Any) -> Field:
        return Field(value, self.where, f"{self.path}{step}".lstrip("."))


def read_json(data: bytes, where: str, most: int = MOST_BYTES, most_items: int = _MOST_ITEMS) -> Field:
    """The document in some bytes.

    Raises:
        RecipeError: if it is too large, no JSON, or JSON of which readers take different views: with a key twice, with
            numbers that aren't finite or don't fit into 64 bits.
    """
    document = Field(None, where)
    if len(data) > most:
        document.refuse(f"at most {most:,} bytes", f"{len(data):,}")
    if sum(map(data.count, (b",", b"[", b"{"))) > most_items:
        document.refuse(f"at most {most_items:,} entries", "more")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_each_key_once,
            parse_int=_short,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        canonical(value)  # which half of a character can't be
    except (ValueError, RecursionError) as error:
        reason = "nesting without end" if isinstance(error, RecursionError) else str(error)
        raise RecipeError(
            f"{where}: this is no JSON that can be trusted.",
            f"got {shortened(reason)}",
            got=reason,
            way_out="save again, or get the file again from where it came",
        ) from None
    return Field(value, where)


def canonical(value: Any) -> bytes:
    """The one way to write a document: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def shortened(value: Any) -> str:
    """A value, short enough for a line."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return text if len(text) <= 120 else f"{text[:117]}…"


def _each_key_once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice in one object")
    return found


def _short(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]}, which is not finite")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number")
