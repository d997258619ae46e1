import itertools

import pytest
import torch
from holding import converted, hold
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like
from torchsurgery.layers.dropout import DROPOUTS


@pytest.mark.parametrize(("old", "new"), list(itertools.product(DROPOUTS, (*DROPOUTS, nn.Identity))))
def test_in_eval_none_of_them_does_anything(old, new):
    sizes = {cls.__name__[-2]: int(cls.__name__[-2]) for cls in (old, new) if cls.__name__[-1] == "d"}
    if len(sizes) > 1:
        conversion, layer = converted(old(0.3, inplace=True), new)
    else:
        x = torch.randn(2, 3, *[4] * next(iter(sizes.values()), 2), dtype=torch.float64)
        conversion, layer = hold(old(0.3, inplace=True), new, x)
    assert conversion.fidelity is (Fidelity.EXACT if new is old else Fidelity.EXACT_IN_EVAL)
    if new is not nn.Identity:
        assert layer.p == 0.3 and layer.inplace
    else:
        assert conversion.dropped == ("p=0.3", "inplace=True")


def test_nothing_dropped_is_exact():
    assert hold(nn.Dropout(0.0), nn.Dropout2d, torch.randn(2, 3, 4, 5))[0].fidelity is Fidelity.EXACT
    assert hold(nn.Dropout(0.0), nn.Identity, torch.randn(2, 3))[0].fidelity is Fidelity.EXACT
    assert convert(nn.Identity(), nn.Dropout).fidelity is Fidelity.EXACT_IN_EVAL


def test_another_share():
    conversion, new = converted(nn.Dropout(0.5), nn.Dropout, p=0.1)
    assert conversion.fidelity is Fidelity.EXACT_IN_EVAL and new.p == 0.1


@pytest.mark.parametrize("p", [-0.1, 1.1, "half", True, None])
def test_a_share_is_between_none_and_all(p):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        like(nn.Dropout(), nn.Dropout, p=p)
