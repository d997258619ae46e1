"""Widening gives channels copies, all that hangs on them follows, and the model computes what it did."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from coupling.networks import (
    Encoder,
    Flat,
    Grouped,
    Heads,
    Joined,
    Normed,
    Recurrent,
    Residual,
    Shared,
    Tied,
    built,
)
from coupling.test_random import PARTS, network
from sameness import portrait
from torchsurgery.coupling.attention import Attention


def distance(one, other):
    return float(((one - other).abs().max() / other.abs().max()).detach())


def edit_of(plan):
    return plan.planned[-1].edit


# --- what comes


def test_copies_by_hand():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    first, last = net[0].weight.clone(), net[2].weight.clone()
    ts.widen(net, "0", 5, example_inputs=torch.zeros(1, 3))
    assert torch.equal(net[0].weight, first[[0, 0, 0, 1, 1]])
    assert torch.equal(net[2].weight, last[:, [0, 0, 0, 1, 1]] * torch.tensor([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2]))
    assert (net[0].out_features, net[2].in_features) == (5, 5)


EVERY = [
    (Residual, "stem", "block1.conv1"),
    (Joined, "a", "b"),
    (Grouped, "layers.0", "layers.1", "layers.2", "layers.3", "layers.4"),
    (Flat, "conv", "fc"),
    (Heads, "qkv"),
    (Shared, "k", "q", "v", "up"),
    (Tied, "embed", "hidden"),
    (Recurrent, "first", "rnn"),
    (Encoder, "layer.linear1", "layer.self_attn"),
    (Normed, "a"),
]
EACH = [(kind, layer) for kind, *layers in EVERY for layer in layers]


@pytest.mark.parametrize("noise", [0.0, 0.1], ids=["equal", "noisy"])
@pytest.mark.parametrize("factor", [1.5, 2.0, 3.5])
@pytest.mark.parametrize(("kind", "layer"), EACH, ids=[f"{kind.__name__} {layer}" for kind, layer in EACH])
def test_computes_the_same(kind, layer, factor, noise):
    net, x = built(kind)
    before, answer, width = portrait(net), net(x), len(ts.trace(net, x).axis(layer))
    if width * factor % 1 or (kind in (Shared, Grouped, Heads, Encoder, Normed) and factor == 3.5):
        factor = 2.0
    done = ts.widen(net, layer, factor, example_inputs=x, noise=noise)
    assert distance(net(x), answer) < 1e-10
    assert len(ts.trace(net, x).axis(layer)) == round(width * factor)
    assert done.after.params == sum(p.numel() for p in net.parameters()) > done.before.params
    net(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())
    done.undo()
    assert portrait(net) == before
    assert torch.equal(net(x), answer)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=4), st.integers(0, 20), st.sampled_from([1.25, 1.5, 2.0]))
def test_random_networks_compute_the_same(parts, which, factor):
    net, x = network(parts)
    answer = net(x)
    layers = [name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    try:
        done = ts.widen(net, layers[which % len(layers)], factor, example_inputs=x)
    except ts.CouplingError:
        assume(False)
    assert distance(net(x), answer) < 1e-10
    done.undo()
    assert torch.equal(net(x), answer)


def test_in_training_batch_norms_see_the_same():
    net, x = built(Residual)
    net.train()
    answer = copy.deepcopy(net)(x)
    ts.widen(net, "stem", 12, example_inputs=x)
    assert distance(net(x), answer) < 1e-10
    assert net.block1.bn2.running_mean.shape == (12,)


def test_statistics_are_copied():
    net, x = built(Residual)
    mean = net.block1.bn1.running_mean.clone()
    ts.widen(net, "block1.conv1", 8, example_inputs=x)
    assert torch.equal(net.block1.bn1.running_mean, mean[[0, 0, 1, 1, 2, 3, 4, 5]])
    assert net.block1.bn1.num_features == 8


def test_copies_stay_in_their_group():
    net, x = built(Grouped)
    ts.widen(net, "layers.0", 12, example_inputs=x)
    assert (net.layers[1].groups, net.layers[1].out_channels) == (12, 12)
    assert (net.layers[2].groups, net.layers[2].in_channels) in ((4, 12), (6, 12))


def test_copies_of_a_branch_stay_in_its_part_of_a_concatenation():
    net, x = built(Joined)
    plan = ts.plan(net, x).widen("a", 6)
    assert edit_of(plan).kept["norm.weight"][0] == (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert edit_of(plan).shares["c.weight"][1] == (0.5, 0.5, 0.5, 0.5, *[1.0] * 8)


def test_flattened_positions_come_with_their_channel():
    net, x = built(Flat)
    plan = ts.plan(net, x).widen("conv", 5)
    assert edit_of(plan).kept["fc.weight"][1] == (*range(16), *range(16), *range(16, 64))


def test_tied_table_stays_tied_and_its_copies_begin_at_zero():
    net, x = built(Tied)
    table = net.embed.weight.clone()
    ts.widen(net, "embed", 8, example_inputs=x)
    assert net.head.weight is net.embed.weight
    assert torch.equal(net.embed.weight[:, [0, 2, 4, 5, 6, 7]], table)
    assert not net.embed.weight[:, [1, 3]].any()


def test_hidden_units_of_a_recurrent_layer():
    net, x = built(Recurrent)
    ts.widen(net, "rnn", 8, example_inputs=x)
    assert (net.rnn.hidden_size, net.rnn.weight_hh_l1_reverse.shape, net.fc.in_features) == (8, (32, 8), 16)
    assert net.rnn._flat_weights[0] is net.rnn.weight_ih_l0


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
def test_other_recurrent_layers(kind, both):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = kind(4, 5, 2, batch_first=True, bidirectional=both)
            self.fc = nn.Linear(10 if both else 5, 2)

        def forward(self, x):
            return self.fc(self.rnn(x)[0])

    net, x = Network().double(), torch.randn(2, 6, 4, dtype=torch.float64)
    answer = net(x)
    ts.widen(net, "rnn", 9, example_inputs=x)
    assert net.rnn.hidden_size == 9
    assert distance(net(x), answer) < 1e-10


def test_lstm_with_a_projection():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(4, 5, proj_size=3, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    net, x = Network().double(), torch.randn(2, 6, 4, dtype=torch.float64)
    answer = net(x)
    ts.widen(net, "rnn", 7, example_inputs=x)
    assert (net.rnn.hidden_size, net.rnn.proj_size, net.rnn.weight_hr_l0.shape) == (7, 3, (3, 7))
    assert distance(net(x), answer) < 1e-10


@pytest.mark.parametrize(
    "normed",
    [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm],
    ids=["weight_norm", "old weight_norm"],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_normalised_weights_of_what_gives(normed):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), normed(nn.Conv2d(4, 6, 3)), nn.ReLU(), nn.Conv2d(6, 2, 1)).double().eval()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    answer = net(x)
    ts.widen(net, "1", 9, example_inputs=x)
    assert net[1].out_channels == 9
    assert distance(net(x), answer) < 1e-10


@pytest.mark.parametrize("layer", ["0", "1"])
def test_a_spectral_norm_holds_in_eval_and_is_found_anew_in_training(layer):
    normed = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 6, 3))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), normed, nn.Conv2d(6, 2, 1)).double().eval()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    answer = net(x)
    with pytest.raises(ts.CouplingError, match="largest singular value"):
        ts.widen(net, layer, 9, example_inputs=x)
    ts.widen(net, layer, 9, example_inputs=x, approximate=True)
    assert distance(net(x), answer) < 1e-10
    for _ in range(50):
        net.train()(x)
    assert distance(net.eval()(x), answer) > 1e-3


def test_torchs_attention_gets_heads_on_the_same_stream():
    net, x = built(Encoder)
    answer = net(x)
    ts.widen(net, "layer.self_attn", 2.0, heads=True, example_inputs=x)
    attention = net.layer.self_attn
    assert type(attention) is Attention
    assert (attention.num_heads, attention.head_dim, attention.embed_dim) == (8, 3, 12)
    assert distance(net(x), answer) < 1e-10


def test_key_heads_come_with_the_query_heads_that_share_them():
    net, x = built(Shared)
    ts.widen(net, "k", 12, example_inputs=x)
    assert (net.k.out_features, net.v.out_features, net.q.out_features) == (12, 12, 48)


class Experts(nn.Module):
    """Of several experts only those are run that the inputs ask for."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6)) for _ in range(3))

    def forward(self, x, which):
        return self.last(self.experts[which](self.first(x)))


