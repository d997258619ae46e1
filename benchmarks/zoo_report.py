"""The tables of results/zoo.md and of the README, from results/zoo_prune.csv, zoo_peer.csv and zoo_scale.csv."""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zoo_peer
import zoo_prune
from zoo_models import as_used, torchvision_kinds
from zoo_running import RESULTS, read

README = Path(__file__).parents[1] / "README.md"
KINDS = {"classification": "classification", "quantized": "to be quantized", "segmentation": "segmentation"}
KINDS |= {"detection": "detection", "video": "video", "optical_flow": "optical flow"}
SUITES = [f"torchvision, {name}" for name in KINDS.values()] + ["timm, all families"]
SUITES += ["transformers, tiny"]
MOST, SLACK = 0.35, 0.03


def suite_of(library: str, model: str, kinds: dict[str, str]) -> str:
    if library == "torchvision":
        return f"torchvision, {KINDS['quantized' if model.startswith('quantized') else kinds[model]]}"
    return {"timm": SUITES[6], "with heads": SUITES[7]}[library]


def holds(row: zoo_prune.Row) -> bool:
    return not row.problem and row.runs == row.learns == row.undone == "yes"


def is_exact(row: zoo_prune.Row) -> bool | None:
    """Whether the error is small enough; None where nothing goes that could be compared."""
    return float(row.error) <= 1e-9 if re.match(r"\d|inf", row.error) else None


def peer_holds(row: zoo_peer.Row) -> bool:
    return not row.problem and row.runs == row.learns == "yes" and not row.lost and row.kept < 1


def median(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.median(found):.2f}" if found else "–"


def ratio(of: Callable[[zoo_prune.Row], float], rows: list[zoo_prune.Row]) -> str:
    return median(of(row) / row.forward for row in rows if row.forward and of(row))


def after_tracing(row: zoo_prune.Row) -> float:
    """Scoring, choosing and cutting."""
    return row.choose + row.cut


def after_tracing_wide(row: zoo_prune.Row) -> float:
    return row.choose_wide + row.cut_wide


def over(row: zoo_prune.Row) -> bool:
    """Whether more is left than there need be."""
    return row.kept > max(MOST, row.due + SLACK)


def told(rows: list[zoo_prune.Row], beside: list[zoo_peer.Row]) -> list[str]:
    ran = [row for row in rows if holds(row)]
    exact = [is_exact(row) for row in ran if is_exact(row) is not None]
    fine = [row for row in beside if peer_holds(row)]
    cells = [f"{len(ran)} of {len(rows)}", f"{sum(map(bool, exact))} of {len(exact)}", median(row.kept for row in ran)]
    cells += [str(sum(map(over, ran))), ratio(lambda row: row.trace, ran), ratio(after_tracing, ran)]
    cells += [f"{len(fine)} of {len(beside)}" if beside else "not run"]
    return [*cells, median((row.graph + row.step) / row.forward for row in fine if row.forward)]


