"""Pruning takes out what it says, all that hangs on it follows, and the rest computes what it did."""

import copy

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import (
    KINDS,
    Branching,
    Encoder,
    Flat,
    Heads,
    Joined,
    Recurrent,
    Residual,
    Shared,
    Tied,
    built,
    zero,
)
from sameness import portrait
from torchsurgery.coupling.attention import Attention


def distance(one, other):
    return float(((one - other).abs().max() / other.abs().max()).detach())


def kept(plan):
    return plan.planned[-1].edit.kept


# --- what is taken out


def test_channels_by_hand():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    first, last = net[0].weight.clone(), net[2].weight.clone()
    ts.prune(net, "0", channels=[0, 2], example_inputs=torch.zeros(1, 3))
    assert torch.equal(net[0].weight, first[[1, 3]])
    assert net[0].bias.shape == (2,)
    assert torch.equal(net[2].weight, last[:, [1, 3]])
    assert (net[0].in_features, net[0].out_features, net[2].in_features) == (3, 2, 2)


def test_lowest_norm_goes_first():
    net = nn.Sequential(nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [3.0], [2.0], [0.0]]))
        # the norm is of the whole group: channel 0 comes to 5.1, channel 1 to 3, channel 2 to 2, channel 3 to 4
        net[1].weight.copy_(torch.tensor([[5.0, 0.0, 0.0, 4.0]]))
    ts.prune(net, "0", 2, example_inputs=torch.zeros(1, 1))
    assert net[0].weight.flatten().tolist() == [1.0, 0.0]
    assert net[1].weight.flatten().tolist() == [5.0, 4.0]


@pytest.mark.parametrize(("amount", "left"), [(0.25, 6), (0.5, 4), (1, 7), (7, 1)])
def test_amount(amount, left):
    net, x = built(Residual)
    ts.prune(net, "stem", amount, example_inputs=x)
    assert net.stem.out_channels == net.block2.bn2.num_features == net.fc.in_features == left
    assert net(x).shape == (2, 5)


def test_layers_of_one_group_are_pruned_once():
    net, x = built(Residual)
    ts.prune(net, "block*.conv2", 0.25, example_inputs=x)
    assert net.stem.out_channels == 6


def test_pattern_may_match_what_has_no_channels():
    net, x = built(Residual)
    ts.prune(net, "block1.*", 0.5, example_inputs=x)
    assert net.block1.conv1.out_channels == 3


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_half_of_everything(kind):
    net, x = built(kind)
    before, shape = sum(p.numel() for p in net.parameters()), net(x).shape
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert net(x).shape == shape
    assert done.after.params == sum(p.numel() for p in net.parameters()) < before
    net(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())
    assert copy.deepcopy(net)(x).shape == shape


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_rest_computes_what_it_did_with_zeros(kind):
    net, x = built(kind)
    groups = ts.trace(net, x).groups
    mixed, moved = [], []
    for number in range(len(groups)):
        one = copy.deepcopy(net)
        layer = next((m.module for m in groups[number].members if m.role in ("out", "both")), None)
        try:
            plan = ts.plan(one, x).prune(layer, 0.5)
        except ts.CouplingError:
            continue
        mixed.append(plan.planned[-1].edit.mixing)
        zeroed = copy.deepcopy(net)
        zero(zeroed, kept(plan))
        plan.apply()
        if not mixed[-1]:
            assert distance(one(x), zeroed(x)) < 1e-12
            moved.append(distance(one(x), net(x)))
    assert mixed, "nothing was pruned"
    assert not moved or max(moved) > 1e-4, "something has gone"


