"""The head of a page: totals before and after, what was asked for, what the check says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..changes import Planned
from ..markup import code, escape, spaced
from ..reports import Report
from ..stats import count, in_bytes, in_seconds, share, short
from ..text import carried, limits
from ..text.words import few, first_shape, plural

_NOT_RUN = "not run"
_NUMBER = re.compile(r"(?:^|, )(?:follows edit )?(\d+)\b")


def cards(report: Report) -> str:
    """Params, MACs, weights, output and time: each after, and what it was."""
    return f'<div class="cards{"" if report.planned else " still"}">{"".join(_cards(report))}</div>'


def _cards(report: Report) -> Iterator[str]:
    was, now = report.before, report.after
    yield _card("params", count(now.params), count(was.params), share(was.params, now.params))
    macs = [short(stats.macs) if stats.inputs else _NOT_RUN for stats in (was, now)]
    if was.inputs or now.inputs:
        yield _card("MACs", macs[1], macs[0], share(was.macs, now.macs) if was.inputs and now.inputs else "")
    yield _card("weights", in_bytes(now.bytes), in_bytes(was.bytes), share(was.bytes, now.bytes))
    if was.inputs or now.inputs:
        shapes = [first_shape(stats.output) if stats.inputs else _NOT_RUN for stats in (was, now)]
        changes = was.inputs and now.inputs and shapes[0] != shapes[1]
        yield _card("output", shapes[1], shapes[0], _changed_by(report) if changes else "", warn=True)
    if report.runs:
        before, after = (run.seconds[""] for run in report.runs)
        yield _card("time of a run", in_seconds(after), in_seconds(before), f"× {after / before:.2f}")


def _changed_by(report: Report) -> str:
    """Which edit gives the model's answer another shape, where that can be read off the last layers."""
    was, now = report.before.output[:1], report.after.output[:1]
    for pair in report.tree.walk():
        if pair.before is None or pair.after is None or not pair.name:
            continue
        if (pair.before.output[:1], pair.after.output[:1]) == (was, now) and (found := _NUMBER.findall(pair.why)):
            return f"changed by edit {found[-1]}"
    return "changes"


def _card(name: str, now: str, was: str, change: str, warn: bool = False) -> str:
    if was == now:
        told = '<span class="dim">as before</span>'
    else:
        kind = ' class="warn"' if warn else ""
        told = f'<span class="dim">was {spaced(was)}</span> <span{kind}>{spaced(change)}</span>'
    return f'<div class="card"><span>{escape(name)}</span><strong>{spaced(now)}</strong>{told}</div>'


# --- edits


def edits(report: Report) -> str:
    """Each edit with what it comes to."""
    if not report.planned:
        return ""
    items = "\n".join(f"<li>{_edit(item)}</li>" for item in report.planned)
    return f'<section>\n<h2>Edits</h2>\n<ol class="edits">\n{items}\n</ol>\n</section>'


def _edit(item: Planned) -> str:
    verb, _, rest = item.edit.describe().partition(" ")
    follow = sum(change.kind == "follow" for change in item.changes)
    own = [change for change in item.changes if change.kind != "follow"]
    told = [plural(len(own), "module"), *([f"{follow:,} follow"] if follow else [])]
    told += dict.fromkeys(change.means for change in own)
    lines = [f'<b>{escape(verb)}</b> {code(rest)} <span class="dim">· {escape(" · ".join(told))}</span>']
    return lines[0] + "".join(f"<p>{line}</p>" for line in _particulars(item))


def _particulars(item: Planned) -> Iterator[str]:
    accounts = dict.fromkeys(
        carried(change) for change in item.changes if change.kind not in ("follow", "prune", "widen")
    )
    yield from few([escape(account) for account in accounts if account])
    yield from few([escape(line) for line in limits(item)])
    warnings = [(change.name, warning) for change in item.changes for warning in change.warnings]
    yield from few([f'<span class="warn">! {code(name)}: {escape(text)}</span>' for name, text in warnings])


# --- checks


def checks(report: Report) -> str:
    """What `ts.check` says of the altered model, and which of the two could not be run."""
    lines = []
    for state, failure in zip(("before", "after"), report.failures, strict=True):
        if failure:
            lines.append(f'<li class="warn">not run {state} the edits <span class="dim">{escape(failure)}</span></li>')
    for line in report.checks.lines if report.checks else ():
        kind = "bad" if not line.ok else "warn" if line.remark else "good"
        lines.append(f'<li class="{kind}">{escape(line.name)} <span class="dim">{escape(line.detail)}</span></li>')
    if not lines:
        return ""
    return f'<section>\n<h2>Checks</h2>\n<ul class="checks">\n{"".join(lines)}\n</ul>\n</section>'
