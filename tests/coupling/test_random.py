"""Random networks: whatever goes exactly leaves the rest computing what it did with zeros."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import Half, zero
from torchsurgery import importance
from torchsurgery.choosing import Wish, choose
from torchsurgery.edits import Prune

# Each layer takes and gives (N, C, 4, 4); C is a multiple of 4.


class Skip(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class Join(nn.Module):
    def __init__(self, branches, dim=1):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Gate(nn.Module):
    """Half of the channels gate the others."""

    def __init__(self, width, out):
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * out, 1)

    def forward(self, x):
        a, b = self.conv(x).chunk(2, 1)
        return a * torch.sigmoid(b)


class Squeeze(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)

    def forward(self, x):
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))[:, :, None, None]


class Shuffle(nn.Module):
    """Channels of four groups, one of each after the other."""

    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


class Attend(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, c, h, w = x.shape
        rows = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(rows).reshape(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2)
        return self.out(mixed).transpose(1, 2).reshape(n, c, h, w)


class Split(nn.Module):
    """The first channels pass, the others are convolved."""

    def __init__(self, width):
        super().__init__()
        self.first, self.conv = width // 2, nn.Conv2d(width - width // 2, width // 2, 1)

    def forward(self, x):
        return torch.cat([x[:, : self.first], self.conv(x[:, self.first :])], 1)


class Pixels(nn.Module):
    """Channels to positions and back."""

    def forward(self, x):
        return F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)


def layer(spec, width, seeds):
    """The layer that a specification stands for, and how many channels it gives."""
    kind, *rest = spec
    if kind == "chain":
        layers = []
        for part in rest[0]:
            one, width = layer(part, width, seeds)
            layers.append(one)
        return nn.Sequential(*layers), width
    if kind == "skip":
        body, out = layer(("chain", rest[0]), width, seeds)
        return Skip(nn.Sequential(body, nn.Conv2d(out, width, 1))), width
    if kind == "join":
        branches = [layer(("chain", parts), width, seeds) for parts in rest[0]]
        return Join([one for one, _ in branches]), sum(out for _, out in branches)
    if kind == "conv":
        return nn.Conv2d(width, rest[0], 3, padding=1), rest[0]
    if kind == "grouped":
        return nn.Conv2d(width, rest[0], 1, groups=4), rest[0]
    if kind == "gate":
        return Gate(width, rest[0]), rest[0]
    plain = {
        "depthwise": lambda: nn.Conv2d(width, width, 3, padding=1, groups=width),
        "norm": lambda: nn.BatchNorm2d(width),
        "act": lambda: nn.Hardswish(),
        "squeeze": lambda: Squeeze(width),
        "shuffle": Shuffle,
        "attend": lambda: Attend(width, 4),
        "split": lambda: Split(width),
        "half": lambda: Half(width),
        "pixels": Pixels,
        "groupnorm": lambda: nn.GroupNorm(4, width),
        "prelu": lambda: nn.PReLU(width),
    }
    return plain[kind](), width


WIDTHS = st.sampled_from([4, 8, 12, 16])
SIMPLE = st.one_of(
    st.tuples(st.just("conv"), WIDTHS),
    st.tuples(st.just("grouped"), WIDTHS),
    st.tuples(st.just("gate"), WIDTHS),
    *(
        st.tuples(st.just(kind))
        for kind in (
            "depthwise",
            "norm",
            "act",
            "squeeze",
            "shuffle",
            "attend",
            "split",
            "half",
            "pixels",
            "groupnorm",
            "prelu",
        )
    ),
)
PARTS = st.recursive(
    SIMPLE,
    lambda parts: st.one_of(
        st.tuples(st.just("skip"), st.lists(parts, min_size=1, max_size=3)),
        st.tuples(st.just("join"), st.lists(st.lists(parts, min_size=1, max_size=2), min_size=2, max_size=3)),
    ),
    max_leaves=6,
)


class Network(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.body, width = layer(("chain", parts), 8, None)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x):
        return self.head(self.body(self.stem(x)))


def network(parts):
    torch.manual_seed(1)
    net = Network(parts).double().eval()
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "bias" not in name else torch.randn_like(tensor) * 0.1)
    return net, torch.randn(2, 3, 4, 4, dtype=torch.float64)


# Widths of 16 and more leave a shuffle room to move.
SHUFFLED = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["half", "shuffle", "half", "norm", "depthwise", "act"])),
        st.tuples(st.sampled_from(["conv", "grouped"]), st.sampled_from([16, 24, 32])),
    ),
    min_size=2,
    max_size=8,
).map(lambda parts: [("conv", 32), *parts])


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.one_of(st.lists(PARTS, min_size=1, max_size=4), SHUFFLED), st.sampled_from([0.25, 0.5, 0.75]))
def test_what_goes_exactly(parts, share):
    net, x = network(parts)
    coupling = ts.trace(net, x)
    assert not coupling.unknown
    wish = Wish(None, share, None, importance.l2, exact=True)
    cut = choose(coupling, wish, dict(net.named_parameters())).cut
    assume(cut.kept)
    zeroed = copy.deepcopy(net)
    zero(zeroed, cut.kept)
    ts.plan(net, x).then(Prune("all", (), cut.kept, tuple(cut.attributes.items()))).apply()
    with torch.no_grad():
        one, other = net(x), zeroed(x)
    assert float((one - other).abs().max()) <= 1e-10 * max(1.0, float(other.abs().max()))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.lists(PARTS, min_size=1, max_size=4))
def test_half_of_everything_runs_and_comes_back(parts):
    net, x = network(parts)
    before = net(x)
    try:
        done = ts.prune(net, amount=0.5, example_inputs=x)
    except ts.CouplingError:
        assume(False)
    assert net(x).shape == before.shape
    net(x).sum().backward()
    done.undo()
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("kind", ["shuffle", "half", "attend", "split", "pixels", "squeeze", "depthwise"])
def test_each_layer_alone_lets_channels_go(kind):
    net, x = network([("conv", 8), (kind,), ("conv", 8)])
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert done.after.params < 0.6 * done.before.params