def test_heads_go_as_a_whole():
    net, x = built(Heads)
    plan = ts.plan(net, x).prune("qkv", 0.5)
    entries = kept(plan)["qkv.weight"][0]
    heads = sorted({i // 6 % 4 for i in entries})
    assert len(heads) == 2
    assert entries == tuple(i for i in range(72) if i // 6 % 4 in heads)
    plan.apply()
    assert (net.heads, net.width) == (2, 6)


def test_query_heads_go_with_the_keys_that_they_share():
    net, x = built(Shared)
    ts.prune(net, "k", 0.5, example_inputs=x)
    assert (net.k.out_features, net.v.out_features, net.q.out_features) == (4, 4, 16)
    assert net.heads // net.shared == 4
    assert net(x).shape == x.shape


def test_gate_and_value_go_together():
    net, x = built(Shared)
    plan = ts.plan(net, x).prune("up", channels=[0, 3, 12, 15])
    assert kept(plan)["down.weight"][1] == (1, 2, 4, 5, 6, 7, 8, 9, 10, 11)


def test_flattened_positions_go_with_their_channel():
    net, x = built(Flat)
    plan = ts.plan(net, x).prune("conv", channels=[1])
    assert kept(plan)["fc.weight"][1] == (*range(16), *range(32, 64))


def test_second_branch_of_a_concatenation():
    net, x = built(Joined)
    plan = ts.plan(net, x).prune("b", channels=[0, 5])
    assert kept(plan)["c.weight"][1] == (0, 1, 2, 3, 5, 6, 7, 8)
    assert kept(plan)["norm.running_var"][0] == (0, 1, 2, 3, 5, 6, 7, 8)


def test_tied_table_stays_tied():
    net, x = built(Tied)
    ts.prune(net, "embed", 0.5, example_inputs=x)
    assert net.head.weight is net.embed.weight
    assert net.embed.embedding_dim == net.head.in_features == 3
    assert net.embed.num_embeddings == 11


def test_recurrent_layer():
    net, x = built(Recurrent)
    ts.prune(net, "rnn", 0.4, example_inputs=x)
    assert (net.rnn.hidden_size, net.rnn.input_size, net.fc.in_features) == (3, 6, 6)
    assert net.rnn._flat_weights[0] is net.rnn.weight_ih_l0


def test_torchs_attention_loses_heads_and_keeps_the_stream():
    net, x = built(Encoder)
    before = net.layer.self_attn
    done = ts.prune(net, "layer.self_attn", 0.5, example_inputs=x)
    attention = net.layer.self_attn
    assert attention is before
    assert type(attention) is Attention
    assert (attention.num_heads, attention.head_dim, attention.embed_dim) == (2, 3, 12)
    assert attention.in_proj_weight.shape == (18, 12)
    assert attention.out_proj.in_features == 6
    # PyTorch's fused kernel would take it for another attention: eval must compute what train does
    net.layer.dropout.p = net.layer.dropout1.p = net.layer.dropout2.p = attention.dropout = 0.0
    with torch.no_grad():
        fused = net.eval()(x)
    assert distance(fused, net.train()(x)) < 1e-12
    done.undo()
    assert type(net.layer.self_attn) is nn.MultiheadAttention


EXTRAS = [
    {},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"kdim": 12, "vdim": 12, "bias": False, "add_bias_kv": True, "add_zero_attn": True},
]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("extras", EXTRAS, ids=str)
def test_attention_computes_what_torchs_does(batch_first, weights, extras):
    theirs = nn.MultiheadAttention(12, 4, batch_first=batch_first, **extras).double().eval()
    mine = copy.deepcopy(theirs)
    mine.__class__ = Attention
    x, y = torch.randn(3, 5, 12).double(), torch.randn(3, 5, 12).double()
    padding = torch.zeros(3, 5, dtype=torch.bool) if batch_first else torch.zeros(5, 3, dtype=torch.bool)
    padding[0, 1] = True
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if batch_first else torch.ones(3, 3, dtype=torch.bool).triu(1)
    for keys in (
        {},
        {"attn_mask": mask},
        {"key_padding_mask": padding},
        {"attn_mask": mask, "key_padding_mask": padding},
    ):
        for key in (x, y):
            one, other = (a(x, key, key, need_weights=weights, **keys) for a in (mine, theirs))
            assert distance(one[0], other[0]) < 1e-12
            assert (one[1] is None) == (other[1] is None)
            if weights:
                assert distance(one[1], other[1]) < 1e-12


class Attending(nn.Module):
    """Attention to something of other widths, with a learned key and value, and one of zeros."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 16), nn.Linear(6, 10), nn.Linear(6, 12)
        self.m = nn.MultiheadAttention(16, 4, kdim=10, vdim=12, add_bias_kv=True, add_zero_attn=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.m(self.q(x), self.k(x), self.v(x))[0])


@pytest.mark.parametrize("heads", [True, False, None])
@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75])
def test_attention_to_more_than_what_is_given_loses_heads_and_their_width(heads, amount):
    torch.manual_seed(0)
    net, x = Attending().double().eval(), torch.randn(2, 5, 6, dtype=torch.double)
    done = ts.prune(net, amount=amount, heads=heads, example_inputs=x)
    assert net.m.bias_k.shape[-1] == net.m.k_proj_weight.shape[0] == net.m.num_heads * net.m.head_dim < 16
    assert net.q.out_features < 16 and net.k.out_features < 10 and net.v.out_features < 12
    assert "agree" in str(ts.check(net, x))
    done.undo()
    answer = net(x)
    ts.widen(net, "m", 2.0, heads=True, example_inputs=x)
    assert distance(net(x), answer) < 1e-12


class OwnKind(nn.MultiheadAttention):
    """Somebody's own class, whose forward is torch's and stays it."""


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.m, self.out = nn.Linear(6, 16), OwnKind(16, 4, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        x = self.q(x)
        return self.out(self.m(x, x, x)[0])


@pytest.mark.parametrize(
    "how",
    [{"amount": 0.5, "heads": False}, {"amount": 0.6, "min_width": 0.6}, {"amount": 0.4, "ranked": True}],
    ids=str,
)
def test_an_attention_of_ones_own_class_keeps_to_what_its_forward_takes(how):
    torch.manual_seed(2)
    net, x = Own().double().eval(), torch.randn(2, 5, 6, dtype=torch.double)
    done = ts.prune(net, example_inputs=x, **how)
    width = net.q.out_features
    assert net.m.embed_dim == width == net.m.in_proj_weight.shape[0] // 3
    assert width % net.m.num_heads == 0
    # Its forward scales by the width of the heads, which has changed where heads are narrower.
    assert "goes over what went" in str(ts.check(net, x)) or net.m.head_dim == 4
    done.undo()


class Averaging(nn.Module):
    """Keeps a running mean without cutting the graph off."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        x = self.a(x)
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return self.b(x)


def test_a_buffer_that_was_computed_since_is_no_obstacle_to_undo():
    net, x = Averaging(), torch.randn(4, 3)
    done = ts.prune(net, "a", 0.5, example_inputs=x)
    net(x)
    assert not net.mean.is_leaf
    done.undo()
    assert net(x).shape == (4, 2)
    assert net.mean.shape == (8,)


def test_hooks_of_parameters_go_on():
    net, x = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), torch.randn(4, 3)
    seen = []
    handle = net[0].weight.register_hook(lambda grad: grad * 0)
    net[0].bias.register_post_accumulate_grad_hook(lambda p: seen.append(tuple(p.shape)))
    done = ts.prune(net, "0", 0.5, example_inputs=x)
    net(x).sum().backward()
    assert not net[0].weight.grad.any()
    assert seen == [(4,)]
    handle.remove()
    net(x).sum().backward()
    assert net[0].weight.grad.any()
    done.undo()
    net.zero_grad()
    net(x).sum().backward()
    assert net[0].weight.grad.any()
    assert seen == [(4,), (4,), (8,)]


# --- budgets and bounds


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_budget_of_parameters(share):
    net, x = built(Residual)
    done = ts.prune(net, params=share, example_inputs=x)
    assert done.after.params <= share * done.before.params
    assert done.after.params >= (share - 0.2) * done.before.params


def test_budget_of_multiplications(resnet18, images):
    plan = ts.plan(resnet18, images).prune(macs=0.5)
    before = counted(resnet18, images)
    plan.apply()
    assert 0.42 * before <= counted(resnet18, images) <= 0.5 * before


def counted(net, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return counter.get_total_flops()


def test_budget_that_can_not_be_met():
    net, x = built(Residual)
    before = portrait(net)
    with pytest.raises(ts.CouplingError, match="can't be pruned to 10 parameters"):
        ts.prune(net, params=10, example_inputs=x)
    assert portrait(net) == before


@pytest.mark.parametrize(("multiple", "left"), [(1, 3), (2, 4), (4, 4)])
def test_rounded_to_a_multiple(multiple, left):
    net, x = built(Residual)
    ts.prune(net, "stem", 0.6, round_to=multiple, example_inputs=x)
    assert net.stem.out_channels == left


def test_ranked_takes_more_where_less_matters():
    net, x = built(Residual)
    with torch.no_grad():
        for layer in (net.block1.conv1, net.block1.bn1):
            layer.weight[:4] *= 1e-3
        net.block1.conv2.weight[:, :4] *= 1e-3
    ts.prune(net, amount=0.2, ranked=True, example_inputs=x)
    assert net.block1.conv1.out_channels < net.block2.conv1.out_channels


def test_ignored_layers_keep_their_channels():
    net, x = built(Residual)
    ts.prune(net, amount=0.5, ignore="stem", example_inputs=x)
    assert net.stem.out_channels == 8
    assert net.block1.conv1.out_channels == 3


# --- one list of changes: undo, plan, optimizer, average


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_undo(kind):
    net, x = built(kind)
    before, answer = portrait(net), net(x)
    ts.prune(net, amount=0.5, example_inputs=x).undo()
    assert portrait(net) == before
    assert torch.equal(net(x), answer)


def test_plan_touches_nothing():
    net, x = built(Encoder)
    before = portrait(net)
    ts.plan(net, x).prune(amount=0.5)
    assert portrait(net) == before


def test_references_see_the_narrower_layer():
    net, x = built(Residual)
    stem = net.stem
    ts.prune(net, "stem", 0.5, example_inputs=x)
    assert net.stem is stem
    assert stem.out_channels == 4


def test_after_other_edits_of_one_plan():
    net, x = built(Residual)
    plan = ts.plan(net, x).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=2).prune("stem", 0.5)
    assert net.stem.out_channels == 8
    plan.apply()
    assert (net.stem.out_channels, net.block1.bn2.num_channels) == (4, 4)
    assert isinstance(net.block1.bn2, nn.GroupNorm)
    assert net(x).shape == (2, 5)


def test_twice_in_one_plan():
    net, x = built(Residual)
    ts.plan(net, x).prune("stem", 0.5).prune("stem", 0.5).apply()
    assert net.stem.out_channels == 2
    assert net(x).shape == (2, 5)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam], ids=lambda kind: kind.__name__)
