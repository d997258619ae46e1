"""What forwards read from their layers, told from their code."""

import functools

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttention
from transformers.models.t5.modeling_t5 import T5DenseActDense

from torchsurgery.calls.reading import never_called, readings, reads_only


def decorated(function):
    @functools.wraps(function)
    def around(*args, **kwargs):
        return function(*args, **kwargs)

    return around


class Base(nn.Module):
    def forward(self, x):
        return self.below(x) + self.kept.scale

    def below(self, x):
        return self.inner(x)


class Derived(Base):
    @decorated
    def forward(self, x):
        y = super().forward(x) @ self.plain.weight.t()
        z = [self.listed.bias for _ in range(2)]
        later = lambda: self.late.eps  # noqa: E731
        return self.both(y) * self.both.factor + sum(z) + later() + self.helped(x) + self.passed.apply(len).size

    def helped(self, x):
        return torch.relu(x) + self.deep.weight

    def never(self):
        return self.unreached.weight


def test_each_way_of_using_a_layer():
    found = {name: (set(reading.attributes), reading.only) for name, reading in readings(Derived).items()}
    assert found == {
        "kept": ({"scale"}, True),
        "plain": ({"weight"}, True),
        "listed": ({"bias"}, True),
        "late": ({"eps"}, True),
        "both": ({"factor"}, False),
        "deep": ({"weight"}, True),
    }


def test_who_goes_through_all_its_children_may_call_them():
    class Through(nn.Module):
        def forward(self, x):
            for child in self.children():
                x = child(x)
            return x * self.last.factor

    assert not readings(Through)["last"].only


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "only"),
    [
        (ShiftedWindowAttention, "qkv", {"weight", "bias"}, True),
        (nn.MultiheadAttention, "out_proj", {"weight", "bias"}, True),
        (nn.TransformerEncoderLayer, "linear1", {"weight", "bias"}, False),
        (T5DenseActDense, "wo", {"weight"}, False),
    ],
)
def test_real_ones(kind, name, attributes, only):
    assert readings(kind)[name].attributes == attributes
    assert readings(kind)[name].only is only


def test_most_read_nothing():
    for kind in (nn.Linear, nn.Sequential, nn.Conv2d, torchvision.models.ResNet, nn.Module):
        assert not reads_only(kind)


def test_never_called_names_who_reads():
    attention, block = nn.MultiheadAttention(4, 2), nn.Sequential()
    assert never_called([(attention, "out_proj"), (block, "0.out_proj")]) == (
        "never called: MultiheadAttention reads out_proj.weight and out_proj.bias itself"
    )
    assert never_called([(block, "0"), (attention, "out_proj")]) is None
    assert never_called([]) is None
