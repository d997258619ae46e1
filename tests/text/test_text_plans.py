"""Plans as text: golden files, and sums that add up."""

import re

import pytest
import torch
from plans_to_print import PLANS

import torchsurgery as ts
from torchsurgery.text import PlanView
from torchsurgery.text.plans import edit_rows


@pytest.mark.parametrize("name", PLANS)
def test_plan(resnet18, golden, name):
    plan = PLANS[name](resnet18)
    golden(f"{name}.txt", f"{plan}\n")


def numbers(pattern, printed):
    return [int(found.replace(",", "").replace("−", "-").replace("+", "")) for found in re.findall(pattern, printed)]


def deltas(printed):
    """The differences at the ends of the layers' rows."""
    return numbers(r"(?m)→ .*\s([+−][\d,]+|0)$", printed)


@pytest.mark.parametrize("name", ["plan_small", "plan_smaller_kernels"])
def test_what_is_printed_adds_up(resnet18, name):
    plan = PLANS[name](resnet18)
    printed = str(plan)
    (before, after), *_ = zip(
        numbers(r"params +([\d,]+)  ", printed), numbers(r"params +[\d,]+ +([\d,]+)", printed), strict=True
    )
    assert len(deltas(printed)) == len(plan.changes)
    assert before + sum(deltas(printed)) == after
    assert (before, after) == (plan.before.params, plan.after.params)


def test_a_folded_list_adds_up_with_what_is_not_shown(resnet18):
    plan = PLANS["plan_resnet18"](resnet18)
    own = [
        sum(p.numel() for p in c.new.parameters()) - sum(p.numel() for p in c.old.parameters()) for c in plan.changes
    ]
    assert plan.before.params + sum(own) == plan.after.params
    for planned in plan.planned:
        printed = "\n".join(edit_rows(1, planned, {}))
        hidden = len(planned.changes) - len(deltas(printed))
        assert hidden == max(0, len(planned.changes) - 8)
        assert (f"… {hidden} more" in printed) is (hidden > 0)


def test_the_last_line_counts_what_is_above(resnet18):
    plan = PLANS["plan_resnet18"](resnet18)
    assert repr(plan) == str(plan).splitlines()[-1]
    # 9 ReLU, 20 BatchNorm2d, 3 1×1 convolutions, fc
    assert repr(plan).startswith("Plan: 4 edits, 0 follow-ups · 33 of 68 modules · params 11,689,512 → ")


def test_lines_are_not_too_wide(resnet18):
    for name in PLANS:
        assert max(map(len, str(PLANS[name](resnet18)).splitlines())) <= 160, name


def test_all_rows_of_a_pruned_model_add_up(resnet18):
    plan = PLANS["plan_pruned"](resnet18)
    rows = plan.text(PlanView(all=True)).split("\n\n")
    assert "more" not in rows[2]
    found = numbers(r"(?m)([+−][\d,]+|0)$", "\n".join(rows[2:4]))
    assert len(found) == len(plan.changes)
    assert plan.before.params + sum(found) == plan.after.params


def test_how_it_is_shown(resnet18):
    text = PLANS["plan_pruned"](resnet18).text(PlanView("torchvision:resnet18", more="--all"))
    assert text.startswith("plan torchvision:resnet18   dry run")
    assert "… 16 more in layer2, layer3, layer4  (--all)" in text


def test_what_follows_stands_beside_what_it_follows_from(resnet18):
    rows = PLANS["plan_pruned"](resnet18).text().split("\n\n")[2].splitlines()[1:4]
    assert [row.split()[:2] for row in rows] == [
        ["~", "layer1.0.conv1"],
        ["↳", "layer1.0.bn1"],
        ["↳", "layer1.0.conv2"],
    ]


def test_both_sides_are_measured(resnet18):
    before, after = PLANS["plan_pruned"](resnet18).sides
    assert before.macs == ts.inspect(resnet18, torch.zeros(1, 3, 224, 224)).macs
    assert before.macs > after.macs > 0
    assert (before.output, after.output) == (((1, 1000),), ((1, 10),))
    assert resnet18.fc.out_features == 1000


def test_without_inputs_or_with_wrong_ones_nothing_is_said_of_runs(resnet18):
    for inputs in (None, torch.zeros(1, 4, 8, 8)):
        plan = ts.plan(resnet18, inputs).remove("layer4")
        assert plan.sides[0].macs is None
        assert "MACs" not in str(plan)


def test_an_output_that_stays(resnet18):
    assert str(ts.plan(resnet18, torch.zeros(1, 3, 64, 64)).remove("relu")).count("same") == 4
