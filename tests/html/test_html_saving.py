"""A page is on the disk whole, or what was there before is."""

import os
import stat

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.html import render, save, saving


def test_it_is_the_page(small, tmp_path):
    path = save(small, tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert path.read_text("utf-8") == render(small)


def test_as_readable_as_other_files(small, tmp_path):
    (tmp_path / "other").write_text("")
    assert save(small, tmp_path / "report.html").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_permissions_of_a_page_that_was_there_stay(small, tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    target.chmod(0o640)
    save(small, str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["missing/report.html", "folder"])
def test_where_it_cannot_be_written_it_says_so(small, tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ts.SurgeryError, match="the report can't be written to") as caught:
        save(small, tmp_path / name)
    assert "a folder that is there" in caught.value.way_out
    assert caught.value.got == tmp_path / name
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.parametrize("failure", [OSError("no space left"), KeyboardInterrupt()])
def test_whatever_interrupts_the_old_page_stays(small, tmp_path, monkeypatch, failure):
    target = tmp_path / "report.html"
    target.write_text("old")

    def replace(*_):
        raise failure

    monkeypatch.setattr(saving.os, "replace", replace)
    with pytest.raises((ts.SurgeryError, KeyboardInterrupt)):
        save(small, target)
    assert os.listdir(tmp_path) == ["report.html"]
    assert target.read_text() == "old"


def test_by_a_plan_and_by_a_surgery(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    plan = ts.plan(net).replace(nn.ReLU, nn.GELU)
    planned = plan.report(tmp_path / "plan.html").read_text("utf-8")
    assert isinstance(net[1], nn.ReLU)
    done = plan.apply()
    made = done.report(tmp_path / "done.html", source="mine").read_text("utf-8")
    assert isinstance(net[1], nn.GELU)
    tree = slice(planned.index("<h2>Modules"), planned.index("<footer"))
    assert planned[tree] in made
    assert "<title>mine: 1 edit</title>" in made
