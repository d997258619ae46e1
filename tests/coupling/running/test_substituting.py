"""Stand-ins for tensors, and a model that is left as it was."""

import copy
import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import IMAGE, Residual


class Counting(nn.Module):
    """Keeps a cache, counts its calls, draws random numbers."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls, self.cache, self.bn = nn.Linear(4, 8), 3, {}, nn.BatchNorm1d(8)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.last = x
        self.cache[x.shape] = x
        self.seen += 1
        return F.dropout(self.bn(self.linear(x)), 0.5, training=True) * random.random() * np.random.rand()


def test_leaves_the_model_as_it_was():
    net = Counting().train()
    handle = net.linear.register_forward_hook(lambda *_: None)
    before = {name: (id(t), t._version, t.clone()) for name, t in net.state_dict(keep_vars=True).items()}
    attributes = {name: value for name, value in vars(net).items() if not isinstance(value, dict)}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    ts.trace(net, torch.ones(2, 4))
    for name, tensor in net.state_dict(keep_vars=True).items():
        assert id(tensor) == before[name][0]
        assert tensor._version == before[name][1]
        assert torch.equal(tensor, before[name][2])
    assert {name: value for name, value in vars(net).items() if not isinstance(value, dict)} == attributes
    assert net.calls == 3
    assert type(net.calls) is int
    assert not hasattr(net, "last")
    assert net.cache == {}
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert net.training
    assert all(module.training for module in net.modules())
    assert list(net.linear._forward_hooks) == [handle.id]


def test_attention_keeps_its_class():
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    coupling = ts.trace(net, torch.zeros(1, 5, 8))
    assert type(net.self_attn) is nn.MultiheadAttention
    assert torch.backends.mha.get_fastpath_enabled()
    assert len(coupling.group("linear1")) == 16


def test_on_meta_and_in_half_precision():
    net = Residual().to(torch.bfloat16)
    assert len(ts.trace(net, IMAGE.to(torch.bfloat16)).group("stem")) == 8
    net = copy.deepcopy(net).to("meta")
    assert len(ts.trace(net, IMAGE.to("meta", torch.bfloat16)).group("stem")) == 8
    assert all(p.is_meta for p in net.parameters())


def test_tied_weights_are_one_leaf():
    net = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 6), nn.Linear(6, 10, bias=False))
    net[2].weight = net[0].weight
    coupling = ts.trace(net, torch.zeros(1, 3, dtype=torch.long))
    assert set(coupling.group("0").modules) == {"0", "1"}
