"""Integers of modules and configs remember where they come from while a model is traced, and are plain again then."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.constraints.integers import Attribute, Integers, Traced
from torchsurgery.coupling.running.attributes import laid_into


class Holder(nn.Sequential):
    pass


class SomeConfig:
    def __init__(self):
        self.hidden_size = 8


def test_laid_into_modules_and_their_configs():
    net = Holder(nn.Conv2d(4, 4, 1, groups=2))
    net.width, net.shape, net.flag, net.config = 8, [2, 3], True, SomeConfig()
    config, integers = net.config, Integers()
    with laid_into({net: "", net[0]: "0"}, integers):
        assert isinstance(net.width, Traced)
        assert all(isinstance(n, Traced) for n in net.shape)
        assert net.flag is True
        assert isinstance(net[0].groups, Traced)
        assert type(net[0].kernel_size[0]) is int
        assert net.config is not config
        assert isinstance(net.config.hidden_size, Traced)
    assert net.config is config
    assert type(config.hidden_size) is int
    assert type(net.width) is int
    assert type(net[0].groups) is int
    assert integers.attributes == {
        Attribute("", "width"): 8,
        Attribute("", "shape[0]"): 2,
        Attribute("", "shape[1]"): 3,
        Attribute("", "config.hidden_size"): 8,
        Attribute("0", "groups"): 2,
        Attribute("0", "out_channels"): 4,
    }


class Reading(nn.Module):
    """Computes with what its layers tell of their widths."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.q, self.o, self.heads = nn.Linear(12, 24), nn.Linear(24, 12), 4
        self.conv, self.fc = nn.Conv1d(12, 20, 1, groups=2), nn.Linear(10, 3)

    def forward(self, x):
        x = self.embed(x) * self.embed.embedding_dim**0.5
        n, length, _ = x.shape
        y = self.q(x).view(n, length, self.heads, self.q.out_features // self.heads)
        x = x + self.o(y.softmax(1).reshape(n, length, self.o.in_features))
        y = self.conv(x.mT)
        half = self.conv.out_channels // 2
        return self.fc((y[:, :half] + y[:, half:]).mean(-1))


def test_widths_that_the_code_reads_off_its_layers_follow():
    torch.manual_seed(0)
    net, x = Reading().double().eval(), torch.randint(11, (2, 5))
    answer = net(x)
    assert net.q.out_features == 24
    assert type(net.q.out_features) is int
    for layer in ("q", "conv"):
        done = ts.prune(net, layer, 0.5, example_inputs=x)
        assert "agree" in str(ts.check(net, x))
        done.undo()
        done = ts.widen(net, layer, 2.0, example_inputs=x)
        torch.testing.assert_close(net(x), answer, rtol=0, atol=1e-12)
        done.undo()
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert (net.embed.embedding_dim, net.o.in_features, net.conv.out_channels) == (6, 12, 10)
    assert "goes over what went" in str(ts.check(net, x))
    done.undo()
    # The square root of a width is another when that is.
    with pytest.raises(ts.CouplingError, match="a factor in the code depends on its width"):
        ts.widen(net, "embed", 24, example_inputs=x)
