"""The tutorial runs from its first cell to its last in a kernel of its own, and shows what it says."""

import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[1] / "examples" / "tutorial.ipynb"


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """Its code cells, after they have run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the workers of pytest share the cores already
    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    """All that a cell shows: what it prints, and its value as text."""
    return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.outputs)


def page(cell):
    """A cell's value as HTML, without tags."""
    (html,) = (o["data"]["text/html"] for o in cell.outputs if "text/html" in o.get("data", {}))
    assert html.startswith('<div class="torchsurgery"><style>')
    return unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html))


def cell(cells, begin):
    (found,) = (cell for cell in cells if begin in cell.source)
    return found


def right(text):
    return [float(number) for number in re.findall(r"([\d.]+)% of unseen digits read right", text)]


def test_it_is_committed_without_outputs():
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def it_says_nothing_on_stderr(cells):
    assert [o.text for c in cells for o in c.outputs if o.get("name") == "stderr"] == []


def looking(cells):
    assert "37,802 params (all trainable)" in page(cell(cells, "ts.inspect(net, x)"))
    assert "Selection of 5 of 14 modules of Net" in page(cell(cells, ".expect(5)"))
    assert "Coupling of Net" in page(cell(cells, "ts.trace(net, x)"))


def swapping_the_norms(cells):
    (trained,) = right(shown(cell(cells, "net = Net()")))
    swapped, undone = right(shown(cell(cells, "done.undo()")))
    (tuned,) = right(shown(cell(cells, "apply(optimizer=optimizer, check=x)")))
    assert trained > 90
    assert swapped < trained
    assert undone == trained
    assert tuned > 90
    plan = page(cell(cells, "plan = ts.plan(net, x).replace"))
    assert "BatchNorm2d(32) → GroupNorm(4, 32)" in plan
    assert "5 modules" in plan


def pruning(cells):
    plan = page(cell(cells, 'prune("block*.conv1", 0.5)\nplan'))
    assert "out_channels 32 → 16" in plan
    assert "in_channels 32 → 16" in plan
    after, tuned = right(shown(cell(cells, "right after:")))
    assert tuned > 90
    assert tuned >= after
    assert "2 layers pruned, 4 layers adjusted" in page(cell(cells, "right after:"))


def checking_and_showing(cells):
    text = shown(cell(cells, "ts.check(net, x)"))
    assert "✓ forward runs            (32, 1, 8, 8) → (32, 10)" in text
    assert "✗" not in text
    assert 20 < int(re.search(r"report.html: (\d+) kB", text)[1]) < 200


def saving_and_loading(cells):
    assert shown(cell(cells, "ts.load(folder, base=Net)")).endswith("True")


def test_it_runs_and_shows_what_it_says(cells):
    """All in one test, since it takes a kernel and some training to get there."""
    it_says_nothing_on_stderr(cells)
    looking(cells)
    swapping_the_norms(cells)
    pruning(cells)
    checking_and_showing(cells)
    saving_and_loading(cells)
