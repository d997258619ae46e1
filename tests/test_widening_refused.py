"""What can't be widened exactly, or not at all: named, with a way out, and nothing has changed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import Encoder, Heads, Residual, built
from sameness import portrait


def distance(one, other):
    return float(((one - other).abs().max() / other.abs().max()).detach())


# --- what isn't exact


def test_normalisation_is_named():
    net, x = built(Encoder)
    before = portrait(net)
    with pytest.raises(
        ts.CouplingError, match=r"cannot widen first exactly: layer_norm over it in layer\.norm1"
    ) as caught:
        ts.widen(net, "first", 18, example_inputs=x)
    assert "layer.norm2" in str(caught.value)
    assert "approximate=True" in str(caught.value)
    assert portrait(net) == before


def test_equally_many_copies_pass_a_normalisation():
    net, x = built(Encoder)
    answer = net(x)
    ts.widen(net, "first", 36, example_inputs=x)
    assert net.layer.norm1.normalized_shape == (36,)
    assert distance(net(x), answer) < 1e-10


def test_approximately():
    net, x = built(Encoder)
    answer = net(x)
    plan = ts.plan(net, x).widen("first", 18, approximate=True)
    assert "approximately: layer_norm over it in layer.norm1" in str(plan)
    plan.apply()
    assert net.first.out_features == 18
    assert distance(net(x), answer) > 1e-6


class Summed(nn.Module):
    """Something is done to all channels at once."""

    def __init__(self, what):
        super().__init__()
        self.first, self.last, self.what = nn.Linear(3, 4), nn.Linear(4, 2), what

    def forward(self, x):
        return self.last(self.what(self.first(x)))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda x: x / x.sum(-1, keepdim=True), "sum over it"),
        (lambda x: x / x.norm(dim=-1, keepdim=True), "over it"),
        (lambda x: x - x.mean(-1, keepdim=True), "mean over it"),
        (lambda x: x / x.shape[-1] ** 0.5, "a factor in the code depends on its width"),
        (lambda x: x * (x.unsqueeze(1) @ x.unsqueeze(2)).squeeze(1), "sums over it"),
        (lambda x: F.rms_norm(x, (x.shape[-1],)), "rms_norm over it"),
    ],
    ids=["sum", "norm", "mean", "width", "product", "rms"],
)
def test_what_mixes_channels_is_refused(what, reason):
    net, x = Summed(what), torch.randn(2, 3)
    before = portrait(net)
    with pytest.raises(ts.CouplingError, match=reason):
        ts.widen(net, "first", 6, example_inputs=x)
    assert portrait(net) == before


@pytest.mark.parametrize(
    "what",
    [lambda x: x.softmax(-1), lambda x: x.cumsum(-1), lambda x: x[:, [1, 0, 3, 2]]],
    ids=["softmax", "sum", "order"],
)
def test_what_keeps_its_width_is_refused(what):
    net, x = Summed(what), torch.randn(2, 3)
    with pytest.raises(ts.CouplingError, match="cannot widen first 4 → 6"):
        ts.widen(net, "first", 6, example_inputs=x, approximate=True)


class Once(nn.Module):
    """A parameter that is summed over in one place and added in another: no share of it is right in both."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.shift = nn.Linear(3, 4), nn.Linear(4, 2), nn.Parameter(torch.randn(4))

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.shift) * (x @ self.shift)[:, None]


def test_numbers_show_what_the_trace_can_not():
    net, x = Once(), torch.randn(2, 3)
    before = portrait(net)
    with pytest.raises(ts.CouplingError, match="the model would answer otherwise"):
        ts.widen(net, "first", 6, example_inputs=x)
    assert portrait(net) == before


