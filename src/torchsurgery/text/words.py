"""Lists that are folded, and cells in columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

MOST = 8  # rows that a list shows before it is folded


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names in a row: `a, b and 3 more`."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def few(rows: Sequence[str]) -> list[str]:
    """The first rows, and how many more there are."""
    return [*rows[:MOST], *([f"… {len(rows) - MOST} more"] if len(rows) > MOST else [])]


def columns(rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> Iterator[str]:
    """Rows of cells under each other.

    Args:
        rows: All of one length.
        left: The columns that begin at the same place; the others end there.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = set(left)
    for row in rows:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


def plural(number: int, noun: str) -> str:
    """A number with its noun: `1 edit`, `2 edits`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def first_shape(output: Sequence[tuple[int, ...]]) -> str:
    """The shape of the first of several tensors, and how many more there are: `(1, 10) +2`."""
    more = f" +{len(output) - 1}" if len(output) > 1 else ""
    return f"{output[0]}{more}" if output else ""
