"""Scores from weights and gradients."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Residual, built


def kept(plan):
    return plan.planned[-1].edit.kept


def test_importance_of_ones_own_sees_channels_first():
    net, x = built(Residual)
    seen = {}

    def last_first(slices):
        seen.update({(s.name, s.dim): (s.role, tuple(s.weight.shape)) for s in slices})
        return torch.arange(8, 0, -1)

    plan = ts.plan(net, x).prune("stem", 2, by=last_first)
    assert kept(plan)["stem.weight"][0] == (0, 1, 2, 3, 4, 5)
    assert seen["stem.weight", 0] == ("out", (8, 27))
    assert seen["block1.conv1.weight", 1] == ("in", (8, 54))
    assert seen["block1.bn2.weight", 0] == ("both", (8, 1))


@pytest.mark.parametrize("by", [ts.importance.l1, ts.importance.l2, ts.importance.bn_scale, ts.importance.random])
def test_importances(by):
    net, x = built(Residual)
    ts.prune(net, "block1.conv1", 0.5, by=by, example_inputs=x)
    assert net.block1.conv1.out_channels == 3


def test_taylor_needs_and_uses_gradients():
    net, x = built(Residual)
    with pytest.raises(ts.CouplingError, match="has no gradient"):
        ts.prune(net, "block1.conv1", 0.5, by=ts.importance.taylor, example_inputs=x)
    net(x).square().sum().backward()
    weight, grad = net.block1.conv1.weight.detach().clone(), net.block1.conv1.weight.grad
    assert grad is not None
    ts.prune(net, "block1.conv1", 0.5, by=ts.importance.taylor, example_inputs=x)
    assert net.block1.conv1.weight.shape == (3, *weight.shape[1:])


def test_importance_of_the_wrong_shape():
    net, x = built(Residual)
    with pytest.raises(ts.CouplingError, match="must answer one number a channel for stem"):
        ts.prune(net, "stem", 0.5, by=lambda slices: torch.zeros(3), example_inputs=x)


@pytest.mark.parametrize("by", [ts.importance.l1, ts.importance.l2, ts.importance.taylor])
def test_complex_weights_are_scored_by_their_size(by):
    layers = (nn.Linear(*sizes, bias=False, dtype=torch.complex64) for sizes in ((1, 3), (3, 1)))
    net = nn.Sequential(*layers)
    weight = torch.tensor([[2j], [1.0], [3 - 1j]])
    net[0].weight.data.copy_(weight)
    for layer in net:
        layer.weight.grad = layer.weight.detach().clone()
    ts.prune(net, "0", 1, by=by, example_inputs=torch.zeros(1, 1, dtype=torch.complex64))
    assert torch.equal(net[0].weight, weight[[0, 2]])
