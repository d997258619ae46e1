"""Plans and surgeries as text: golden files, and sums that add up."""

import re

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery import text
from torchsurgery.changes import Change
from torchsurgery.origins import Computed, Initialised, Same


class FusedReLU(nn.Sequential):
    """What a user has: ReLU, then Dropout."""

    def __init__(self, inplace=False):
        super().__init__(nn.ReLU(inplace), nn.Dropout(0.1))


def small():
    act = nn.ReLU()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), act, nn.Conv2d(8, 8, 1), act, nn.Flatten()
        )


def chain(model):
    return (
        ts.plan(model)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=4)
        .replace(nn.Conv2d, nn.Conv2d, kernel_size=5)
        .insert(nn.Dropout(0.1), after=nn.ReLU)
        .wrap("3", nn.Sequential)
        .remove(nn.Flatten)
    )


PLANS = {
    "plan_of_nothing": lambda model: ts.plan(nn.ReLU()),
    "plan_small": lambda model: chain(small()),
    "plan_resnet18": lambda model: (
        ts.plan(model)
        .replace(nn.ReLU, FusedReLU)
        .replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        .replace(ts.select(model, nn.Conv2d, kernel_size=(1, 1)), nn.Conv2d, kernel_size=3)
        .replace("fc", nn.Linear(512, 10))
    ),
    "plan_smaller_kernels": lambda model: ts.plan(model).replace(
        ts.select(model, nn.Conv2d, kernel_size=7), nn.Conv2d, kernel_size=3
    ),
    "plan_never_called": lambda model: ts.plan(nn.MultiheadAttention(4, 2)).replace(
        "out_proj", lambda old: nn.Linear(4, 4)
    ),
    "plan_follow_up": lambda model: ts.plan(nn.TransformerEncoderLayer(4, 2, 8)).replace("linear1", nn.Linear(4, 8)),
    "plan_nested": lambda model: ts.plan(nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())))).replace(
        ("0", "0.0", "0.0.0"), nn.Identity()
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_plan(resnet18, golden, name):
    plan = PLANS[name](resnet18)
    golden(f"{name}.txt", f"{plan}\n")


@pytest.mark.parametrize("name", ["plan_small", "plan_resnet18"])
def test_surgery(resnet18, golden, name):
    done = PLANS[name](resnet18).apply()
    in_force = repr(done)
    done.undo()
    golden(f"{name.replace('plan', 'surgery')}.txt", f"{in_force}\n{done!r}\n")


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
        printed = "\n".join(text._edit_rows(1, "", planned.changes, (), {}))
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


# --- layers in one line


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.ReLU(), "ReLU()"),
        (nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), "Conv2d(3, 64, 7, stride=2, padding=3, bias=False)"),
        (nn.Conv2d(3, 8, (1, 3)), "Conv2d(3, 8, (1, 3))"),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4)"),
        (nn.LeakyReLU(0.123456789), "LeakyReLU(negative_slope=0.1235)"),
        (nn.Sequential(nn.ReLU(), nn.ReLU(), nn.Dropout()), "Sequential(2 × ReLU, Dropout)"),
    ],
    ids=lambda thing: thing if isinstance(thing, str) else "",
)
def test_layer(module, words):
    assert text.layer(module) == words


def test_a_layer_whose_arguments_are_not_known():
    class Secret(nn.Module):
        def __init__(self, secret):
            super().__init__()
            self.derived = secret * 2

        def extra_repr(self):
            return "secret"

    assert text.layer(Secret(3)) == "Secret(secret)"


# --- what becomes of tensors


def change(**account):
    return Change("replace", ("fc",), nn.ReLU(), nn.ReLU(), nn.ReLU(), (), "", **account)


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ({}, ""),
        ({"origins": {"weight": Same("weight"), "bias": Same("bias")}}, "carried weight, bias"),
        ({"origins": {"w": Computed(("weight",), torch.neg, "negated")}}, "w negated"),
        ({"origins": {"w": Initialised("as given"), "b": Initialised("as given")}}, "new w, b (as given)"),
        (
            {"origins": {"w": Initialised(), "b": Initialised("another shape")}},
            "initialised w · initialised b (another shape)",
        ),
        ({"fidelity": ts.Fidelity.APPROXIMATE, "error": 0.1234}, "approximate (relative error about 0.12)"),
        ({"fidelity": ts.Fidelity.EXACT}, "exact"),
        (
            {"lost": ("running_mean",), "dropped": ("momentum=0.1",)},
            "lost running_mean · without counterpart: momentum=0.1",
        ),
        ({"lost": tuple("abcdefgh")}, "lost a, b, c, d, e, f and 2 more"),
        ({"remarks": ("weight is no longer tied to head.weight",)}, "weight is no longer tied to head.weight"),
    ],
)
def test_account(account, words):
    assert text.carried(change(**account)) == words


def test_account_of_a_follow_up():
    layer = nn.ReLU()
    assert text.carried(Change("follow", ("x",), layer, layer, layer, (), "", remarks=("a=1", "b=2"))) == "a=1 · b=2"


def test_all_tensors_carried():
    layer = nn.Linear(2, 2)
    assert text.carried(Change("replace", ("x",), layer, layer, layer, (), "")) == "all tensors carried"


def test_nothing_done():
    assert text.surgery_line("Net", (), ts.plan(nn.ReLU()).before, ts.plan(nn.ReLU()).after, True) == (
        "Surgery on Net: nothing done · params 0 → 0 · undo() takes it back"
    )
