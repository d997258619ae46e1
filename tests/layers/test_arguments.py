import numpy as np
import pytest
import torch
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.arguments import Divisor, divisor
from torchsurgery.layers.converting import convert, like


class FusedReLU(nn.Module):
    def __init__(self, p=0.1, inplace=False):
        super().__init__()
        self.p, self.inplace, self.drop = p, inplace, nn.Dropout(p)

    def forward(self, x):
        return self.drop(torch.relu(x))


def test_arguments_are_values_or_functions_of_the_old_layer():
    new = like(nn.ReLU(), FusedReLU, p=lambda old: 0.5 if isinstance(old, nn.ReLU) else 0.0)
    assert new.p == 0.5 and not new.inplace


def test_a_callable_stays_a_value_where_the_default_is_one():
    class Activated(nn.Module):
        def __init__(self, in_features, function=torch.relu, kind=None):
            super().__init__()
            self.in_features, self.function, self.kind = in_features, function, kind

    new = like(nn.Linear(3, 4), Activated, function=torch.tanh, kind=nn.GELU)
    assert new.function is torch.tanh and new.kind is nn.GELU and new.in_features == 3


# --- divisor


def test_divisor():
    assert [divisor(32)(nn.BatchNorm2d(n)) for n in (64, 48, 20, 7, 1)] == [32, 24, 20, 7, 1]
    assert divisor(4)(nn.Conv2d(12, 18, 1)) == 3 and divisor(8) == Divisor(8)
    for bad in (0, True, 2.5):
        with pytest.raises(ConfigError, match="at least 1"):
            divisor(bad)
    with pytest.raises(ConfigError, match="has none"):
        like(nn.ReLU(), nn.GroupNorm, num_channels=8, num_groups=divisor(8))


# --- refusals


def test_missing_arguments_are_named_with_a_line_that_works():
    with pytest.raises(ConfigError) as refusal:
        convert(nn.BatchNorm2d(8), nn.GroupNorm)
    assert "needs num_groups" in str(refusal.value) and refusal.value.expected == ("num_groups",)
    assert refusal.value.way_out == "give it:  ts.like(old, nn.GroupNorm, num_groups=ts.divisor(32))"


def test_the_impossible_names_both_and_the_nearest():
    with pytest.raises(ConfigError, match=r"Conv2d needs in_channels, out_channels, kernel_size.*ReLU\(\)") as refusal:
        convert(nn.ReLU(), nn.Conv2d)
    assert "ReLU converts to " in str(refusal.value)


def test_unknown_names_come_with_close_ones():
    with pytest.raises(ConfigError, match="did you mean num_groups"):
        convert(nn.BatchNorm2d(8), nn.GroupNorm, {"num_group": 2})
    with pytest.raises(ConfigError, match="takes no arguments"):
        convert(nn.ReLU(), nn.Tanh, {"inplace": True})


def test_a_function_that_raises():
    with pytest.raises(ConfigError, match=r"num_groups can.t be worked out.*nothing"):
        convert(nn.BatchNorm2d(8), nn.GroupNorm, {"num_groups": lambda old: old.nothing})


def test_numpys_whole_numbers_are_numbers():
    assert like(nn.BatchNorm2d(8), nn.GroupNorm, num_groups=np.int64(2)).num_groups == 2


def test_a_repr_that_raises():
    class Silent(nn.ReLU):
        def __repr__(self):
            raise ValueError("no repr")

    with pytest.raises(ConfigError, match="Silent has nothing that means the same"):
        convert(Silent(), nn.Conv2d)