HEAD = (
    "| models | pruned | exact | share left | more left than need be | trace ÷ forward | scores + cut ÷ forward | "
    "Torch-Pruning | its graph + step ÷ forward |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def by_suite(rows: Iterable[Any]) -> dict[str, list[Any]]:
    kinds = torchvision_kinds()
    suites: dict[str, list[Any]] = {name: [] for name in SUITES}
    for row in rows:
        suites[suite_of(row.library, row.model, kinds)].append(row)
    return suites


def table(rows: list[zoo_prune.Row], peers: list[zoo_peer.Row]) -> str:
    beside = by_suite(peers)
    suites = by_suite(rows).items()
    lines = [f"| {name} | {' | '.join(told(found, beside[name]))} |" for name, found in suites if found or beside[name]]
    return "\n".join([HEAD, *lines, f"| **all** | {' | '.join(told(rows, peers))} |"])


def widths(rows: list[zoo_prune.Row]) -> str:
    """The times of transformers, tiny and as wide as they were published."""
    both = [row for row in rows if row.forward_wide]
    tiny = [row for row in rows if row.library == "with heads"]
    lines = [
        "| transformers | models | forward in ms | trace ÷ forward | scores + cut ÷ forward |",
        "|---|--:|--:|--:|--:|",
    ]
    for what, found in (("tiny", tiny), ("tiny, those that are below", both)):
        cells = [median(row.forward for row in found), ratio(lambda row: row.trace, found)]
        lines.append(f"| {what} | {len(found)} | {' | '.join(cells)} | {ratio(after_tracing, found)} |")
    cells = [median(row.forward_wide for row in both), median(row.trace_wide / row.forward_wide for row in both)]
    cells += [median(after_tracing_wide(row) / row.forward_wide for row in both)]
    lines.append(f"| at their published width | {len(both)} | {' | '.join(cells)} |")
    whole = [row for row in rows if row.forward and not row.forward_wide]
    trace = [row.trace / row.forward for row in whole] + [row.trace_wide / row.forward_wide for row in both]
    after = [after_tracing(row) / row.forward for row in whole]
    after += [after_tracing_wide(row) / row.forward_wide for row in both]
    lines += [
        "",
        f"Over all models, with transformers at their published width: trace {median(trace)}, "
        f"scores + cut {median(after)} forwards.",
    ]
    lines += [f"- {row.model} tiny only: {row.wide}" for row in rows if row.wide]
    alone = [row.model for row in tiny if " " not in row.model]
    return "\n".join([*lines, *([f"- tiny only, being made of several networks: {', '.join(alone)}"] if alone else [])])


def exceptions(rows: list[zoo_prune.Row]) -> str:
    lines = []
    for row in rows:
        why = row.problem or (f"{row.kept:.2f} left, {row.due:.2f} due: {row.left or row.frozen}" if over(row) else "")
        if not why and not holds(row):
            why = f"runs {row.runs}, learns {row.learns}, undone {row.undone}"
        if not why and is_exact(row) is False:
            why = f"error {row.error}"
        lines += [f"- {row.library} {row.model}: {why[:220]}"] if why else []
    return "\n".join(lines) or "None."


def scales() -> str:
    path = RESULTS / "zoo_scale.csv"
    if not path.is_file():
        return "Not run."
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    lines = [f"| {' | '.join(row.values())} |" for row in rows]
    return "\n".join([f"| {' | '.join(rows[0])} |", f"|---|{'--:|' * (len(rows[0]) - 1)}", *lines])


def versions() -> str:
    heads = [
        (RESULTS / name).read_text(encoding="utf-8").partition("\n")[0] for name in ("zoo_prune.csv", "zoo_peer.csv")
    ]
    return "; ".join(head.removeprefix("# ") for head in heads)


def main() -> None:
    found = {}
    for study in (zoo_prune.STUDY, zoo_peer.STUDY):
        path = RESULTS / study.file
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found[study.file] = {(row.library, row.model): row for row in read(lines, study.row)}
    rows, peers = (list(found[name].values()) for name in ("zoo_prune.csv", "zoo_peer.csv"))
    whole = table(rows, peers)
    measured = f"{len(rows)} of {sum(1 for _ in as_used())} models measured, {len(peers)} by Torch-Pruning"
    text = f"{INTRODUCTION}\n{measured}. {versions()}.\n\n{whole}\n\n## Times of transformers\n\n{widths(rows)}\n\n"
    text += f"## What is otherwise\n\n{exceptions(rows)}\n\n"
    (RESULTS / "zoo.md").write_text(f"{text}## Large models\n\n{scales()}\n", encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    marked = re.compile(r"(?<=<!-- zoo -->\n).*?(?=<!-- /zoo -->)", re.S)
    README.write_text(marked.sub(lambda _: f"{short(rows, peers)}\n", readme), encoding="utf-8")
    print(text)


def short(rows: list[zoo_prune.Row], peers: list[zoo_peer.Row]) -> str:
    """The README's table: who gets how far, of the models measured."""
    beside = by_suite(peers)
    lines = ["| half of every group pruned | torchsurgery | Torch-Pruning |", "|---|--:|--:|"]
    for name, found in by_suite(rows).items():
        if found:
            cells = told(found, beside[name])
            lines.append(f"| {name} | {cells[0]} | {cells[6]} |")
    return "\n".join(lines)


INTRODUCTION = """# Half of every group of channels pruned

Written by `make zoo` (benchmarks/zoo_report.py); do not edit. One row a model in zoo_prune.csv and zoo_peer.csv.

- pruned: forward with answers of the same shapes, a gradient for each parameter that got one before, the certificate
  passed, and undone bit by bit
- exact: of those where something goes over which nothing normalises, how many answer the same as with zeros in its
  place, in float64, to a relative error of 1e-9
- share left: of the parameters, median; more left than need be: over 0.35, and over what the output, the input, tables
  read by numbers, Fourier transforms, kernels, and what the code makes as wide as such an axis, pin (column `due`) by
  more than 0.03
- scores + cut: scoring and choosing, then cutting: planned and applied, without the traces before and after
- ÷ forward: CPU time on one thread relative to one forward, median; transformers are tiny here, and a forward takes a
  millisecond or two. Below they are measured once more as wide as they were published: two layers of each, on a
  text of 128 words
- Torch-Pruning: same inputs, ratio and pinned layers ignored, 30 seconds of CPU time; forward, shapes and gradients as
  above, something pruned, ties and modes kept. Whether it computes the right thing is not asked.
"""

if __name__ == "__main__":
    main()
