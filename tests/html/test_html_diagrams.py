"""Drawings of what hangs together."""

import re
from dataclasses import replace

import pytest
import torch
from pages import parsed, report_of
from torch import nn

import torchsurgery as ts
from torchsurgery.edits import Tied
from torchsurgery.html.diagrams import diagrams


def drawn(report):
    return [
        {text.text: text.classes[0] for text in figure.all("text")} for figure in parsed(diagrams(report)).all("figure")
    ]


def test_one_for_each_group_of_its_form(gathered):
    found = drawn(gathered)
    assert len(found) == 4  # of eight: the second block of each stage is like the first
    captions = [e.text for e in parsed(diagrams(gathered)).all("figcaption")]
    assert [text.partition("likewise ")[2] for text in captions] == [f"layer{i}.1.conv1" for i in range(1, 5)]
    assert found[0] == {"layer1.0.conv1": "give", "layer1.0.bn1": "give", "layer1.0.conv2": "take"}
    assert "64 → 48 channels in 3 layers" in parsed(diagrams(gathered)).all("figcaption")[0].text


def test_a_residual_stream_is_tied_by_its_additions(resnet18, images):
    report = report_of(ts.plan(resnet18, images).prune("layer1.0.conv2", 0.25))
    (found,) = drawn(report)
    assert {name for name, kind in found.items() if kind == "step"} == {"add_ (layer1.0)", "add_ (layer1.1)"}
    assert {"conv1", "layer1.0.conv2", "layer1.1.conv2"} <= {n for n, kind in found.items() if kind == "give"}
    assert {"layer2.0.conv1", "layer2.0.downsample.0"} <= {n for n, kind in found.items() if kind == "take"}


def test_lines_go_from_left_to_right_and_boxes_do_not_overlap(resnet18, images):
    svg = parsed(diagrams(report_of(ts.plan(resnet18, images).prune("layer1.0.conv2", 0.25)))).one("svg")
    for path in svg.all("path"):
        x1, *_, x2, _ = map(float, re.findall(r"-?\d+", path.attributes["d"]))
        assert x1 < x2
    boxes = [[float(e.attributes[key]) for key in ("x", "y", "width", "height")] for e in svg.all("rect")]
    for i, (x, y, width, height) in enumerate(boxes):
        assert x >= 0
        assert x + width <= float(svg.attributes["width"])
        assert y + height <= float(svg.attributes["height"])
        for left, top, wide, high in boxes[:i]:
            assert x + width <= left or left + wide <= x or y + height <= top or top + high <= y


def test_of_groups_that_reach_further_each_is_drawn():
    net = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(4)), nn.Linear(4, 2))
    found = drawn(report_of(ts.plan(net, torch.randn(2, 4)).prune(("0.0", "1.0", "2.0"), 2)))
    assert [list(names) for names in found] == [["0.0", "1.0"], ["1.0", "2.0"], ["2.0", "3.0"]]


def test_long_groups_and_many_groups_are_cut_with_a_count(gathered):
    item = gathered.planned[0]
    layers = tuple(f"l{i}" for i in range(30))
    tied = Tied(64, 16, layers, (), tuple((layers[0], "add", other) for other in layers[1:13]))
    edit = replace(item.edit, ties=tuple(tied._replace(channels=64 + i) for i in range(30)))
    found = parsed(diagrams(replace(gathered, planned=(replace(item, edit=edit),))))
    assert len(found.all("figure")) == 24
    assert "… 6 groups more" in found.text
    assert "30 layers, 17 of which are not drawn" in found.text


def test_names_are_escaped(gathered):
    item = gathered.planned[0]
    tied = Tied(4, 2, ("<b>", "a&b"), ("</svg>",), (("<b>", "add (<i>)", "a&b"), ("<b>", "</svg>")))
    found = parsed(diagrams(replace(gathered, planned=(replace(item, edit=replace(item.edit, ties=(tied,))),))))
    assert {text.text for text in found.all("text")} == {"<b>", "add (<i>)", "a&b", "</svg>"}


@pytest.mark.parametrize("plan", [lambda net: ts.plan(net), lambda net: ts.plan(net).replace(nn.ReLU, nn.GELU)])
def test_nothing_where_nothing_is_cut(plan):
    assert diagrams(report_of(plan(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))) == ""


def test_a_layer_alone():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    report = report_of(ts.plan(net, torch.randn(2, 2)).prune("0", 1))
    assert drawn(report) == [{"0": "give", "2": "take"}]


def test_what_is_reached_on_two_ways_lies_behind_both(gathered):
    item = gathered.planned[0]
    ways = (("a", "x", "b"), ("a", "y", "x", "c"))
    edit = replace(item.edit, ties=(Tied(4, 2, ("a", "b"), ("c",), ways),))
    svg = parsed(diagrams(replace(gathered, planned=(replace(item, edit=edit),)))).one("svg")
    left = {text.text: float(text.attributes["x"]) for text in svg.all("text")}
    assert left["a"] < left["y"] < left["x"] < left["b"] == left["c"]
