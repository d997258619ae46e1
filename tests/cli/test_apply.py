"""`torchsurgery apply`: what was reviewed is what is done, and all of it is written or nothing."""

import os
import re

import pytest
import torch

import torchsurgery as ts

EDITS = ["-e", "prune: {target: '0', amount: 0.25}", "-e", "replace: {target: ReLU, with: GELU}", "-i", "2,3,8,8"]


@pytest.fixture
def slim(run, nets):
    """A small model altered and saved in slim/."""
    assert run("apply", "nets.py:small", *EDITS, "-o", "slim").code == 0
    return "slim"


def test_a_plan_is_applied_as_it_was_reviewed(run, tmp_path, golden, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["-e", "prune: {target: 'layer1.*.conv1', amount: 0.25}", "-e", "set_outputs: 10", "-o", "plan.json"]
    planned = run("plan", "torchvision:resnet18", *words)
    assert "Saved to plan.json." in planned.out
    applied = run("apply", "plan.json", "-o", "slim")
    assert (applied.code, applied.err) == (0, "")
    assert "  ✓ save → load → forward   bit-identical outputs" in applied.out
    assert "  ! output shape changed    (1, 1000) → (1, 10)" in applied.out
    # sizes and digest depend on versions
    out = re.sub(r"sha256 \w+", "sha256 …", re.sub(r"(?m)^Wrote .*", "Wrote …", applied.out))
    golden("cli_apply_resnet18.txt", out)
    model = ts.load("slim", "torchvision:resnet18")
    assert (model.fc.out_features, model.layer1[0].conv1.out_channels) == (10, 48)


def test_the_weights_are_those_of_the_file(run, nets, tmp_path):
    from running import NETS

    scope = {}
    exec(NETS, scope)
    trained = scope["small"](width=4)
    torch.save(trained.state_dict(), "trained.pt")
    words = ["-a", "width=4", "--weights", "trained.pt", "-i", "2,3,8,8"]
    assert run("apply", "nets.py:small", *words, "-e", "remove: '4'", "-o", "slim").code == 0
    model = ts.load("slim", "nets.py:small(width=4)")
    assert torch.equal(model[0].weight, trained[0].weight)
    assert type(model[4]).__name__ == "Identity"


def test_a_plan_with_arguments_weights_and_inputs(run, nets):
    from running import NETS

    scope = {}
    exec(NETS, scope)
    trained = scope["small"](width=4)
    torch.save(trained.state_dict(), "trained.pt")
    words = ["-a", "width=4", "--weights", "trained.pt", "-i", "2,3,8,8", "-e", "remove: '4'", "-o", "p.json"]
    assert run("plan", "nets.py:small", *words).code == 0
    answer = run("apply", "p.json", "--base", "nets.py:small(width=4)", "-o", "slim")
    assert (answer.code, answer.err) == (0, "")
    assert "(2, 3, 8, 8) → (2, 4)" in answer.out
    assert torch.equal(ts.load("slim", "nets.py:small(width=4)")[0].weight, trained[0].weight)


def test_verify_and_inspect_what_was_saved(run, slim):
    for command in ("verify", "inspect"):
        refused = run(command, slim)
        assert refused.code == 2
        assert "whose code would be run" in refused.err
        assert run(command, slim, "--base", "nets.py:small", "-i", "2,3,8,8").code == 0


def test_altered_once_more(run, slim):
    words = ["--base", "nets.py:small", "-i", "2,3,8,8", "-e", "set_outputs: 3", "-o", "again"]
    answer = run("apply", slim, *words)
    assert (answer.code, answer.err) == (0, "")
    assert ts.load("again", "nets.py:small")[7].out_features == 3


def test_for_machines(run, nets):
    data = run("apply", "nets.py:small", *EDITS, "-o", "slim", "--json").data
    assert data["ok"] is True
    assert {"recipe", "weights", "report.html"} <= data["files"].keys()


def test_a_model_that_does_not_hold_is_not_saved(run, nets):
    edit = ["-e", "insert: {with: ReLU, inplace: true, after: Sigmoid}", "-i", "2,4"]
    answer = run("apply", "nets.py:sigmoid", *edit, "-o", "slim")
    assert answer.code == 1
    assert "  ✗ " in answer.out
    assert answer.out.endswith("Nothing was written.\n")
    assert not os.path.exists("slim")
    assert run("apply", "nets.py:sigmoid", *edit, "-o", "slim", "--no-check").code == 0


def test_a_page_is_written_beside_it_with_what_was_looked_at(run, slim):
    with open("slim/report.html", encoding="utf-8") as file:
        page = file.read()
    assert "nets.py:small" in page
    assert "out_channels" in page or "8→6" in page
    for line in ("source matches plan", "untouched modules", "save → load → forward"):
        assert line in page
    assert "relative difference of the answer" in page


def test_no_page_of_what_was_there_before_stays(run, slim):
    answer = run("apply", "nets.py:small", *EDITS, "-o", "slim/", "--no-report")
    assert answer.code == 0
    assert "\nWrote slim/  " in answer.out
    assert "report.html" not in answer.out
    assert not os.path.exists("slim/report.html")


def test_who_interrupts_it_late_is_told_what_is_written(run, nets, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("torchsurgery.cli.commands.apply.gather", interrupted)
    answer = run("apply", "nets.py:small", *EDITS, "-o", "slim")
    assert (answer.code, answer.err) == (130, "interrupted: slim is written, and nothing else\n")
    assert ts.load("slim", "nets.py:small")[0].out_channels == 6
    assert not os.path.exists("slim/report.html")


def test_a_folder_of_others_is_left_alone(run, nets):
    os.mkdir("mine")
    with open("mine/letter.txt", "w") as file:
        file.write("dear")
    answer = run("apply", "nets.py:small", *EDITS, "-o", "mine")
    assert answer.code == 2
    assert os.listdir("mine") == ["letter.txt"]


@pytest.mark.parametrize("command", ["apply", "plan", "report", "export"])
def test_a_place_that_is_not_there(run, nets, command):
    more = ["--to", "pt2"] if command == "export" else []
    answer = run(command, "nets.py:broken", "-e", "remove: ReLU", *more, "-o", "no/where/x.json")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no folder" in answer.err


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written_to(run, nets):
    os.mkdir("locked", mode=0o500)
    assert "may not be written to" in run("apply", "nets.py:small", *EDITS, "-o", "locked/slim").err


def test_an_interrupt_leaves_nothing(run, nets, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("torchsurgery.storage.saving.write_contents", interrupted)
    before = sorted(os.listdir())
    answer = run("apply", "nets.py:small", *EDITS, "-o", "slim")
    assert (answer.code, answer.err) == (130, "interrupted: nothing was written\n")
    assert sorted(os.listdir()) == before


def test_a_class_of_ones_own_is_named_again_where_it_is_loaded(run, nets):
    own = ["--class", "Embraced=nets.py:Around", "--base", "nets.py:small", "-i", "2,3,8,8"]
    edit = ["-e", "wrap: {target: Linear, with: Embraced, gain: 2.0}"]
    answer = run("apply", "nets.py:small", *own, *edit, "-o", "slim")
    assert (answer.code, answer.err) == (0, "")
    assert run("verify", "slim", *own).code == 0
    assert "Around" in run("inspect", "slim", *own).out
    planned = run("plan", "nets.py:small", *own, *edit, "-o", "p.json")
    assert planned.code == 0
    command = "torchsurgery apply p.json --base nets.py:small --class Embraced=nets.py:Around -o …"
    assert planned.out.endswith(f"To make exactly these edits:  {command}\n")
    assert run("apply", "p.json", *own, "-o", "again").code == 0