@pytest.mark.parametrize(("layer", "width"), [("first", 9), ("experts.0.0", 8)])
def test_experts_that_were_not_run_take_shares_too(layer, width):
    net, x = Experts().double(), torch.randn(2, 4, dtype=torch.float64)
    answers = [net(x, which) for which in range(3)]
    ts.widen(net, layer, width, example_inputs=(x, 0))
    assert all(distance(net(x, which), answer) < 1e-10 for which, answer in enumerate(answers))


# --- noise


def test_noise_parts_the_copies_and_keeps_the_sum():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    last = net[2].weight.clone()
    ts.widen(net, "0", 8, noise=0.5, example_inputs=torch.zeros(1, 3))
    pairs = net[2].weight.unflatten(1, (4, 2))
    assert torch.allclose(pairs.sum(2), last, atol=1e-12)
    assert bool((pairs[..., 0] != pairs[..., 1]).all())


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_copies_part_in_training_only_with_noise(noise):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(8, 3, dtype=torch.float64)
    ts.widen(net, "0", 8, noise=noise, example_inputs=x)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    rows = net[0].weight.unflatten(0, (4, 2))
    assert torch.allclose(rows[:, 0], rows[:, 1], atol=1e-12) is (noise == 0.0)


def test_noise_begins_where_the_callers_state_stands():
    def widened():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        torch.manual_seed(5)
        ts.widen(net, "0", 8, noise=0.5, example_inputs=torch.zeros(1, 3))
        return net[1].weight, torch.rand(1)

    torch.manual_seed(5)
    expected = torch.rand(1)
    (one, after), (other, _) = widened(), widened()
    assert torch.equal(one, other)
    assert torch.equal(after, expected)


