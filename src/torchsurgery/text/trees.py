"""A model as a tree, with what each part has and computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..stats import Cost, Row, count, in_bytes, short
from .words import columns, first_shape, plural

Inputs = Sequence[tuple[tuple[int, ...], str]]

HEAD = ("module", "type", "output shape", "params", "%", "MACs", "")
_BAR = 12  # characters that stand for the whole model
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SIBLINGS = 16  # rows of one parent that are shown before they are folded
_UNITS = "MACs: one multiply-add each, of matrix products and convolutions · k, M, G: powers of 1000"


@dataclass(frozen=True, slots=True)
class View:
    """Which rows are shown, and where they hang.

    Attributes:
        depth: How deep; None for all.
        names: Only these modules, each with its full name; None for the tree.
        all: Whether long lists are shown whole.
        width: Columns that there are; None for as many as it takes.
        more: What to tell who wants to see more.
    """

    depth: int | None = 1
    names: frozenset[str] | None = None
    all: bool = False
    width: int | None = None
    more: str = ""


_PLAIN = View()


def tree(rows: Sequence[Row], inputs: Inputs, device: str, view: View = _PLAIN) -> str:
    """The whole table: a row for each module that is shown, the totals, and what the units mean.

    Args:
        rows: Of all modules, the model itself first.
        inputs: (shape, dtype) of what it was run on; empty where it wasn't.
        device: Where it is.
        view: What is shown.
    """
    shown = list(_shown(rows, view))
    run = bool(inputs)
    table = [HEAD, *(_cells(label, row, rows[0].total, run) for label, row in shown)]
    if view.names is not None:
        table.append(_sum_cells([row for _, row in shown if isinstance(row, Row)], rows[0].total, run))
    body = "\n".join(_fitted(table, view.width))
    return "\n\n".join([body, f"{totals_line(rows)}\n{_UNITS}{f' · {view.more}' if view.more else ''}"])


def input_line(inputs: Inputs, device: str) -> str:
    """`input (1, 3, 224, 224) float32 · cpu`."""
    if not inputs:
        return f"not run: no shapes, no MACs · {device}"
    return f"input {', '.join(f'{shape} {dtype}' for shape, dtype in inputs)} · {device}"


def totals_line(rows: Sequence[Row]) -> str:
    """`68 modules · 52 leaves · 11,689,512 params (all trainable) · 1.814 GMACs · 46.8 MB weights`."""
    total, leaves = rows[0].total, len(rows) - len({r.name.rpartition(".")[0] for r in rows if r.name})
    trained = "all" if total.trainable == total.params else f"{count(total.trainable)}"
    number, _, unit = short(total.macs).partition(" ")
    return " · ".join(
        [
            plural(len(rows), "module"),
            f"{leaves:,} leaves" if leaves != 1 else "1 leaf",
            f"{count(total.params)} params ({trained} trainable)",
            *([f"{number} {unit}MACs"] if total.macs else []),
            f"{in_bytes(total.bytes)} weights",
        ]
    )


# --- which rows


@dataclass(frozen=True, slots=True)
class _Folded:
    """Rows of one parent that are not shown."""

    number: int
    total: Cost


def _shown(rows: Sequence[Row], view: View) -> Iterator[tuple[str, Row | _Folded]]:
    if view.names is not None:
        yield from ((row.name or row.type, row) for row in rows if view.names.intersection(row.names))
        return
    children: dict[str, list[Row]] = {}
    for row in rows[1:]:
        children.setdefault(row.name.rpartition(".")[0], []).append(row)
    yield rows[0].type, rows[0]
    yield from _below(rows[0], "", children, view)


def _below(
    parent: Row, stem: str, children: Mapping[str, Sequence[Row]], view: View
) -> Iterator[tuple[str, Row | _Folded]]:
    inside = children.get(parent.name, ())
    if view.depth is not None and parent.depth >= view.depth:
        return
    shown = inside if view.all or len(inside) <= _SIBLINGS else inside[: _SIBLINGS // 2]
    for i, row in enumerate(shown):
        last = i == len(inside) - 1
        yield f"{stem}{'└─' if last else '├─'} {row.name.rpartition('.')[2]}", row
        yield from _below(row, stem + ("   " if last else "│  "), children, view)
    if hidden := inside[len(shown) :]:
        yield f"{stem}└─ … {len(hidden)} more", _Folded(len(hidden), sum((r.total for r in hidden), Cost()))


# --- their cells


def _cells(label: str, row: Row | _Folded, whole: Cost, run: bool) -> tuple[str, ...]:
    kind, shape = ("", "") if isinstance(row, _Folded) else (row_words(row), first_shape(row.output))
    kind = "" if kind == label else kind
    return (label, kind, shape, *_numbers(row.total, whole, run))


def row_cells(row: Row, whole: Cost, run: bool) -> tuple[str, ...]:
    """A row's cells below those of `HEAD`, its name indented by how deep it lies.

    Args:
        row: The module.
        whole: The costs of the model.
        run: Whether it was run.
    """
    return _cells("  " * row.depth + (row.name.rpartition(".")[2] or row.type), row, whole, run)


def _sum_cells(rows: Sequence[Row], whole: Cost, run: bool) -> tuple[str, ...]:
    """The sum of selected rows, of which those inside others are not counted again."""
    outermost = [row for row in rows if not any(other.holds(row) for other in rows)]
    return ("sum", "", "", *_numbers(sum((row.total for row in outermost), Cost()), whole, run))


def _numbers(cost: Cost, whole: Cost, run: bool) -> tuple[str, str, str, str]:
    share = f"{100 * cost.params / whole.params:.1f}" if whole.params and cost.params else "–"
    macs = short(cost.macs) if run and cost.macs else "–"
    return short(cost.params) if cost.params else "–", share, macs, _bar(cost.macs, whole.macs)


def _bar(part: int, whole: int) -> str:
    """The part's share of the whole model, which would be as wide as the column."""
    eighths = round(8 * _BAR * part / whole) if whole else 0
    if eighths == 0 or part == whole:
        return ""
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def row_words(row: Row) -> str:
    """A module with its arguments in short: `Conv2d(3, 64, k7, s2)`, `Sequential ×2 BasicBlock`."""
    if row.configuration.startswith("×"):
        return f"{row.type} {row.configuration}"
    return f"{row.type}({row.configuration})" if row.configuration else row.type


def _fitted(table: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """The table in so many columns: what can best be done without goes first, then names are cut."""
    left = {0, 1, 2, 6}
    for without in ((), (6,), (6, 4), (6, 4, 2), (6, 4, 2, 1)):
        kept = [i for i in range(7) if i not in without]
        lines = list(columns([[row[i] for i in kept] for row in table], {kept.index(i) for i in left if i in kept}))
        if width is None or max(map(len, lines)) <= width:
            yield from lines
            return
    over = max(map(len, lines)) - (width or 0)
    spare = max(8, max(len(row[0]) for row in table) - over)
    yield from columns([[_cut(row[0], spare), *(row[i] for i in (3, 5))] for row in table])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
