"""Plans as text: golden files, and sums that add up."""

import re

import pytest
from plans_to_print import PLANS

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
        printed = "\n".join(edit_rows(1, "", planned.changes, (), {}))
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
