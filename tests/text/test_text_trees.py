"""Models as trees: golden files, sums that add up, and narrow terminals."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.measuring import without_run
from torchsurgery.stats import Cost, Row
from torchsurgery.text import View, input_line, totals_line, tree


@pytest.fixture
def stats(resnet18):
    return ts.inspect(resnet18, torch.zeros(1, 3, 224, 224))


def printed(stats, **view):
    return tree(stats.rows, stats.inputs, stats.device, View(**view))


def test_resnet18(stats, golden):
    golden("inspect_resnet18.txt", f"{stats}\n{stats!r}\n")


def test_deeper_and_selected(stats, golden):
    selected = frozenset({"layer4", "layer4.1.conv1", "fc"})
    parts = [printed(stats, depth=3, more="--depth 4"), printed(stats, names=selected)]
    golden("inspect_resnet18_deeper.txt", "\n\n".join(parts) + "\n")


def test_without_a_run(resnet18):
    stats = without_run(resnet18)
    assert "MACs" not in totals_line(stats.rows)
    assert input_line(stats.inputs, stats.device) == "not run: no shapes, no MACs · cpu"
    assert all("G" not in line.split("MACs")[0] for line in str(stats).splitlines()[:-1])


def test_the_input():
    inputs = (((1, 8), "int64"), ((1, 4), "bool"))
    assert input_line(inputs, "cuda:0") == "input (1, 8) int64, (1, 4) bool · cuda:0"


def exact(words):
    value, _, unit = words.partition(" ")
    return 0 if value == "–" else float(value) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_is_printed_adds_up(stats, depth):
    lines = [line for line in printed(stats, depth=depth).split("\n\n")[0].splitlines()[1:]]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    top, *rest = cells
    direct = [row for row, line in zip(rest, lines[1:], strict=True) if line[0] in "├└"]
    params = [exact(next(c for c in row[2:] if c == "–" or c[-1:] in "kM" or c.isdigit())) for row in direct]
    assert sum(params) == pytest.approx(exact(top[2]), rel=1e-3)


def test_every_module_is_there_when_all_is_asked_for(stats):
    body = printed(stats, depth=None, all=True).split("\n\n")[0]
    assert len(body.splitlines()) == 1 + len(stats.rows)


def test_a_long_list_is_folded_with_its_sum():
    net = nn.Sequential(*[nn.Linear(10, 10) for _ in range(40)])
    stats = ts.inspect(net, torch.zeros(1, 10))
    lines = printed(stats).split("\n\n")[0].splitlines()
    assert len(lines) == 2 + 8 + 1
    assert lines[-1].split() == ["└─", "…", "32", "more", "3.520", "k", "80.0", "3.200", "k", "█████████▋"]
    assert len(printed(stats, all=True).split("\n\n")[0].splitlines()) == 2 + 40


def test_a_selection_inside_another_is_not_added_twice(stats):
    *_, last = printed(stats, names=frozenset({"layer4", "layer4.0"})).split("\n\n")[0].splitlines()
    assert last.split()[:3] == ["sum", "8.394", "M"]


@pytest.mark.parametrize("width", [200, 100, 80, 70, 60, 50, 40, 30])
@pytest.mark.parametrize("depth", [1, 3])
def test_it_fits_into_the_terminal(stats, width, depth):
    body = printed(stats, width=width, depth=depth).split("\n\n")[0].splitlines()
    assert max(map(len, body)) <= width
    assert all("params" in body[0] and "MACs" in body[0] for _ in body)


def test_several_outputs():
    cost = Cost()
    row = Row(("",), "Net", "", ((1, 2), (3,), (4,)), 1, cost, cost)
    assert "(1, 2) +2" in tree((row,), (((1,), "float32"),), "cpu")


def test_totals():
    assert totals_line(without_run(nn.Linear(2, 2).requires_grad_(False)).rows) == (
        "1 module · 1 leaf · 6 params (0 trainable) · 24 B weights"
    )
