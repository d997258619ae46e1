"""Statistics of what flows through the channels, by hand and on networks of each kind."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import Encoder, Flat, Grouped, Heads, Joined, Recurrent, Residual, built
from sameness import portrait


def scores(net, x, layer, by):
    """What an importance answers for the channels of a layer."""
    found = []

    def noted(slices):
        found.append(by(slices))
        return found[-1]

    ts.plan(net, x).prune(layer, 0.5, by=noted)
    return found[0]


def test_measured_where_channels_are_taken():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    batches = [torch.randn(4, 2, dtype=torch.float64) for _ in range(3)]
    by = ts.importance.activation(net, batches)
    taken = F.relu(net[0](torch.cat(batches)))
    assert torch.allclose(scores(net, batches[0], "0", by).double(), taken.abs().mean(0).detach())


@pytest.mark.parametrize("of", [torch.square, lambda x: (x > 0).float()], ids=["power", "how often"])
def test_other_statistics(of):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(5, 3, 6, 6)
    by = ts.importance.activation(net, [x[:2], x[2:]], of=of)
    taken = of(net[:3](x)).mean((0, 2, 3))
    assert torch.allclose(scores(net, x, "0", by), taken.detach(), atol=1e-6)


def test_the_dead_channel_goes_first():
    net, x = built(Residual)
    with torch.no_grad():
        net.block1.bn1.bias.fill_(5.0)
        net.block1.bn1.bias[3] = -5.0
    plan = ts.plan(net, x).prune("block1.conv1", 1, by=ts.importance.activation(net, [x]))
    assert plan.edits[0].kept["block1.conv1.weight"][0] == (0, 1, 2, 4, 5)
    assert "by activation" in str(plan)


def test_positions_of_a_flattened_channel_are_averaged():
    net, x = built(Flat)
    by = ts.importance.activation(net, [x])
    assert torch.allclose(scores(net, x, "conv", by).double(), net.conv(x).abs().mean((0, 2, 3)).detach())


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        (Residual, "stem"),
        (Joined, "b"),
        (Grouped, "layers.1"),
        (Grouped, "layers.3"),
        (Heads, "qkv"),
        (Recurrent, "rnn"),
        (Encoder, "layer.linear1"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_kind_of_layer(kind, layer):
    net, x = built(kind)
    before, size = portrait(net), sum(p.numel() for p in net.parameters())
    by = ts.importance.activation(net, [x, x])
    assert portrait(net) == before
    done = ts.prune(net, layer, 0.5, by=by, example_inputs=x)
    assert done.after.params < size


def test_dicts_and_tuples():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 1)

        def forward(self, x, scale=1.0):
            return self.b(self.a(x) * scale)

    net, x = Two(), torch.randn(4, 2)
    one = ts.importance.activation(net, [{"x": x, "scale": 2.0}])
    other = ts.importance.activation(net, [(x, 2.0)])
    assert torch.equal(scores(net, x, "a", one), scores(net, x, "a", other))


def test_in_training_nothing_is_left_behind():
    net, x = built(Residual)
    net.train()
    before = portrait(net)
    ts.importance.activation(net, [x])
    assert portrait(net) == before


def test_no_batches():
    with pytest.raises(ts.CouplingError, match="no batches"):
        ts.importance.activation(nn.Linear(2, 2), [])


def test_channels_that_were_not_seen():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.last = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(1, 4))

        def forward(self, x):
            return F.linear(F.linear(x, self.weight), self.last)

    net, x = Late(), torch.randn(3, 2)
    by = ts.importance.activation(net, [torch.randn(3, 2)])
    with pytest.raises(ts.CouplingError, match="no layer that has the channels of"):
        ts.prune(net, amount=0.5, by=by, example_inputs=x)


def test_heads_of_torchs_attention_by_what_its_projection_is_given():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True).eval()
    x = torch.randn(5, 7, 16)
    with torch.no_grad():
        layer.self_attn.in_proj_weight[32 + 4 : 32 + 8] *= 1e-3  # the values of the second head
        layer.self_attn.in_proj_bias[32 + 4 : 32 + 8] = 0
    by = ts.importance.activation(layer, [x, 2 * x])
    before = layer.self_attn.in_proj_weight.clone()
    done = ts.prune(layer, "self_attn", 12, heads=True, example_inputs=x, by=by)
    assert layer.self_attn.num_heads == 3
    kept = [*range(4), *range(8, 16)]
    assert torch.equal(layer.self_attn.in_proj_weight[-12:], before[32:][kept])
    ts.check(layer, x)
    done.undo()
    with torch.no_grad():
        inner, _ = nn.MultiheadAttention.forward(layer.self_attn, x, x, x)
    assert inner.shape == x.shape
