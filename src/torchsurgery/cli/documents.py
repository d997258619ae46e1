"""Answers for machines: what JSON says of tables, plans and checks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .. import text
from ..changes import Change
from ..checks import Checks
from ..measuring import Stats
from ..plans import Plan
from ..stats import Row
from ..text import Side


def stats_document(stats: Stats) -> dict[str, Any]:
    """A table of modules, with numbers as they are."""
    return {
        "inputs": [{"shape": list(shape), "dtype": dtype} for shape, dtype in stats.inputs],
        "device": stats.device,
        "total": asdict(stats.total),
        "modules": [row_document(row) for row in stats.rows],
    }


def row_document(row: Row) -> dict[str, Any]:
    """One module."""
    return {
        "name": row.name,
        "names": list(row.names),
        "type": row.type,
        "configuration": row.configuration,
        "output": [list(shape) for shape in row.output],
        "calls": row.calls,
        "own": asdict(row.own),
        "total": asdict(row.total),
    }


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan: its edits with their changes, and both sides in numbers."""
    before, after = plan.sides
    return {
        "edits": [
            {
                "what": planned.edit.describe(),
                "changes": [change_document(change) for change in planned.changes],
                "left_out": list(planned.skipped),
                "left_as_they_are": dict(planned.left),
            }
            for planned in plan.planned
        ],
        "before": _side(before),
        "after": _side(after),
    }


def change_document(change: Change) -> dict[str, Any]:
    """What becomes of one layer."""
    return {
        "kind": change.kind,
        "names": list(change.names),
        "before": text.layer(change.old),
        "after": text.layer(change.new),
        "means": change.means,
        "account": text.carried(change),
        "fidelity": change.fidelity.value if change.fidelity is not None else None,
        "warnings": list(change.warnings),
    }


def _side(side: Side) -> dict[str, Any]:
    output = [list(shape) for shape in side.output] if side.macs is not None else None
    return {"params": side.size.params, "bytes": side.size.bytes, "macs": side.macs, "output": output}


def checks_document(checks: Checks) -> dict[str, Any]:
    """What a check has looked at."""
    return {"ok": checks.ok, "checks": [asdict(line) for line in checks.lines]}
