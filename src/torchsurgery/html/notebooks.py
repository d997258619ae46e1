"""Plans and surgeries as Jupyter shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..changes import Planned
from ..markup import Table, escape, shown
from ..text import Side, change_cells, limits, totals
from ..text.words import few, plural


def edits_shown(caption: str, planned: Sequence[Planned], before: Side, after: Side) -> str:
    """Each edit with what becomes of its layers, and the totals.

    Args:
        caption: What it is, in a line.
        planned: The edits with their changes.
        before: The model before them.
        after: The model after them.
    """
    parts = [part for number, item in enumerate(planned, 1) for part in _edit(number, item)]
    head, *rows = totals(before, after)
    warnings = [f"! {c.name}: {warning}" for item in planned for c in item.changes for warning in c.warnings]
    table = Table(head, rows, numbers={1, 2, 3}).html()
    return shown(caption, *parts, table, *(f"<p>{escape(line)}</p>" for line in few(warnings)))


def _edit(number: int, item: Planned) -> Iterator[str]:
    own = plural(sum(change.kind != "follow" for change in item.changes), "module")
    yield f"<p>{escape(f'{number}  {item.edit.describe()} · {own}')}</p>"
    kinds = [change.kind for change in item.changes]
    rows = list(_once_told([change_cells(change) for change in item.changes]))
    yield Table((), rows, codes={1, 2}, numbers={3}, kinds=kinds).html()
    yield from (f"<p>{escape(line)}</p>" for line in limits(item))


def _once_told(rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The rows without the account of what is carried, where that is the same as the one above."""
    told = ""
    for *cells, account in rows:
        yield *cells, "" if account == told else account
        told = account