def test_momentum_is_sliced_along(kind):
    net, x = built(Residual)
    optimizer = kind(net.parameters(), lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    net(x).sum().backward()
    optimizer.step()
    name = "momentum_buffer" if kind is torch.optim.SGD else "exp_avg"
    momentum = optimizer.state[net.block1.conv1.weight][name].clone()
    plan = ts.plan(net, x).prune("stem", channels=[2, 3])
    plan.apply(optimizer=optimizer)
    left = list(kept(plan)["block1.conv1.weight"][1])
    assert torch.equal(optimizer.state[net.block1.conv1.weight][name], momentum[:, left])
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in net.parameters()}
    optimizer.zero_grad()
    net(x).sum().backward()
    optimizer.step()


def test_average_is_pruned_at_the_same_channels():
    net, x = built(Residual)
    average = torch.optim.swa_utils.AveragedModel(net)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p))
    expected = average.module.stem.weight.clone()
    plan = ts.plan(net, x).prune("stem", 0.5)
    plan.apply(ema=average)
    assert torch.equal(average.module.stem.weight, expected[list(kept(plan)["stem.weight"][0])])
    assert average.module(x).shape == (2, 5)


def test_weights_trained_after_planning_are_those_that_are_kept():
    net, x = built(Residual)
    plan = ts.plan(net, x).prune("stem", channels=[0])
    with torch.no_grad():
        net.stem.weight.fill_(3.0)
    plan.apply()
    assert bool((net.stem.weight == 3.0).all())


