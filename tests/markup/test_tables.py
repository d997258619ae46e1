"""Tables for notebooks, and what shows itself by them."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.markup import Table, folded, shown, style

sys.path.insert(0, str(Path(__file__).parents[1] / "html"))

from pages import parsed

NASTY = "<script>alert(1)</script>"


def cells(table):
    return [[cell.text for cell in row.children] for row in table.all("tr")]


def test_a_table_of_code_numbers_and_words():
    table = parsed(Table(("name", "params"), [("conv1", "1 k"), ("<b>", "2")], codes={0}, numbers={1}).html())
    assert cells(table) == [["name", "params"], ["conv1", "1 k"], ["<b>", "2"]]
    assert [e.text for e in table.all("code")] == ["conv1", "<b>"]
    assert [e.text for e in table.all(kind="ts-number")] == ["params", "1 k", "2"]


def test_without_a_head():
    assert not parsed(Table((), [("a",)]).html()).all("thead")


def test_rows_say_what_was_done():
    table = parsed(Table((), [("a",), ("b",)], kinds=["prune", ""]).html())
    assert [row.classes for row in table.all("tr")] == [["ts-prune"], []]


@pytest.mark.parametrize(("rows", "seen", "hidden"), [(12, 12, 0), (13, 12, 1), (40, 12, 28)])
def test_long_tables_are_folded(rows, seen, hidden):
    table = parsed(Table((), [(str(i),) for i in range(rows)]).html())
    inside = [row for fold in table.all("details") for row in fold.all("tr")]
    assert len(table.all("tr")) - len(inside) == seen
    assert len(inside) == hidden
    assert [e.text for e in table.all("summary")] == ([f"{hidden} more"] if hidden else [])


def test_very_long_ones_are_cut_with_a_count():
    table = parsed(Table((), [(str(i),) for i in range(1234)]).html())
    assert len(table.all("tr")) == 500
    assert "… 734 more" in table.text


def test_what_is_shown_has_a_style_of_its_own():
    block = parsed(shown("a < b", folded("more <i>", "<p>x</p>"))).one("div")
    assert block.classes == ["torchsurgery"]
    assert block.one("b").text == "a < b"
    assert block.one("summary").text == "more <i>"


def test_no_rule_reaches_beyond_it():
    sheet = style("torchsurgery.markup", "notebook.css")
    selectors = [s for group in re.findall(r"([^{}]+)\{", sheet) for s in group.split(",")]
    assert len(selectors) > 15
    assert all(selector.strip().startswith(".torchsurgery") for selector in selectors)


# --- what shows itself


def page(thing):
    return parsed(thing._repr_html_()).one(kind="torchsurgery")


def test_a_selection(resnet18):
    found = page(ts.select(resnet18, nn.BatchNorm2d))
    assert found.one("b").text == "Selection of 20 of 68 modules of ResNet"
    assert cells(found)[0][0] == "bn1"
    assert len(cells(found)) == 20
    assert found.one("summary").text == "8 more"


def test_a_plan(resnet18, images):
    plan = ts.plan(resnet18, images).prune("layer1.0.conv1", 0.25).replace("fc", nn.Linear(512, 10))
    found = page(plan)
    assert found.one("b").text == repr(plan)
    rows = cells(found)
    assert ["~", "layer1.0.conv1", "out_channels 64 → 48", "−9,216", ""] in rows
    assert ["↳", "layer1.0.bn1", "num_features 64 → 48", "−32", ""] in rows
    assert [row for row in rows if row[0] == "output"] == [["output", "(2, 1000)", "(2, 10)", "changes"]]
    kinds = [kind for row in found.all("tr") for kind in row.classes]
    assert kinds == ["ts-prune", "ts-follow", "ts-follow", "ts-replace"]


def test_what_is_carried_alike_is_told_once(resnet18):
    accounts = [
        row[4] for row in cells(page(ts.plan(resnet18).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)))[:20]
    ]
    assert "carried weight, bias" in accounts[0]
    assert set(accounts[1:]) == {""}


def test_a_surgery_and_the_plan_that_it_was(resnet18, images):
    plan = ts.plan(resnet18, images).replace("fc", nn.Linear(512, 10))
    done = plan.apply()
    found = page(done)
    assert found.one("b").text == repr(done)
    assert ["params", "11,689,512", "11,181,642", "−4.3 %"] in cells(found)
    page(plan)  # though the model is no longer what it was made for
    print(plan)
    done.undo()
    assert page(done).one("b").text.endswith("undone")


def test_a_coupling(resnet18, images):
    coupling = ts.trace(resnet18, images)
    found = page(coupling)
    assert found.one("b").text == repr(coupling)
    rows = cells(found)
    assert rows[0] == ["channels", "given by", "taken by"]
    assert ["64", "layer1.0.conv1, layer1.0.bn1", "layer1.0.conv2"] in rows
    assert len(rows) == 1 + len(coupling.groups)


def test_a_coupling_says_what_it_could_not_see():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    coupling = ts.trace(Half(), torch.randn(1, 4))
    assert "not run: unused" in page(coupling).text
    assert "not run: unused" in str(coupling)


def test_stats(resnet18):
    stats = ts.inspect(resnet18, torch.zeros(1, 3, 224, 224))
    found = page(stats)
    assert found.one("b").text == repr(stats)
    assert "input (1, 3, 224, 224) float32 · cpu" in found.text
    short, whole = found.all("table")
    assert [row[0].strip() for row in cells(short)[1:]] == ["ResNet", *(name for name, _ in resnet18.named_children())]
    assert len(cells(whole)) == 1 + 68
    assert cells(short)[2][:6] == ["  conv1", "Conv2d(3, 64, k7, s2)", "(1, 64, 112, 112)", "9.408 k", "0.1", "118.0 M"]


def test_stats_of_what_was_not_run():
    from torchsurgery.measuring import without_run

    assert "not run" in page(without_run(nn.Sequential(nn.Linear(2, 2)))).text


def test_what_users_name_is_shown_and_never_obeyed():
    net = nn.Sequential()
    net.__class__ = type(NASTY, (nn.Sequential,), {})
    net._modules[NASTY] = type(NASTY, (nn.Linear,), {})(4, 4)
    net._modules["2"] = nn.Linear(4, 2)
    x = torch.randn(1, 4)
    for thing in (
        ts.select(net, nn.Linear),
        ts.inspect(net, x),
        ts.trace(net, x),
        ts.plan(net).wrap(NASTY, nn.Sequential),
    ):
        assert not page(thing).all("script")
        assert NASTY in page(thing).text
