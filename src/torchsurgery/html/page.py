"""The whole document: one file, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib

from ..markup import escape, style
from ..reports import Report
from ..text.words import plural
from .bars import lengths
from .cards import cards, checks, edits
from .charts import chart
from .diagrams import diagrams
from .tree import tree


def render(report: Report) -> str:
    """A report as an HTML page.

    Args:
        report: What `reports.gather` has found.
    """
    sheet = _sheet()
    body = [
        *_head_lines(report),
        cards(report),
        edits(report),
        checks(report),
        *_modules(report),
        diagrams(report),
        chart(report),
        _foot(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(sheet)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(_title(report))}</title>\n<style>{sheet}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _policy(sheet: str) -> str:
    """Nothing is allowed but this one style sheet."""
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _sheet() -> str:
    return style(__package__, "page.css") + lengths()


def _title(report: Report) -> str:
    name = report.source or report.model_name
    return f"{name}: {plural(len(report.planned), 'edit')}" if report.planned else name


def _head_lines(report: Report) -> list[str]:
    follow = sum(change.kind == "follow" for item in report.planned for change in item.changes)
    touched = sum(bool(pair.kind) and pair.before is not None for pair in report.tree.walk())
    modules = plural(len(report.before.rows), "module")
    counted = [
        *([plural(len(report.planned), "edit")] if report.planned else []),
        *([plural(follow, "follow-up")] if follow else []),
        f"{touched:,} of {modules} changed" if report.planned else modules,
    ]
    facts = [
        report.source,
        f"input {_inputs(report)}" if _inputs(report) else "",
        report.after.device,
        f"PyTorch {report.torch_version}",
        f"{report.when:%Y-%m-%d %H:%M} UTC",
    ]
    return [
        f"<h1>{escape(report.model_name)} <small>{escape(' · '.join(counted))}</small></h1>",
        f'<p class="dim">{escape(" · ".join(fact for fact in facts if fact))}</p>',
    ]


def _inputs(report: Report) -> str:
    given = report.before.inputs or report.after.inputs
    return ", ".join(f"{shape} {dtype}" for shape, dtype in given)


def _modules(report: Report) -> list[str]:
    legend = [
        "bars: share of the whole model, where it is larger" if report.planned else "bars: share of the whole model"
    ]
    legend += ["grey before, blue after"] if report.planned else []
    legend += ["k, M, G: 10³, 10⁶, 10⁹"]
    legend += ["MACs: one multiply-add each, of matrix products and convolutions"] if _inputs(report) else []
    filtering = '<input type="checkbox" id="changed"><label for="changed">changed modules only</label>'
    return [
        "<section>\n<h2>Modules</h2>",
        f'{filtering if report.planned else ""}<p class="legend dim">{" · ".join(legend)}</p>',
        tree(report),
        "</section>",
    ]


def _foot(report: Report) -> str:
    return '<footer class="dim">made by torchsurgery · nothing on this page is fetched or run</footer>'
