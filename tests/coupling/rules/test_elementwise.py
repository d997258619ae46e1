"""What works entry by entry passes channels on; what looks along an axis holds it, and says so."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import Function
from torchsurgery.coupling.rules.elementwise import dims_of

X = torch.rand(2, 5, 4)


def traced(function):
    """A trace of 8 channels that go through a function into a linear layer; (2, 5, 8) is what it is given."""
    net = nn.Sequential(nn.Linear(4, 8), Function(function), nn.LazyLinear(3))
    net(X)
    return ts.trace(net, X)


PASSING = {
    "relu": torch.relu,
    "in place": lambda x: x.relu_().mul_(2),
    "two of its own": lambda x: x * x.sigmoid(),
    "dropout": lambda x: F.dropout(x, 0.5, True),
    "where": lambda x: torch.where(x > 0, x, x.exp()),
    "masked": lambda x: x.masked_fill(x > 0, 0.0),
    "another dtype and back": lambda x: x.double().to(x.dtype),
    "zeros like it": lambda x: x + torch.zeros_like(x),
    "zeros as wide": lambda x: x + x.new_zeros(x.shape[-1]),
    "mean over another": lambda x: x.mean(1),
    "mean over another, kept": lambda x: x.mean(1, keepdim=True),
    "softmax over another": lambda x: x.softmax(1),
    "sorted along another": lambda x: x.sort(1).values,
    "best of another": lambda x: x.topk(2, dim=1).values,
    "cumsum along another": lambda x: x.cumsum(1),
    "fft over another": lambda x: torch.fft.rfft(x, dim=1).abs(),
    "maximum of two": lambda x: torch.max(x, x.sin()),
}


@pytest.mark.parametrize("name", PASSING)
def test_channels_pass(name):
    coupling = traced(PASSING[name])
    assert coupling.group("0").taking == ("2",) and len(coupling.group("0")) == 8


HELD = {
    "softmax": (lambda x: x.softmax(-1), "softmax over it in 1"),
    "log_softmax": (lambda x: x.log_softmax(-1), "softmax over it (log_softmax in 1)"),
    "cumsum": (lambda x: x.cumsum(-1), "cumsum over it"),
    "topk": (lambda x: x.topk(3).values, "topk chooses among its entries"),
    "kthvalue": (lambda x: x.kthvalue(3, keepdim=True).values, "kthvalue chooses among its entries"),
    "argmax": (lambda x: x.argmax(-1, keepdim=True).float(), "argmax over it counts its entries"),
    "max with its place": (lambda x: x.max(-1, keepdim=True).values, "max over it counts its entries"),
    "triangle": (lambda x: x.tril(), "tril goes by its entries"),
    "fft": (lambda x: torch.fft.fft(x).real, "fft_fft over it"),
    "a number in the code": (lambda x: x + x.new_zeros(8), "the code says 8"),
    "numbers": (lambda x: x + torch.arange(8), "made by arange"),
}


@pytest.mark.parametrize("name", HELD)
def test_channels_stay(name):
    function, why = HELD[name]
    coupling = traced(function)
    with pytest.raises(ts.CouplingError) as caught:
        coupling.group("0")
    assert why in str(caught.value)


def test_what_is_reduced_over_is_mixed():
    coupling = traced(lambda x: x - x.mean(-1, keepdim=True))
    reasons = [str(coupling.record.ledger.reasons[number]) for _, number in coupling.record.mixing]
    assert "mean over it in 1" in reasons
    assert len(coupling.group("0")) == 8


def test_halves_that_gate_each_other_are_one():
    net = nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 3))
    group = ts.trace(net, X).group("0")
    assert len(group) == 4
    assert {(m.name, m.dim): len(m.indices) for m in group.members}["0.weight", 0] == 8


def test_slopes_go_with_their_channels():
    net = nn.Sequential(nn.Conv1d(5, 8, 1), nn.PReLU(8), nn.Conv1d(8, 3, 1))
    assert ts.trace(net, X).group("0").giving == ("0", "1")
    net = nn.Sequential(nn.Conv1d(5, 8, 1), nn.PReLU(), nn.Conv1d(8, 3, 1))
    assert ts.trace(net, X).group("0").giving == ("0",)


@pytest.mark.parametrize(
    ("dim", "rank", "dims"),
    [(None, 3, [0, 1, 2]), ([], 2, [0, 1]), (-1, 3, [2]), ((0, -1), 3, [0, 2]), ([1], 2, [1]), (0, 0, [])],
)
def test_axes_from_the_front(dim, rank, dims):
    assert dims_of(dim, rank) == dims
