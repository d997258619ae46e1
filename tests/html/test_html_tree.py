"""The tree of modules."""

import pytest
import torch
from pages import parsed, report_of, rows
from torch import nn

import torchsurgery as ts
from torchsurgery.html.tree import told_apart, tree


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("ReLU", "ReLU", "ReLU"),
        ("Conv2d(64, 64, k3)", "Conv2d(64, 48, k3)", "Conv2d(64, <b>64→48</b>, k3)"),
        ("Dropout(p=0.1)", "Dropout(p=0.5)", "Dropout(<b>p=0.1→0.5</b>)"),
        ("BatchNorm2d(64)", "GroupNorm(8, 64)", "<s>BatchNorm2d(64)</s> → <b>GroupNorm(8, 64)</b>"),
        ("A(1, 2, 3, 4)", "A(5, 6, 7, 8)", "<s>A(1, 2, 3, 4)</s> → <b>A(5, 6, 7, 8)</b>"),
        ("(2, 1000)", "(2, 10)", "(2, <b>1000→10</b>)"),
        ("", "Dropout", "Dropout"),
        ("A(<1>)", "A(<2>)", "A(<b>&lt;1&gt;→&lt;2&gt;</b>)"),
    ],
)
def test_two_lines_as_one(before, after, expected):
    assert told_apart(before, after) == expected


def test_a_row_for_each_module(gathered):
    found = rows(parsed(tree(gathered)))
    by_first = {(cells[0], cells[5]): (cells, kinds) for cells, kinds in found}
    assert len(found) == 68 + 3  # the dropout, the layer beside it, and what layer4 lies in
    cells, kinds = by_first["~conv1", "1 prune"]
    assert kinds == ["prune"]
    cells, kinds = by_first["-/+fc", "2 replace"]
    assert cells[1:] == ["Linear(512, 1000→10)", "(2, 1000→10)", "5.130 k −99.0 %", "10.24 k −99.0 %", "2 replace"]
    assert kinds == ["replace"]
    assert by_first["+relu", "3 insert"][0][1] == "Inserted around ReLU"
    assert by_first["-/+layer4", "4 wrap"][0][1].endswith("around Sequential ×2 BasicBlock")


def test_what_follows_says_whom(gathered):
    why = {cells[5] for cells, kinds in rows(parsed(tree(gathered))) if kinds == ["follow"]}
    assert "follows layer1.0.conv1" in why
    assert "follows layer4.0.0.conv1" in why  # by the name that it has after all edits
    assert len(why) == 8


def test_the_numbers_of_what_lies_inside_add_up(gathered):
    for stats in (gathered.before, gathered.after):
        top = [row for row in stats.rows if row.depth == 1]
        assert sum(row.total.params for row in top) == stats.params
        assert sum(row.total.macs for row in top) == stats.macs


def test_changed_marks_what_the_filter_leaves(gathered):
    document = parsed(tree(gathered))
    for item in document.all("li"):
        inside = [e for e in item.all(kind="row") if {"prune", "follow", "replace", "insert", "wrap"} & set(e.classes)]
        assert ("c" in item.classes) == bool(inside)


def test_not_run_has_no_shapes_and_no_macs(small):
    document = parsed(tree(small))
    assert [span.text for span in document.one(kind="head").all("span")] == ["module", "type", "params", "why"]
    assert rows(document) == [
        (["Sequential", "Sequential", "58", ""], []),
        (["0", "Linear(4, 8)", "40", ""], []),
        (["-/+1", "ReLU → GELU", "", "1 replace"], ["replace"]),
        (["2", "Linear(8, 2)", "18", ""], []),
    ]


def test_what_is_gone_stays_in_sight():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.second(self.first(x))

    report = report_of(ts.plan(nn.Sequential(Block(), nn.ReLU())).replace("0", nn.Linear(4, 4)))
    found = {cells[0]: (cells[1], kinds) for cells, kinds in rows(parsed(tree(report)))}
    assert found["-/+0"] == ("Block → Linear(4, 4)", ["replace"])
    assert found["-first"] == ("Linear(4, 4)", ["remove"])


def test_what_differs_in_what_short_words_leave_out_is_told_in_full():
    plan = ts.plan(nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.1))).replace("0", nn.Dropout, p=0.2)
    found = rows(parsed(tree(report_of(plan.replace("1", nn.Dropout, p=0.5)))))
    assert [cells[1] for cells, _ in found[1:]] == ["Dropout(p=0.1→0.2)", "Dropout(p=0.1→default)"]


@pytest.mark.parametrize(("blocks", "open_folds"), [(3, 4), (400, 1)])
def test_long_trees_are_folded(blocks, open_folds):
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(blocks)))
    document = parsed(tree(report_of(ts.plan(net).replace(nn.ReLU, nn.GELU))))
    assert sum("open" in e.attributes for e in document.all("details")) == open_folds


def test_of_long_trees_what_has_changed_is_open():
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(400)))
    document = parsed(tree(report_of(ts.plan(net).replace("7.1", nn.GELU))))
    assert sum("open" in e.attributes for e in document.all("details")) == 2


def test_bars_are_on_the_scale_of_the_whole_model(gathered):
    document = parsed(tree(gathered))
    first = next(e for e in document.all("i") if "bar" in e.classes)
    assert first.classes == ["bar", "w200", f"n{round(200 * 8_434_314 / 11_689_512)}"]


def test_a_model_that_grows_sets_the_scale():
    net = nn.Sequential(nn.Linear(2, 2))
    report = report_of(ts.plan(net).replace("0", nn.Linear(2, 8)).wrap("0", lambda old: nn.Sequential(old)))
    first = parsed(tree(report)).all("i")[0]
    assert first.classes == ["bar", f"w{round(200 * 6 / 24)}", "n200"]


def test_shared_modules_have_one_row():
    shared = nn.Linear(4, 4)
    report = report_of(ts.plan(nn.Sequential(shared, nn.ReLU(), shared), torch.randn(2, 4)).replace("1", nn.GELU))
    assert [cells[0] for cells, _ in rows(parsed(tree(report)))] == ["Sequential", "0", "-/+1"]


def test_run_once_numbers_have_nothing_to_be_compared_with():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    plan = ts.plan(net).set_inputs(4, example_inputs=torch.randn(2, 3, 8, 8))
    found = rows(parsed(tree(report_of(plan, torch.randn(2, 4, 8, 8)))))
    assert [cells[4] for cells, _ in found] == ["23.04 k", "20.74 k", "", "2.304 k"]
    assert [cells[2] for cells, _ in found][1:] == ["(2, 8, 6, 6)", "(2, 8, 6, 6)", "(2, 4, 6, 6)"]


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.body, self.extra = nn.Sequential(nn.Identity(), inner), nn.Linear(2, 2)

    def forward(self, x):
        return self.extra(self.body(x))


def test_what_is_laid_around_the_model_itself():
    net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    assert rows(parsed(tree(report_of(ts.plan(net).wrap(net, Around))))) == [
        (["-/+Sequential", "Around around Sequential ×2 Linear", "28 +27.3 %", "1 wrap"], ["wrap"]),
        (["+body", "Sequential", "22", ""], ["insert"]),
        (["+0", "Identity", "", ""], ["insert"]),
        (["1", "Sequential ×2 Linear", "22", ""], []),
        (["0", "Linear(2, 4)", "12", ""], []),
        (["1", "Linear(4, 2)", "10", ""], []),
        (["+extra", "Linear(2, 2)", "6 new", ""], ["insert"]),
    ]
