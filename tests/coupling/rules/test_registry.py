"""Operations that are known, those that aren't, and those that a user makes known."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Function
from torchsurgery.coupling.rules.registry import USER_RULES


@torch.library.custom_op("coupling_tests::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    """Twice x."""
    return 2 * x


@double.register_fake
def _(x):
    return torch.empty_like(x)


def test_unknown_operation_freezes_and_is_named():
    net = nn.Sequential(nn.Linear(4, 8), Function(double), nn.Linear(8, 2))
    coupling = ts.trace(net, torch.zeros(2, 4))
    assert coupling.unknown == {"coupling_tests::double": 1}
    assert "coupling_tests::double is not known" in str(coupling.why("0")[0])


def test_rule_makes_an_operation_known():
    net = nn.Sequential(nn.Linear(4, 8), Function(double), nn.Linear(8, 2))
    try:
        ts.rule(torch.ops.coupling_tests.double)(lambda call: call.give(call.out, call.axes(call.args[0])))
        coupling = ts.trace(net, torch.zeros(2, 4))
    finally:
        USER_RULES.pop("coupling_tests::double", None)
    assert coupling.unknown == {}
    assert len(coupling.group("0")) == 8


def test_a_rule_that_fails_freezes():
    net = nn.Sequential(nn.Linear(4, 8), Function(double), nn.Linear(8, 2))
    try:
        ts.rule("coupling_tests::double")(lambda call: call.tie(call.axes(call.args[0])[0], call.axes(call.args[0])[1]))
        coupling = ts.trace(net, torch.zeros(2, 4))
    finally:
        USER_RULES.pop("coupling_tests::double", None)
    assert coupling.unknown == {"coupling_tests::double": 1}
    assert "can't be followed here" in str(coupling.why("0")[0])


def test_rule_refuses_what_is_no_operation():
    with pytest.raises(ts.TraceError, match="a rule is for an operation"):
        ts.rule(torch.relu)


@pytest.mark.parametrize(
    "in_place",
    [torch.Tensor.abs_, lambda x: x.copysign_(1.0), lambda x: x.ge_(0.0), torch.ops.aten.gelu_, torch.Tensor.sigmoid_],
    ids=["abs", "copysign", "ge", "gelu", "sigmoid"],
)
def test_what_is_done_in_place_is_known_by_what_gives_a_new_tensor(in_place):
    coupling = ts.trace(nn.Sequential(nn.Linear(3, 4), Function(in_place), nn.Linear(4, 2)), torch.randn(1, 3))
    assert not coupling.unknown
    assert coupling.group("0").modules == ("0", "2")
