"""`torchsurgery report`."""

import os


def test_a_page_is_written(run, nets):
    answer = run(
        "report", "nets.py:small", "-e", "replace: {target: ReLU, with: GELU}", "-i", "2,3,8,8", "-o", "r.html"
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("report nets.py:small\n\nWrote r.html  ")
    with open("r.html", encoding="utf-8") as file:
        page = file.read()
    assert page.startswith("<!doctype html>") or page.lower().startswith("<!doctype html>")
    assert "nets.py:small" in page


def test_for_machines(run, nets):
    data = run("report", "nets.py:small", "-e", "remove: ReLU", "-o", "r.html", "--json").data
    assert data["bytes"] == os.stat("r.html").st_size