def test_requires_grad_dtype_and_memory_format_stay():
    net, x = built(Residual)
    net.stem.weight.requires_grad_(False)
    net = net.to(torch.float32).to(memory_format=torch.channels_last)
    ts.prune(net, "block1.conv1", 0.5, example_inputs=x.float())
    assert not net.stem.weight.requires_grad
    assert net.block1.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert net.block1.conv1.weight.dtype is torch.float32


def test_on_meta():
    net, x = built(Residual)
    net = net.to("meta")
    ts.prune(net, amount=0.5, example_inputs=x.to("meta"))
    assert net.stem.weight.shape == (4, 3, 3, 3)
    assert net.stem.weight.is_meta


def test_hooks_and_mode_stay():
    net, x = built(Residual)
    calls = []
    handle = net.stem.register_forward_hook(lambda *_: calls.append(1))
    net.train()
    ts.prune(net, "stem", 0.5, example_inputs=x)
    calls.clear()
    net(x)
    assert calls == [1]
    handle.remove()
    net(x)
    assert calls == [1]
    assert net.training
    assert net.stem.training


def test_printed_plan():
    net, x = built(Residual)
    text = str(ts.plan(net, x).prune("block1.conv1", 0.5))
    assert "prune block1.conv1  −50 %  by l2" in text
    assert "~ block1.conv1  out_channels 6 → 3" in text
    assert "↳ block1.bn1    num_features 6 → 3" in text
    assert "↳ block1.conv2  in_channels 6 → 3" in text


