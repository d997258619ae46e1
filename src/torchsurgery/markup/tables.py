"""What Jupyter shows: a line of words and tables below it, whose style holds for them alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .escaping import code, escape, style

_MOST = 500  # rows of a table that are there at all


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of plain text, which is escaped when it is shown.

    Attributes:
        head: The names of the columns; none for a table without.
        rows: Cells, one row after the other.
        codes: The columns that are code: names, calls of constructors.
        numbers: The columns of numbers.
        kinds: What was done in each row, as `Change.kind` says; empty where that isn't told.
        seen: How many rows are seen before the table is unfolded.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    codes: Collection[int] = ()
    numbers: Collection[int] = ()
    kinds: Sequence[str] = ()
    seen: int = 12

    def html(self) -> str:
        """The table; of a long one the most of it in a fold."""
        rows = [self._row(i, row) for i, row in enumerate(self.rows[:_MOST])]
        names = "".join(f"<th{self._kind(i)}>{escape(name)}</th>" for i, name in enumerate(self.head))
        head = f"<thead><tr>{names}</tr></thead>" if names else ""
        shown = f"<table>{head}<tbody>{''.join(rows[: self.seen])}</tbody></table>"
        if len(self.rows) <= self.seen:
            return shown
        rest = f"<table><tbody>{''.join(rows[self.seen :])}</tbody></table>"
        beyond = f"<p>… {len(self.rows) - _MOST:,} more</p>" if len(self.rows) > _MOST else ""
        return f"{shown}{folded(f'{len(self.rows) - self.seen:,} more', rest + beyond)}"

    def _row(self, number: int, cells: Sequence[str]) -> str:
        kind = f' class="ts-{self.kinds[number]}"' if self.kinds and self.kinds[number] else ""
        return f"<tr{kind}>{''.join(self._cell(i, cell) for i, cell in enumerate(cells))}</tr>"

    def _cell(self, column: int, text: str) -> str:
        shown = code(text) if column in self.codes and text else escape(text)
        return f"<td{self._kind(column)}>{shown}</td>"

    def _kind(self, column: int) -> str:
        return ' class="ts-number"' if column in self.numbers else ""


def folded(summary: str, content: str) -> str:
    """A piece of markup that is seen when it is asked for.

    Args:
        summary: Plain text.
        content: Markup.
    """
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def shown(caption: str, *parts: str) -> str:
    """Pieces of markup below a line of plain text, with the style sheet for notebooks."""
    sheet = style(__package__, "notebook.css")
    return f'<div class="torchsurgery"><style>{sheet}</style><p><b>{escape(caption)}</b></p>{"".join(parts)}</div>'
