import itertools

import pytest
import torch
from holding import converted
from torch import nn

from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.losses import LOSSES

ELEMENTWISE = [nn.L1Loss, nn.MSELoss, nn.SmoothL1Loss, nn.HuberLoss, nn.SoftMarginLoss]


@pytest.mark.parametrize(("old", "new"), list(itertools.product(ELEMENTWISE, ELEMENTWISE)))
def test_exact_is_the_same_function(old, new):
    loss = old(reduction="none")
    conversion, other = converted(loss, new)
    x, y = torch.randn(50, dtype=torch.float64) * 3, torch.randn(50, dtype=torch.float64).sign()
    assert other.reduction == "none"
    assert (conversion.fidelity is Fidelity.EXACT) == torch.allclose(loss(x, y), other(x, y), rtol=1e-10, atol=1e-10)
    assert conversion.fidelity in (Fidelity.EXACT, Fidelity.INITIALISED)


def test_huber_in_other_words():
    assert convert(nn.SmoothL1Loss(beta=1.0), nn.HuberLoss).fidelity is Fidelity.EXACT
    assert convert(nn.SmoothL1Loss(beta=0.0), nn.L1Loss).fidelity is Fidelity.EXACT
    assert convert(nn.SmoothL1Loss(beta=0.5), nn.HuberLoss).fidelity is Fidelity.INITIALISED
    assert convert(nn.HuberLoss(delta=2.0), nn.HuberLoss, {"delta": 1.0}).fidelity is Fidelity.APPROXIMATE


def test_weights_and_arguments_carry():
    weight = torch.tensor([1.0, 2.0, 3.0])
    conversion, new = converted(nn.CrossEntropyLoss(weight, ignore_index=2, label_smoothing=0.1), nn.NLLLoss)
    assert torch.equal(new.weight, weight) and new.ignore_index == 2
    assert conversion.dropped == ("label_smoothing=0.1",) and conversion.fidelity is Fidelity.INITIALISED
    assert like(nn.MSELoss(reduction="sum"), nn.L1Loss).reduction == "sum"
    same = like(nn.CrossEntropyLoss(weight), nn.CrossEntropyLoss)
    assert torch.equal(same.weight, weight)
    assert convert(nn.CrossEntropyLoss(weight), nn.CrossEntropyLoss).fidelity is Fidelity.EXACT
    assert nn.CrossEntropyLoss in LOSSES and len(LOSSES) > 20
