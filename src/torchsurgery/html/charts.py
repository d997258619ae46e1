"""Time and difference of each layer, where the model was run before and after."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..markup import escape, name, spaced
from ..reports import Report
from ..reports.pairing import Pair
from ..reports.running import Run, difference
from ..stats import in_seconds
from .bars import bar

_NONE = "–"
_MOST = 40  # layers that are shown
_SMALLEST = 1e-8  # where the scale of differences begins
_TITLE = "Time and answers of each layer"
_HEAD = "".join(
    f'<th scope="col">{name}</th>' for name in ("layer", "time", "ratio", "relative difference of the answer")
)
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class _Line(NamedTuple):
    name: str
    kind: str
    before: float
    after: float
    in_both: bool
    apart: float | None

    @property
    def slowest(self) -> float:
        return max(self.before, self.after)


def chart(report: Report) -> str:
    """A line for the model and one for each of the layers that take most time; nothing where it was not run twice."""
    if report.runs is None:
        return ""
    before, after = report.runs
    lines = [_line(before, after, pair) for pair in report.tree.walk() if not pair.children]
    lines = [line for line in lines if line.slowest]
    shown = sorted(sorted(range(len(lines)), key=lambda i: -lines[i].slowest)[:_MOST])
    whole = _line(before, after, report.tree)._replace(name="the whole model")
    longest = max((lines[i].slowest for i in shown), default=0.0)
    rows = [_row(whole, 0.0), *(_row(lines[i], longest) for i in shown)]
    return (
        f"<section>\n<h2>{_TITLE}</h2>\n"
        f'<p class="legend dim">{escape(_legend(len(lines), len(shown), after.rounds))}</p>\n'
        f'<div class="scroll" tabindex="0" role="group" aria-label="{_TITLE}">'
        f"<table><thead><tr>{_HEAD}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>\n</section>"
    )


def _legend(layers: int, shown: int, rounds: int) -> str:
    told = (
        [f"the {shown} of {layers:,} layers that take most time, in the order of the model"] if shown < layers else []
    )
    fastest = f"the fastest of {rounds} runs" if rounds > 1 else "one run"
    told += [
        f"time: {fastest} in eval, grey before, blue after, on the scale of the slowest layer",
        "difference: of a layer's first answer from what it was, ‖after − before‖ / ‖before‖, of a large answer by "
        "entries drawn from it, on a logarithmic scale from 10⁻⁸ to 1",
    ]
    return " · ".join(told)


def _line(before: Run, after: Run, pair: Pair) -> _Line:
    was, now = (row.name if row else None for row in (pair.before, pair.after))
    answers = before.answers.get(was or ""), after.answers.get(now or "")
    return _Line(
        pair.name,
        pair.kind,
        0.0 if was is None else before.seconds.get(was, 0.0),
        0.0 if now is None else after.seconds.get(now, 0.0),
        was is not None and now is not None,
        None if was is None or now is None else difference(*answers),
    )


def _row(line: _Line, longest: float) -> str:
    ratio = f"× {line.after / line.before:.2f}" if line.before and line.after else _NONE
    times = f"<span>{spaced(in_seconds(line.after or line.before))}</span>{bar(line.before, line.after, longest)}"
    kind = f' class="{line.kind}"' if line.kind else ""
    cells = [times if line.slowest else _NONE, ratio, _difference(line)]
    label = f'<th scope="row"><code>{name(line.name)}</code></th>'
    return f"<tr{kind}>{label}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _difference(line: _Line) -> str:
    if line.apart is None:
        return '<span class="dim">another shape</span>' if line.in_both else _NONE
    if not line.apart:
        return "none"
    long = 1 - math.log10(max(line.apart, _SMALLEST)) / math.log10(_SMALLEST)
    return f"<span>{_power(line.apart)}</span>{bar(0.0, max(long, 0.005), 1.0)}"


def _power(number: float) -> str:
    """`0.44`, `3.1·10⁻⁵`."""
    if 1e-3 <= number < 1e4:
        return f"{number:.2g}" if number < 10 else f"{number:.0f}"
    digits, _, power = f"{number:.1e}".partition("e")
    return f"{digits}·10{str(int(power)).translate(_RAISED)}"
