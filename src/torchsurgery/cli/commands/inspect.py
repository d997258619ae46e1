"""`torchsurgery inspect`: a model as a tree."""

from __future__ import annotations

from argparse import Namespace

from ... import text
from ...measuring import Stats, inspect, without_run
from ...selection import select
from ..documents import stats_document
from ..sources import Source, source_of
from ..terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Show the model; exit code 0."""
    source = source_of(arguments, terminal)
    names = _selected(source, arguments.select)
    stats, remark = _measured(source)
    terminal.data({"model": source.name, **stats_document(stats)})
    terminal.show(f"inspect {source.name}   {text.input_line(stats.inputs, stats.device)}\n")
    depth = None if arguments.all else arguments.depth
    more = "" if names or arguments.all else f"more: --depth {arguments.depth + 1}{_largest(stats)}, --all"
    view = text.View(depth, names, arguments.all, terminal.width, more)
    terminal.show(text.tree(stats.rows, stats.inputs, stats.device, view))
    if remark:
        terminal.show(f"\n! {remark}")
    return 0


def _selected(source: Source, patterns: list[str] | None) -> frozenset[str] | None:
    if not patterns:
        return None
    return frozenset(name for pattern in patterns for name in select(source.model, pattern).names)


def _largest(stats: Stats) -> str:
    """How to look into the part that has the most parameters, or computes the most."""
    parts = [row for row in stats.rows if row.depth == 1 and any(row.holds(other) for other in stats.rows)]
    largest = max(parts, key=lambda row: (row.total.params, row.total.macs), default=None)
    return f", --select '{largest.name}.**'" if largest else ""


def _measured(source: Source) -> tuple[Stats, str]:
    """The table; and a remark where no inputs are known, so that nothing could be run."""
    if source.example_inputs is not None:
        return inspect(source.model, source.example_inputs), ""
    remark = "No inputs were found that it takes. Say what it is called with:  --input 1,3,224,224"
    return without_run(source.model), remark
