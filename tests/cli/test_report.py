"""`torchsurgery report`."""

import os
from pathlib import Path

import pytest
import torch

import torchsurgery as ts

EDITS = ["-e", "prune: {target: '0', amount: 0.25}", "-e", "replace: {target: ReLU, with: GELU}", "-i", "2,3,8,8"]


def page(name="r.html"):
    return Path(name).read_text(encoding="utf-8")


def test_a_page_is_written(run, nets):
    answer = run(
        "report", "nets.py:small", "-e", "replace: {target: ReLU, with: GELU}", "-i", "2,3,8,8", "-o", "r.html"
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("report nets.py:small\n\nWrote r.html  ")
    assert page().startswith("<!doctype html>")
    assert "nets.py:small" in page()


def test_for_machines(run, nets):
    data = run("report", "nets.py:small", "-e", "remove: ReLU", "-o", "r.html", "--json").data
    assert data["bytes"] == os.stat("r.html").st_size


def test_a_plan_file_has_its_inputs(run, nets):
    assert run("plan", "nets.py:small", *EDITS, "-o", "p.json").code == 0
    assert run("report", "p.json", "--base", "nets.py:small", "-o", "r.html").code == 0
    assert "input (2, 3, 8, 8) float32" in page()
    assert "relative difference of the answer" in page()


# --- of what was saved

BASE = ["--base", "nets.py:small", "-i", "2,3,8,8", "-o", "r.html"]


@pytest.fixture
def slim(run, nets):
    assert run("apply", "nets.py:small", *EDITS, "-o", "slim", "--no-report").code == 0
    return "slim"


def test_a_saved_surgery_beside_its_base(run, slim):
    answer = run("report", slim, *BASE)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("report slim of nets.py:small\n\nWrote r.html  ")
    assert "2 edits" in page()
    assert "(8→6)" in page().replace("<b>", "").replace("</b>", "")
    assert "What hangs together" in page()
    assert "the base has other weights" not in page()
    assert "relative difference of the answer" in page()


def test_a_base_with_other_weights_is_told_and_answers_are_not_compared(run, slim):
    torch.manual_seed(5)
    torch.save(ts.build("nets.py:small").state_dict(), "other.pt")
    assert run("report", slim, *BASE, "--weights", "other.pt").code == 0
    told, chart = page(), page().partition("relative difference of the answer")[2]
    assert "the base has other weights" in told
    assert "none" not in chart.partition("</table>")[0]
    assert "‖" in told


def test_a_saved_plan(run, nets):
    model = ts.build("nets.py:small")
    ts.save(ts.plan(model).replace("2", torch.nn.GELU), "planned")
    assert run("report", "planned", *BASE).code == 0
    assert "1 edit" in page()


def test_the_wrong_base_is_refused_and_nothing_is_written(run, slim):
    answer = run("report", slim, *BASE[:1], "nets.py:small(width=4)", *BASE[2:])
    assert answer.code == 2
    assert "is not the base" in answer.err
    assert not os.path.exists("r.html")


def test_more_edits_on_a_saved_surgery(run, slim):
    assert run("report", slim, *BASE, "-e", "remove: '4'").code == 0
    assert "1 edit" in page()
