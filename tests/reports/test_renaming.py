"""Names before and after edits that lay modules around others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from torchsurgery.reports.renaming import Names


def net():
    return nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ReLU(), nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    )


def deep(old):
    return nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), old))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: p, {"": "", "0.0": "0.0"}),
        (
            lambda p: p.insert(nn.Dropout(), after="1"),
            {"1": "1", "1.layer": "1", "1.after": None, "0": "0"},
        ),
        (
            lambda p: p.wrap("0", lambda old: nn.Sequential(nn.Identity(), old)),
            {"0": "0", "0.0": None, "0.1": "0", "0.1.0": "0.0", "0.1.1": "0.1", "1": "1"},
        ),
        (
            lambda p: p.wrap("0", deep),
            {"0": "0", "0.0": None, "0.1": None, "0.1.0": None, "0.1.1": "0", "0.1.1.1": "0.1"},
        ),
        # around what is around already
        (
            lambda p: p.wrap("1", nn.Sequential).wrap("1", nn.Sequential),
            {"1": "1", "1.0": "1", "1.0.0": "1"},
        ),
        # one edit, one inside the other
        (
            lambda p: p.wrap(("2", "2.0"), nn.Sequential),
            {"2": "2", "2.0": "2", "2.0.0": "2.0", "2.0.0.0": "2.0", "2.0.0.0.0": "2.0.0"},
        ),
    ],
)
def test_before(make, expected):
    names = Names(make(ts.plan(net())).planned)
    assert {name: names.before(name) for name in expected} == expected


def test_after_is_told_by_the_names_that_an_edit_saw():
    plan = ts.plan(net()).replace("0.1", nn.GELU).wrap("0", nn.Sequential).replace("0.0.1", nn.SiLU)
    names = Names(plan.planned)
    assert names.after("0.1", 0) == "0.0.1"
    assert names.after("0", 1) == "0"  # the wrapper
    assert names.after("0.0.1", 2) == "0.0.1"


KINDS = {"wrap": lambda p, n: p.wrap(n, nn.Sequential), "insert": lambda p, n: p.insert(nn.Dropout(), before=n)}


@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 30)), max_size=5))
def test_any_edits_lead_back_to_every_module(edits):
    """Each module that is still there is found under its new name, and each new name leads to the old one."""
    model = net()
    old = {id(module): name for name, module in model.named_modules() if name}
    plan = ts.plan(model)
    for kind, at in edits:
        names = [spots.names[0] for spots in plan.draft.spots().values() if spots.names[0]]
        plan = KINDS[kind](plan, names[at % len(names)])
    known = Names(plan.planned)
    with plan.in_force() as altered:
        found = {name: module for name, module in altered.named_modules() if name}
        for name, module in found.items():
            if id(module) in old:
                assert known.before(name) == old[id(module)]
        assert {known.before(name) for name in found} - {None} == set(old.values())
