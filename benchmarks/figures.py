"""Tables and plots of the documentation, from the committed results: docs/measured.md and docs/figures/.

    make figures        rewrites them; `make bench` and `make zoo` do so when they are done

A test holds what is committed to what this makes of the results.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import run
import zoo_inspect
import zoo_peer
import zoo_prune
import zoo_report
from drawing import WIDTH, Drawing, Scale
from zoo_running import RESULTS, read

DOCS = Path(__file__).parents[1] / "docs"
OURS, PEER, LOOP = "torchsurgery", "Torch-Pruning", "naive loop"
_LABELS = 190  # pixels for the names of rows


def written() -> dict[Path, str]:
    """Each file of the documentation that comes from results, with what belongs into it."""
    rows, peers = (_rows(study) for study in (zoo_prune.STUDY, zoo_peer.STUDY))
    bench = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    figures = {
        "pruned": pruned(zoo_report.by_suite(rows), zoo_report.by_suite(peers)),
        "left": left(zoo_report.by_suite(row for row in rows if zoo_report.holds(row))),
        "beside": beside(bench["times"]),
        "growing": growing(bench["times"]),
    }
    files = {DOCS / "figures" / f"{name}.svg": drawing.svg() for name, drawing in figures.items()}
    return {**files, DOCS / "measured.md": page(figures, rows, peers, bench)}


def _rows(study: Any) -> list[Any]:
    return read((RESULTS / study.file).read_text(encoding="utf-8").splitlines(), study.row)


# --- the zoo

Suites = Mapping[str, Sequence[Any]]


def pruned(ours: Suites, theirs: Suites) -> Drawing:
    """How many models of each suite are pruned and hold."""
    sums = [
        (sum(map(holds, rows)), len(rows))
        for holds, rows in (
            (zoo_report.holds, [row for found in ours.values() for row in found]),
            (zoo_report.peer_holds, [row for found in theirs.values() for row in found]),
        )
    ]
    drawing = Drawing(
        f"Half of every group pruned, still able to run and learn: {sums[0][0]} of {sums[0][1]} models, "
        f"by {PEER} {sums[1][0]} of {sums[1][1]}",
        "Two bars for each suite of models, as shares of the models that were tried; the numbers stand behind them.",
    )
    drawing.key([("ours", OURS), ("theirs", PEER)])
    share = Scale(0, 1, _LABELS, WIDTH - 90)
    for name, rows in ours.items():
        if not rows:
            continue
        drawing.text(_LABELS - 10, drawing.height + 16, name, anchor="end")
        both = ("ours", rows, zoo_report.holds), ("theirs", theirs[name], zoo_report.peer_holds)
        for kind, found, holds in both:
            good = sum(map(holds, found))
            drawing.bar(_LABELS, drawing.height, share(good / len(found)) - _LABELS if found else 0, kind)
            words = f"{good} of {len(found)}" if found else "not run"
            drawing.text(share(good / len(found) if found else 0) + 6, drawing.height + 9, words, "small")
            drawing.height += 12
        drawing.height += 8
    drawing.note("Bars: share of the models tried. What “able to” asks of each is said in benchmarks/results/zoo.md.")
    return drawing


def left(suites: Suites) -> Drawing:
    """Which share of the parameters each model keeps: a dot each."""
    kept = sorted(row.kept for rows in suites.values() for row in rows)
    drawing = Drawing(
        f"With half of every group gone {statistics.median(kept):.0%} of the parameters are left, taking the median "
        f"model, and {kept[int(0.95 * len(kept))]:.0%} or less in 95 of 100".replace("%", " %"),
        "One dot a model, in one row for each suite, placed by the share of parameters that is left.",
    )
    share = Scale(0, 1, _LABELS, WIDTH - 10)
    top = drawing.height
    for name, rows in suites.items():
        if rows:
            _swarm(drawing, name, [row.kept for row in rows], share)
    for mark in (0, 0.25, 0.5, 0.75, 1):
        drawing.line(share(mark), top, share(mark), drawing.height)
        drawing.text(share(mark), drawing.height + 15, f"{mark:.0%}".replace("%", " %"), "small axis", "middle")
    drawing.height += 20
    drawing.note(
        "Quadratic layers keep a quarter, layers at the input or output half; what is more is listed in zoo.md."
    )
    return drawing


def _swarm(drawing: Drawing, name: str, values: Sequence[float], share: Scale) -> None:
    """Dots in columns of five pixels, one above the other where they meet."""
    columns: dict[int, int] = {}
    places = []
    for value in sorted(values):
        column = round(share(value) / 5)
        places.append((column * 5.0, columns.get(column, 0)))
        columns[column] = columns.get(column, 0) + 1
    high = max(columns.values())
    step = min(6.0, 54 / high)
    middle = drawing.height + high * step / 2 + 6
    drawing.text(_LABELS - 10, middle + 4, name, anchor="end")
    for x, number in places:
        side = (number + 1) // 2 * (1 if number % 2 else -1)
        drawing.dot(x, middle + side * step, "ours", 2.6)
    drawing.height = middle + high * step / 2 + 8


# --- the bench


def beside(times: Sequence[Mapping[str, Any]]) -> Drawing:
    """What each change takes beside the loop that everyone writes."""
    shown = [case for case in times if any("ratio_of_medians" in entry for entry in case["contenders"].values())]
    shown = [case for case in shown if not case["case"].startswith(("1,001", "3,001"))]
    ratios = [case["contenders"][OURS]["ratio_of_medians"] for case in shown]
    drawing = Drawing(
        f"Beside the loop that everyone writes: from {min(ratios):.3f} of its time, where layers take a new class, "
        f"to {max(ratios):.0f} times, where each is wrapped",
        "One row a case, on a logarithmic scale of the time relative to a loop over named_modules.",
    )
    drawing.key([("ours", OURS), ("theirs", "other libraries")])
    names = 400
    ratio = Scale(0.002, 60, names, WIDTH - 20, logarithmic=True)
    top = drawing.height
    for case in shown:
        drawing.text(names - 10, drawing.height + 15, case["case"], "small", "end")
        for name, entry in case["contenders"].items():
            if "ratio_of_medians" in entry and not name.startswith((LOOP, f"{OURS},")):
                kind = "ours" if name == OURS else "theirs"
                drawing.dot(ratio(entry["ratio_of_medians"]), drawing.height + 11, kind)
        drawing.height += 20
    for mark, words in ((0.01, "× 0.01"), (0.1, "× 0.1"), (1, "the loop"), (10, "× 10")):
        drawing.line(ratio(mark), top, ratio(mark), drawing.height, "strong" if mark == 1 else "")
        drawing.text(ratio(mark), drawing.height + 15, words, "small axis", "middle")
    drawing.height += 20
    drawing.note("Medians, contenders taking turns in one run. Which library does what stands in the table.")
    return drawing


def growing(times: Sequence[Mapping[str, Any]]) -> Drawing:
    """How time grows with the number of modules."""
    cases = [case for case in times if "modules" in case["case"] and case["case"].endswith("Linear → subclass")]
    counts = [int(case["case"].partition(" ")[0].replace(",", "")) for case in cases]
    lines = {name: [1e3 * case["contenders"][name]["median_s"] for case in cases] for name in (LOOP, OURS, "undo")}
    per_layer = 1e6 * cases[-1]["contenders"][OURS]["median_s"] / cases[-1]["layers"]
    drawing = Drawing(
        f"The time grows with the number of layers and no faster: {per_layer:.0f} µs a layer at 5,000 of them",
        "Three lines over the number of modules, both on logarithmic scales: the loop, torchsurgery, and its undo.",
    )
    x = Scale(counts[0], counts[-1], 60, WIDTH - 150, logarithmic=True)
    low, high = min(map(min, lines.values())), max(map(max, lines.values()))
    y = Scale(low / 1.5, high * 1.3, drawing.height + 220, drawing.height, logarithmic=True)
    for mark in (0.1, 1, 10, 100, 1000):
        if low / 1.5 <= mark <= high * 1.3:
            drawing.line(60, y(mark), WIDTH - 150, y(mark))
            drawing.text(52, y(mark) + 4, f"{mark:g} ms", "small axis", "end")
    for name, values in lines.items():
        kind = "theirs" if name == LOOP else "ours"
        points = [(x(count), y(value)) for count, value in zip(counts, values, strict=True)]
        drawing.path(points, kind)
        for point in points:
            drawing.dot(*point, kind, 3.5)
        drawing.text(points[-1][0] + 10, points[-1][1] + 4, f"{name}: {values[-1]:.3g} ms", "small")
    for count in counts:
        drawing.text(x(count), drawing.height + 238, f"{count:,} modules", "small axis", "middle")
    drawing.height += 246
    drawing.note("Half of the modules are Linear layers that become a subclass. Medians.")
    return drawing


# --- the page


def page(figures: Mapping[str, Drawing], rows: list[Any], peers: list[Any], bench: Mapping[str, Any]) -> str:
    """All of it, each plot with the table that it is drawn from."""

    def shown(name: str) -> str:
        return f"![{figures[name].title}. {figures[name].description}](figures/{name}.svg)"

    facts = bench["facts"]
    parts = [
        "# Measured",
        "Made of the committed results by `make figures`; do not edit. `make zoo` and `make bench` measure anew.",
        "## Parameters and multiply-adds",
        *_counts(),
        "## Half of every group of channels pruned",
        shown("pruned"),
        zoo_report.table(rows, peers),
        f"{len(rows)} models by torchsurgery, {len(peers)} by {PEER}. {zoo_report.versions()}.",
        "The columns, and each model that keeps more than need be: `benchmarks/results/zoo.md`.",
        shown("left"),
        "### Large models",
        zoo_report.scales(),
        "## Thousands of layers changed",
        f"{facts['date']}, {facts['cpu']}, {facts['torch_threads']} thread; torch {facts['versions']['torch']}.",
        shown("beside"),
        shown("growing"),
        "\n".join(run.times(bench["times"])),
        "Memory beyond the model, at the highest, each in a process of its own:",
        "\n".join(run.memories(bench["memory"])),
        *_others(),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _counts() -> Iterator[str]:
    rows = _rows(zoo_inspect.STUDY)
    right = sum(map(zoo_inspect.holds, rows))
    digits = sum(row.params + row.macs for row in rows)
    yield (
        f"`ts.inspect`, which computes nothing, counts {right} of {len(rows)} models right to the last digit: "
        "parameters as `sum(p.numel() for p in model.parameters())`, multiply-adds as half of what PyTorch's FLOP "
        f"counter finds in a run; and the rows of each table add up. These are {digits:,} in all. "
        "A row a model: `benchmarks/results/zoo_inspect.csv`."
    )
    wrong = [f"- {zoo_inspect.line(row).removeprefix('!').strip()}" for row in rows if not zoo_inspect.holds(row)]
    yield "\n".join(wrong) or "No exceptions."


def _others() -> Iterator[str]:
    for name in ("keep.md", "look.md", "page.md"):
        lines = (RESULTS / name).read_text(encoding="utf-8").splitlines()
        yield f"#{lines[0]}"
        yield "\n".join(line for line in lines if line.startswith("|"))


def main() -> None:
    for path, text in written().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