def test_head_width_changes_the_scale():
    class Attending(Heads):
        def forward(self, x):
            n, length, _ = x.shape
            q, k, v = self.qkv(x).view(n, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = F.scaled_dot_product_attention(q, k, v)
            return self.out(mixed.transpose(1, 2).reshape(n, length, self.heads * self.width))

    net, x = built(Attending)
    with pytest.raises(ts.CouplingError, match="the scale of attention depends on it"):
        ts.widen(net, "qkv", 2.0, heads=False, example_inputs=x)
    ts.widen(net, "qkv", 2.0, heads=False, approximate=True, example_inputs=x)
    assert (net.heads, net.width) == (4, 12)
    assert net(x).shape == x.shape


# --- what can't be meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"width": 0}, "width must be"),
        ({"width": -1}, "width must be"),
        ({"width": 1.0}, "width must be"),
        ({"width": 0.5}, "width must be"),
        ({"width": float("inf")}, "width must be"),
        ({"width": True}, "width must be"),
        ({"width": "64"}, "width must be"),
        ({"width": 8}, "cannot widen stem 8 → 8: that is not wider"),
        ({"width": 4}, r"ts\.prune\(model, 'stem', 4"),
        ({}, "one of width and tokens="),
        ({"width": 16, "tokens": 16}, "one of width and tokens="),
        ({"width": 16, "rows": torch.zeros(1)}, "rows= are what new tokens begin as"),
        ({"width": 16, "noise": -1.0}, "noise must be zero or more"),
        ({"width": 16, "noise": "little"}, "noise must be zero or more"),
        ({"width": 16, "noise": float("nan")}, "noise must be zero or more"),
        ({"width": 16, "example_inputs": None}, "needs example_inputs"),
    ],
    ids=str,
)
def test_senseless(given, message):
    net, x = built(Residual)
    before = portrait(net)
    with pytest.raises(ts.CouplingError, match=message):
        ts.widen(net, "stem", **{"example_inputs": x, **given})
    assert portrait(net) == before


def test_output_is_pinned():
    net, x = built(Residual)
    with pytest.raises(ts.CouplingError, match=r"cannot widen fc 5 → 10") as caught:
        ts.widen(net, "fc", 10, example_inputs=x)
    assert "the model's output" in str(caught.value)
    assert "ts.set_outputs(model, 10)" in str(caught.value)


def test_heads_come_whole():
    net, x = built(Heads)
    with pytest.raises(ts.CouplingError, match="its channels come in sets of") as caught:
        ts.widen(net, "qkv", 80, heads=True, example_inputs=x)
    ts.widen(net, "qkv", caught.value.expected, heads=True, example_inputs=x)


def test_layers_of_one_group_that_ask_for_different_widths():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.c(self.a(x) + self.b(x))

    net, x = Branches(), torch.randn(2, 3)
    ts.widen(net, "re:a|b", 6, example_inputs=x)
    assert (net.a.out_features, net.b.out_features, net.c.in_features) == (6, 6, 6)


def test_groups_that_branches_make_up():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1)
            self.norm, self.c = nn.GroupNorm(4, 12), nn.Conv2d(12, 2, 1)

        def forward(self, x):
            return self.c(self.norm(torch.cat([self.a(x), self.b(x)], 1)))

    net, x = Branches().double(), torch.randn(1, 3, 4, 4, dtype=torch.float64)
    answer = net(x)
    ts.widen(net, "a", 8, example_inputs=x)
    # A group lies half in one branch and half in the other: it can't be copied, but each channel in it can.
    assert (net.norm.num_groups, net.norm.num_channels) == (4, 24)
    assert distance(net(x), answer) < 1e-10


def test_pattern_may_match_what_has_no_channels():
    net, x = built(Residual)
    ts.widen(net, "block1.*", 2.0, example_inputs=x)
    assert (net.block1.conv1.out_channels, net.stem.out_channels) == (12, 16)


@pytest.mark.parametrize("kind", ["sparse", "quantized"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_special_tensors(kind):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    if kind == "sparse":
        net[0].weight = nn.Parameter(net[0].weight.detach().to_sparse())
    else:
        net[0] = torch.ao.nn.quantized.dynamic.Linear(4, 4)
    with pytest.raises(ts.SurgeryError):
        ts.widen(net, "0", 8, example_inputs=torch.randn(1, 4))


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_a_spectral_norm_would_become_another(norm):
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), norm(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2)).eval()
    x = torch.randn(2, 3)
    with pytest.raises(ts.CouplingError, match="largest singular value of its weights changes"):
        ts.widen(net, "2", 12, example_inputs=x)
    with pytest.raises(ts.CouplingError, match="largest singular value"):
        ts.widen(net, "0", 12, example_inputs=x)
    ts.widen(net, "2", 12, example_inputs=x, approximate=True)
    assert net(x).shape == (2, 2)