# --- one list of changes


def test_plan_touches_nothing_and_says_what_it_does():
    net, x = built(Residual)
    before = portrait(net)
    plan = ts.plan(net, x).widen("block1.conv1", 12)
    assert portrait(net) == before
    text = str(plan)
    assert "widen block1.conv1  → 12    1 module · the layer becomes the wider one" in text
    assert "~ block1.conv1  out_channels 6 → 12" in text
    assert "↳ block1.conv2  in_channels 6 → 12" in text


def test_references_hooks_mode_and_freezing_stay():
    net, x = built(Residual)
    stem, calls = net.stem, []
    stem.weight.requires_grad_(False)
    stem.register_forward_hook(lambda *_: calls.append(1))
    net.train()
    ts.widen(net, "stem", 12, example_inputs=x)
    calls.clear()
    net(x)
    assert net.stem is stem
    assert stem.training
    assert not stem.weight.requires_grad
    assert net.block1.conv1.weight.requires_grad
    assert calls == [1]


def test_dtype_and_memory_format_stay():
    net, x = built(Residual)
    net = net.to(torch.float32).to(memory_format=torch.channels_last)
    ts.widen(net, "block1.conv1", 12, noise=0.1, example_inputs=x.float())
    assert net.block1.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert net.block1.conv2.weight.dtype is torch.float32


def test_on_meta():
    net, x = built(Residual)
    net = net.to("meta")
    ts.widen(net, "stem", 12, noise=0.1, example_inputs=x.to("meta"))
    assert net.fc.weight.shape == (5, 12)
    assert net.fc.weight.is_meta


def test_wider_then_narrower():
    net, x = built(Residual)
    ts.plan(net, x).widen("stem", 16).prune("stem", 0.5).widen("stem", 2.0).apply()
    assert net.stem.out_channels == 16
    assert net(x).shape == (2, 5)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW], ids=lambda kind: kind.__name__)
def test_momentum_goes_where_the_weights_go(kind):
    net, x = built(Residual)
    optimizer = kind(net.parameters(), lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    net(x).sum().backward()
    optimizer.step()
    name = "momentum_buffer" if kind is torch.optim.SGD else "exp_avg"
    given, taken = (optimizer.state[p][name].clone() for p in (net.stem.weight, net.block1.conv1.weight))
    ts.widen(net, "stem", 16, noise=0.3, example_inputs=x, optimizer=optimizer)
    assert torch.equal(optimizer.state[net.stem.weight][name], given.repeat_interleave(2, 0))
    assert torch.equal(optimizer.state[net.block1.conv1.weight][name], taken.repeat_interleave(2, 1) / 2)
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in net.parameters()}
    optimizer.zero_grad()
    net(x).sum().backward()
    optimizer.step()


def test_average_is_widened_with_the_same_copies_and_noise():
    net, x = built(Residual)
    average = torch.optim.swa_utils.AveragedModel(net)
    ts.widen(net, "stem", 12, noise=0.2, example_inputs=x, ema=average)
    assert torch.equal(average.module.block1.conv1.weight, net.block1.conv1.weight)
    average.update_parameters(net)


def test_weights_trained_after_planning_are_those_that_are_copied():
    net, x = built(Residual)
    plan = ts.plan(net, x).widen("stem", 16)
    with torch.no_grad():
        net.stem.weight.fill_(3.0)
    plan.apply()
    assert bool((net.stem.weight == 3.0).all())


def test_passes_a_check():
    net, x = built(Residual)
    ts.plan(net, x).widen("stem", 12).apply(check=x)
    ts.check(net, x)


def test_temporarily():
    net, x = built(Residual)
    before = portrait(net)
    with ts.temporarily(ts.plan(net, x).widen("stem", 12)):
        assert net.stem.out_channels == 12
    assert portrait(net) == before


def test_saved_and_loaded(tmp_path):
    def base():
        torch.manual_seed(4)
        return built(Heads)[0]

    net, x = base(), built(Heads)[1]
    ts.widen(net, "qkv", 2.0, noise=0.1, example_inputs=x)
    ts.save(net, tmp_path / "save", base=base)
    loaded = ts.load(tmp_path / "save", base=base)
    assert torch.equal(loaded(x), net(x))


def test_a_recipe_widens_another_model_alike():
    net, x = built(Residual)
    other = copy.deepcopy(net)
    ts.widen(net, "stem", 12, noise=0.1, example_inputs=x)
    ts.plan(other).replay(ts.recipe_of(net)).apply()
    assert torch.equal(other(x), net(x))