def test_layers_that_were_not_run_are_named():
    plan = ts.plan(Branching(), torch.zeros(1, 4)).prune("a", 0.5)
    assert plan.planned[0].left == {"no": "not run on these inputs, so not changed along"}


class Caching(nn.Module):
    """Keeps what it has computed, one entry a device, as LeViT does."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.scale, self.known = nn.Linear(4, 6), nn.Linear(6, 2), nn.Parameter(torch.ones(6)), {}

    def forward(self, x):
        if x.device not in self.known:
            self.known[x.device] = self.scale.exp()
        return self.b(self.a(x) * self.known[x.device])


def test_caches_begin_empty():
    net, x = Caching().requires_grad_(False), torch.randn(2, 4)
    before = net(x)
    known = net.known
    done = ts.prune(net, "a", 0.5, example_inputs=x)
    assert net.known == {}
    assert net(x).shape == (2, 2)
    done.undo()
    assert net.known is known
    assert torch.equal(net(x), before)


def test_tensors_that_nothing_was_computed_with_stay():
    net, x = built(Residual)
    net.register_buffer("spare", torch.zeros(3, 6))
    net.unused = nn.Linear(8, 4).double()
    ts.prune(net, amount=0.5, example_inputs=x)
    assert net.spare.shape == (3, 6)
    assert net.unused.weight.shape == (4, 8)


# --- what is refused


def refused(kind=Residual, **arguments):
    net, x = built(kind)
    before = portrait(net)
    with pytest.raises(ts.SurgeryError) as caught:
        ts.prune(net, **{"example_inputs": x, **arguments})
    assert portrait(net) == before
    message = str(caught.value)
    assert "?" not in message
    assert caught.value.way_out
    return message


def test_output_keeps_its_width():
    message = refused(target="fc", amount=2)
    assert message.startswith("cannot prune fc 5 → 3.")
    assert "these channels are the model's output (Residual.forward returns fc), which keeps its width." in message
    assert message.endswith("change the number of classes with  ts.set_outputs(model, 3)")


def test_one_group_can_not_be_pruned_and_kept():
    message = refused(target="block1.conv2", amount=4, ignore="block2.conv2")
    assert "cannot prune block1.conv2 and keep block2.conv2 (ignore=): they are one group." in message
    assert "block1.conv2 → add in block1 → add in block2 → block2.conv2" in message


@pytest.mark.parametrize("amount", [0, 0.0, 1.0, -1, -0.5, 1.5, True, "half", float("nan")])
def test_amounts_without_sense(amount):
    assert "amount must be a positive whole number" in refused(target="stem", amount=amount)


def test_more_channels_than_there_are():
    assert "cannot prune 8 channels of stem: it has 8" in refused(target="stem", amount=8)


def test_part_of_a_head():
    assert "it goes together with" in refused(Heads, target="qkv", channels=[0, 1])
    assert "they go in sets of" in refused(Heads, target="qkv", amount=7)


def test_channels_out_of_range_or_given_twice():
    assert "stem has no output channel 8" in refused(target="stem", channels=[0, 8])
    assert "stem has no output channel -1" in refused(target="stem", channels=[-1])
    assert "channel 3 is given twice" in refused(target="stem", channels=[3, 1, 3])
    assert "no channel is given" in refused(target="stem", channels=[])
    assert "2 are selected" in refused(target="block*.conv1", channels=[0])


def test_neither_or_both():
    assert "needs one of amount" in refused(target="stem")
    assert "needs one of amount" in refused(target="stem", amount=1, channels=[2])
    assert "which must be named" in refused(channels=[2])
    assert "needs example_inputs" in refused(target="stem", amount=1, example_inputs=None)
    assert "round_to must be" in refused(target="stem", amount=1, round_to=0)
    assert "share of all channels" in refused(amount=1, ranked=True)


def test_layers_without_channels():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(ts.SelectionError, match="1 has no output channels"):
        ts.prune(net, "1", 0.5, example_inputs=torch.zeros(1, 2))


def test_inputs_that_do_not_fit():
    assert "stem of Residual fails on these inputs" in refused(
        target="stem", amount=1, example_inputs=torch.zeros(1, 4, 8, 8)
    )


class Packed(nn.Parameter):
    """Stands for a parameter with a storage of its own, as quantizers make them."""


def test_parameters_of_a_special_kind():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[0].weight = Packed(net[0].weight.detach())
    with pytest.raises(ts.CouplingError, match="entries of a Packed tensor can't be taken out or copied"):
        ts.prune(net, "0", 0.5, example_inputs=torch.zeros(1, 4))


class Uneven(nn.Module):
    """Three heads, whose width is a number in the code, on a stream that must be as wide as all of them."""

    def __init__(self):
        super().__init__()
        self.heads = 3
        self.stem, self.qkv, self.back, self.out = (
            nn.Linear(5, 24),
            nn.Linear(24, 72),
            nn.Linear(24, 24),
            nn.Linear(24, 2),
        )

    def forward(self, x):
        x = self.stem(x)
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q = q * torch.arange(8.0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.3)
        return self.out(x + self.back(mixed.transpose(1, 2).reshape(n, length, width)))


def test_a_stream_loses_as_many_as_its_heads_do():
    """Half of three heads of 8 is one of them, half of the stream is 12: it must be 8."""
    net, x = Uneven(), torch.randn(2, 4, 5)
    plan = ts.plan(net, x).prune(amount=0.5)
    assert not plan.planned[0].left
    plan.apply()
    assert (net.heads, net.stem.out_features, net.qkv.out_features, net.back.in_features) == (1, 8, 24, 8)
    assert net(x).shape == (2, 4, 2)


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_a_spectral_norm_is_cut_along(norm):
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), norm(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2)).eval()
    x = torch.randn(4, 3)
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert (net[0].out_features, net[2].in_features, net[2].out_features, net[4].in_features) == (4, 4, 3, 3)
    ts.check(net, x)
    net.train()(x).sum().backward()
    done.undo()
    assert net[2].weight.shape == (6, 8)
