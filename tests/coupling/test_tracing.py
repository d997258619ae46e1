"""A trace says which channels are one, leaves the model as it was, and blames by name."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from torchsurgery.coupling.rules.registry import USER_RULES


def members(group):
    """Each axis of the group: (tensor, dim) → the entries that belong to it."""
    return {(m.name, m.dim): m.indices for m in group.members}


class Block(nn.Module):
    """Two convolutions and a shortcut around them."""

    def __init__(self, width=8, inside=6):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, inside, 3, padding=1), nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = nn.Conv2d(inside, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Net(nn.Module):
    """A stem, two residual blocks, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.block1, self.block2 = Block(), Block()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.block2(self.block1(self.stem(x))).mean((2, 3)))


@pytest.fixture
def net():
    return Net()


IMAGE = torch.zeros(2, 3, 8, 8)


def test_chain():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    group = ts.trace(net, torch.zeros(1, 4)).group("0")
    every = tuple(range(8))
    assert members(group) == {("0.weight", 0): every, ("0.bias", 0): every, ("2.weight", 1): every}
    assert group.giving == ("0",)
    assert group.taking == ("2",)


def test_input_and_output_are_frozen_and_named():
    coupling = ts.trace(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.zeros(1, 4))
    with pytest.raises(ts.CouplingError, match="output channels of 1 stay 2") as caught:
        coupling.group("1")
    assert "these channels are the model's output (Sequential.forward returns 1), which keeps" in str(caught.value)
    assert "the model's input" in str(coupling.why("0", "in")[0])
    assert coupling.why("0") == ()


def test_residuals_are_one_group(net):
    coupling = ts.trace(net, IMAGE)
    group = coupling.group("block1.conv2")
    assert len(group) == 8
    assert set(group.giving) == {"stem", "block1.conv2", "block1.bn2", "block2.conv2", "block2.bn2"}
    assert set(group.taking) == {"block1.conv1", "block2.conv1", "fc"}
    # x + y goes on as x, so that the second addition meets the stem itself
    assert [str(step) for step in group.path("stem", "block2.conv2")] == ["add in block2"]
    assert coupling.group("block1.conv1").modules == ("block1.conv1", "block1.bn1", "block1.conv2")


def test_printed_group(net):
    text = str(ts.trace(net, IMAGE).group("block1.conv1"))
    assert text.splitlines()[0] == "3 modules change together: 2 that give these channels"
    assert "block1.conv1 → batch_norm (block1.bn1) → block1.bn1" in text


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.c = nn.Conv2d(10, 2, 1)

    def forward(self, x):
        return self.c(torch.cat([self.a(x), self.b(x)], 1))


def test_concatenation_shifts_indices():
    coupling = ts.trace(Joined(), IMAGE)
    assert members(coupling.group("a"))["c.weight", 1] == (0, 1, 2, 3)
    assert members(coupling.group("b"))["c.weight", 1] == (4, 5, 6, 7, 8, 9)


def test_depthwise_and_grouped():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 2, 1)
    )
    coupling = ts.trace(net, IMAGE)
    # whole groups, or of each of the four some of the two channels that it takes, and of the three that it gives
    assert sorted(len(family) for family in coupling.families.lists) == [2, 2, 2, 2, 3, 3, 3, 3, 4]
    assert sorted(len(family) for family in coupling.tied.families.lists) == [2, 3, 4]
    assert coupling.group("0").modules == coupling.group("1").modules


def test_flatten_into_linear_repeats_each_channel():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    group = ts.trace(net, IMAGE).group("0")
    assert len(group) == 4
    assert members(group)["2.weight", 1] == tuple(range(144))


class Attention(nn.Module):
    """Fused query, key and value; 3 heads of 4."""

    def __init__(self):
        super().__init__()
        self.heads, self.width = 3, 4
        self.qkv, self.out = nn.Linear(5, 36), nn.Linear(12, 5)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.out(mixed.transpose(1, 2).reshape(n, length, self.heads * self.width))


def test_heads_and_their_width_are_families():
    coupling = ts.trace(Attention(), torch.zeros(2, 7, 5))
    assert sorted(map(len, coupling.families.lists)) == [3, 4]
    group = coupling.group("qkv")
    assert set(group.modules) == {"qkv", "out"}


@pytest.mark.parametrize(
    ("make", "where"),
    {
        "softmax": (lambda: nn.Softmax(-1), "softmax over it in 1"),
        "sorted": (lambda: Function(lambda x: x.sort(-1).values), "sort over it in 1"),
        "rolled": (lambda: Function(lambda x: x + x.roll(1, -1)), "rolled by a number of places"),
        "index_select": (lambda: Function(lambda x: x.index_select(1, torch.arange(8))), "index_select"),
        "a size as a number": (lambda: Function(lambda x: x.view(2, 8)), "the code says 8"),
        "a plain tensor": (lambda: Function(lambda x: x + torch.arange(8.0)), "arange"),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_blame(make, where):
    net = nn.Sequential(nn.Linear(4, 8), make(), nn.Linear(8, 2))
    coupling = ts.trace(net, torch.zeros(2, 4))
    with pytest.raises(ts.CouplingError) as caught:
        coupling.group("0")
    assert where in str(caught.value)
    assert "?" not in str(caught.value)


def test_entries_counted_by_a_number_stay():
    net = nn.Sequential(nn.Linear(4, 8), Function(lambda x: x + x[:, 2:3]), nn.Linear(8, 2))
    coupling = ts.trace(net, torch.zeros(2, 4))
    assert members(coupling.group("0"))["0.weight", 0] == (3, 4, 5, 6, 7)
    assert "the code counts 2 of its entries" in str(coupling.why("0")[0])


class Added(nn.Module):
    """Adds something made in the forward, as wide as `wide` says."""

    def __init__(self, wide):
        super().__init__()
        self.wide, self.width = wide, 8
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        made = x.new_ones(torch.tensor(3), self.wide(self))
        return self.head(self.stem(x) + made)


def test_a_size_that_is_a_tensor_says_nothing_of_the_others():
    model = Added(lambda net: net.width)
    ts.prune(model, "stem", 4, example_inputs=torch.zeros(3, 4))
    assert (model.stem.out_features, model.width) == (4, 4)


@pytest.mark.parametrize("wide", [lambda net: 8, lambda net: torch.tensor(net.width)], ids=["number", "tensor"])
def test_what_is_made_by_numbers_stays(wide):
    coupling = ts.trace(Added(wide), torch.zeros(3, 4))
    assert "the code says 8 (new_ones)" in str(coupling.why("stem")[0])


class Function(nn.Module):
    """A layer that is a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_a_slice_taken_for_its_shape_freezes_nothing():
    net = nn.Sequential(nn.Linear(4, 8), Function(lambda x: x * (1 + x[:, 0].shape[0])), nn.Linear(8, 2))
    assert len(ts.trace(net, torch.zeros(2, 4)).group("0")) == 8


@torch.library.custom_op("coupling_tests::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    """Twice x."""
    return 2 * x


@double.register_fake
def _(x):
    return torch.empty_like(x)


def test_unknown_operation_freezes_and_is_named():
    net = nn.Sequential(nn.Linear(4, 8), Function(double), nn.Linear(8, 2))
    coupling = ts.trace(net, torch.zeros(2, 4))
    assert coupling.unknown == {"coupling_tests::double": 1}
    assert "coupling_tests::double is not known" in str(coupling.why("0")[0])


def test_rule_makes_an_operation_known():
    net = nn.Sequential(nn.Linear(4, 8), Function(double), nn.Linear(8, 2))
    try:
        ts.rule(torch.ops.coupling_tests.double)(lambda call: call.give(call.out, call.axes(call.args[0])))
        coupling = ts.trace(net, torch.zeros(2, 4))
    finally:
        USER_RULES.pop("coupling_tests::double", None)
    assert coupling.unknown == {}
    assert len(coupling.group("0")) == 8


def test_a_rule_that_fails_freezes():
    net = nn.Sequential(nn.Linear(4, 8), Function(double), nn.Linear(8, 2))
    try:
        ts.rule("coupling_tests::double")(lambda call: call.tie(call.axes(call.args[0])[0], call.axes(call.args[0])[1]))
        coupling = ts.trace(net, torch.zeros(2, 4))
    finally:
        USER_RULES.pop("coupling_tests::double", None)
    assert coupling.unknown == {"coupling_tests::double": 1}
    assert "can't be followed here" in str(coupling.why("0")[0])


def test_rule_refuses_what_is_no_operation():
    with pytest.raises(ts.TraceError, match="a rule is for an operation"):
        ts.rule(torch.relu)


# --- the model is left as it was


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
    net = Net().to(torch.bfloat16)
    assert len(ts.trace(net, IMAGE.to(torch.bfloat16)).group("stem")) == 8
    net = copy.deepcopy(net).to("meta")
    assert len(ts.trace(net, IMAGE.to("meta", torch.bfloat16)).group("stem")) == 8
    assert all(p.is_meta for p in net.parameters())


# --- what goes in and out


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x, *, scale=1.0, more=None):
        hidden = self.a(x)
        return {"out": self.b(hidden * scale), "hidden": [hidden] if more else None}


def test_arguments_by_name_and_answers_in_containers():
    net, x = Keywords(), torch.zeros(1, 4)
    assert len(ts.trace(net, {"x": x}).group("a")) == 6
    with pytest.raises(ts.CouplingError, match="a stay 6"):
        ts.trace(net, {"x": x, "more": True}).group("a")


def test_outputs_chooses_what_must_keep_its_shape():
    coupling = ts.trace(Keywords(), {"x": torch.zeros(1, 4), "more": True}, outputs=lambda answer: answer["out"])
    assert len(coupling.group("a")) == 6


def test_model_that_fails_is_named():
    with pytest.raises(ts.TraceError, match=r"block1\.conv1 of Net fails on these inputs: RuntimeError") as caught:
        net = Net()
        net.block1.conv1 = nn.Conv2d(7, 6, 3)
        ts.trace(net, IMAGE)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.name == "block1.conv1"


class Branching(nn.Module):
    """Which layer runs depends on a value."""

    def __init__(self):
        super().__init__()
        self.a, self.yes, self.no = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.a(x)
        return self.yes(hidden) if float(hidden.sum()) > -1e9 else self.no(hidden)


def test_what_was_not_run_is_listed():
    coupling = ts.trace(Branching(), torch.zeros(1, 4))
    assert coupling.unseen == ("no",)
    assert "not run: no" in str(coupling)


class Auxiliary(nn.Module):
    """A head that only training has."""

    def __init__(self):
        super().__init__()
        self.a, self.out, self.aux = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.a(x)
        return (self.out(hidden), self.aux(hidden)) if self.training else self.out(hidden)


def test_a_head_of_the_other_mode_follows_too():
    coupling = ts.trace(Auxiliary().eval(), torch.zeros(2, 4))
    assert coupling.modes == ("eval", "train")
    assert coupling.group("a").taking == ("out", "aux")


def test_tied_weights_are_one_leaf():
    net = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 6), nn.Linear(6, 10, bias=False))
    net[2].weight = net[0].weight
    coupling = ts.trace(net, torch.zeros(1, 3, dtype=torch.long))
    assert set(coupling.group("0").modules) == {"0", "1"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent(kind, bidirectional):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = kind(4, 6, 2, batch_first=True, bidirectional=bidirectional)
            self.fc = nn.Linear(12 if bidirectional else 6, 2)

        def forward(self, x):
            return self.fc(self.rnn(x)[0])

    group = ts.trace(Recurrent(), torch.zeros(1, 5, 4)).group("fc", "in")
    assert len(group) == 6
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    assert len(members(group)["rnn.weight_ih_l0", 0]) == gates * 6
    assert len(members(group)["rnn.weight_hh_l1", 1]) == 6


def test_a_layer_that_is_not_there(net):
    with pytest.raises(ts.SelectionError, match="nothing has no output channels"):
        ts.trace(net, IMAGE).group("nothing")


def test_shared_layer_under_each_of_its_names():
    layer = nn.Linear(6, 6)
    net = nn.Sequential(nn.Linear(4, 6), layer, nn.ReLU(), layer, nn.Linear(6, 2))
    coupling = ts.trace(net, torch.zeros(1, 4))
    assert members(coupling.group("3")) == members(coupling.group("1"))


def test_weight_norm_counts_as_its_layer():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 2))
    group = ts.trace(net, torch.zeros(1, 4)).group("0")
    assert group.modules == ("0", "1")


def test_a_convolution_of_one_entry_leaves_positions_to_themselves():
    """Over three tokens, whose channels are its positions: they come and go as anywhere else."""

    class Summed(nn.Module):
        def __init__(self, kernel):
            super().__init__()
            self.stem, self.join, self.head = (
                nn.Linear(4, 8),
                nn.Conv1d(3, 1, kernel, padding=kernel // 2),
                nn.Linear(8, 2),
            )

        def forward(self, x):
            return self.head(self.join(self.stem(x))[:, 0])

    x = torch.randn(1, 3, 4)
    assert ts.trace(Summed(1), x).group("stem").taking == ("head",)
    with pytest.raises(ts.CouplingError, match="positions of a convolution"):
        ts.trace(Summed(3), x).group("stem")


def test_grids_belong_to_the_pictures_that_they_sample():
    """Deformable attention lays its heads into the batch: a head's places go with its values."""

    class Deformable(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = 4
            self.value, self.places, self.back = nn.Linear(6, 12), nn.Linear(6, 8), nn.Linear(12, 2)

        def forward(self, x):
            n, length, _ = x.shape
            value = self.value(x).view(n, length, self.heads, 3).permute(0, 2, 3, 1).reshape(n * self.heads, 3, 4, 4)
            grid = self.places(x).view(n, length, self.heads, 1, 2).permute(0, 2, 1, 3, 4).flatten(0, 1)
            found = nn.functional.grid_sample(value, grid, align_corners=False)[..., 0]
            return self.back(found.view(n, self.heads * 3, length).transpose(1, 2))

    coupling = ts.trace(Deformable(), torch.randn(2, 16, 6))
    groups = [set(group.giving) for group in coupling.groups if "places" in group.giving]
    assert groups == [{"value", "places"}]


def test_heads_of_two_scales_go_with_the_groups_between_them():
    """Queries, keys and values of 4 heads, and the same again from a convolution in 12 groups, joined to 8 heads."""

    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.dim = 2
            self.qkv, self.again = nn.Conv2d(6, 24, 1), nn.Conv2d(24, 24, 1, groups=12)
            self.back = nn.Conv2d(16, 2, 1)

        def forward(self, x):
            qkv = self.qkv(x)
            both = torch.cat([qkv, self.again(qkv)], 1).reshape(x.shape[0], -1, 3 * self.dim, 9).transpose(-1, -2)
            q, k, v = both.chunk(3, dim=-1)
            out = q.relu() @ (k.relu().transpose(-1, -2) @ v)
            return self.back(out.transpose(-1, -2).reshape(x.shape[0], -1, 3, 3))

    coupling = ts.trace(Scales(), torch.randn(1, 6, 3, 3))
    found = []
    for group in coupling.groups:
        for channel in group.channels:
            places = {(m.name, m.dim): m.indices for m in coupling._group(np.array([channel])).members}
            found.append(
                (places.get(("qkv.weight", 0)), places.get(("again.weight", 0)), places.get(("back.weight", 1)))
            )
    # Head 0 of both scales: six rows of each convolution, and two channels of each half of what is joined.
    assert (tuple(range(6)), tuple(range(6)), (0, 1, 8, 9)) in found
    assert (tuple(range(18, 24)), tuple(range(18, 24)), (6, 7, 14, 15)) in found


class Deciding(nn.Module):
    """Goes one of two ways, as its values have it; a loop waits for what comes to be true once only."""

    def __init__(self, loops=False):
        super().__init__()
        self.a, self.up, self.down, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.loops = loops

    def forward(self, x):
        x = self.a(x)
        while self.loops:
            if x.sum() == x.sum():
                break
        return self.out(self.up(x) if x.sum() > 0 else self.down(x))


@pytest.mark.parametrize("seed", range(4))
def test_the_way_that_values_do_not_take_is_followed_too(seed):
    torch.manual_seed(seed)
    net, x = Deciding(), torch.randn(2, 6)
    coupling = ts.trace(net, x)
    assert not coupling.unseen
    assert set(coupling.group("a").taking) == {"up", "down"}
    assert "decide by values" in str(coupling)
    ts.prune(net, amount=0.5, example_inputs=x)
    assert net.up.weight.shape == net.down.weight.shape == (4, 4)
    assert net(x).shape == net(-x).shape == (2, 3)


def test_a_loop_that_waits_for_values_ends():
    coupling = ts.trace(Deciding(loops=True), torch.randn(2, 6))
    assert len(coupling.unseen) == 1
    assert "not run" in str(coupling)


class Further(nn.Module):
    """Has a further answer in train."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x):
        x = self.a(x)
        return (self.b(x), self.aux(x)) if self.training else self.b(x)


def test_multiplications_are_those_of_the_mode_that_the_model_is_in():
    net, x = Further().eval(), torch.randn(1, 6)
    coupling = ts.trace(net, x)
    assert coupling.modes == ("eval", "train")
    assert (
        sum(constant * int(np.prod(list(map(len, axes)))) for constant, axes in coupling.record.work) == 6 * 8 + 8 * 3
    )
    done = ts.prune(net, macs=50, example_inputs=x)
    assert net.a.out_features == 5
    done.undo()


def test_a_layer_that_shares_its_weight_says_whose_it_is():
    net = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11, bias=False))
    net[1].weight = net[0].weight
    coupling = ts.trace(net, torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(ts.SelectionError, match=r"1 has no output channels of its own: it shares 0\.weight") as raised:
        coupling.group("1")
    assert "group('0')" in raised.value.way_out
    assert len(coupling.group("0")) == 6


class Across(nn.Module):
    """Attends to something else, by a projection of which each third is for itself."""

    def __init__(self):
        super().__init__()
        self.first, self.m, self.out = nn.Linear(6, 12), nn.MultiheadAttention(12, 4), nn.Linear(12, 3)

    def forward(self, x):
        x = self.first(x)
        return self.out(self.m(x, x.flip(0), x.flip(0))[0])


def test_heads_of_a_projection_that_is_read_in_parts_go_by_name():
    net, x = Across().double().eval(), torch.randn(5, 2, 6, dtype=torch.double)
    assert ts.trace(net, x).why("m") == ()
    answer = net(x)
    done = ts.prune(net, "m", 0.5, example_inputs=x)
    assert (net.m.num_heads, net.m.in_proj_weight.shape, net.first.out_features) == (2, (18, 12), 12)
    assert "agree" in str(ts.check(net, x))
    done.undo()
    ts.widen(net, "m", 2.0, example_inputs=x)
    torch.testing.assert_close(net(x), answer, rtol=0, atol=1e-12)


def test_what_stays_because_of_the_input_says_so_in_a_sentence():
    net = nn.Sequential(nn.Linear(4, 4))
    coupling = ts.trace(net, torch.zeros(1, 4))
    assert "these channels are the model's input, which keeps its width." in str(coupling.frozen("0", "in"))


class Scaled(nn.Module):
    """A parameter of the model's own beside its layers."""

    def __init__(self):
        super().__init__()
        self.scale, self.a, self.b = nn.Parameter(torch.ones(8)), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(self.a(x) * self.scale)


def test_the_model_itself_is_called_so_in_a_path():
    told = str(ts.trace(Scaled(), torch.randn(2, 6)).group("a")).splitlines()
    assert told[1] == "((the model), a)"
    assert told[-1] == "  (the model) → mul → a"


class Written(nn.Module):
    """Writes into the first half of its channels, however many these are; reads a weight in two parts."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 10), nn.Linear(10, 3)

    def forward(self, x):
        x = self.a(x)
        half = x.shape[1] // 2
        x[:, :half] = x[:, :half] * 2
        x[:, half:] *= 3
        rows = len(self.b.weight) // 2
        return self.c(torch.cat([x @ self.b.weight[:rows].T, x @ self.b.weight[rows:].T], -1) + self.b.bias)


def test_halves_that_are_written_to_follow():
    net, x = Written().double(), torch.randn(2, 6, dtype=torch.double)
    coupling = ts.trace(net, x)
    assert coupling.why("a") == ()
    assert coupling.has_channels("b")
    done = ts.prune(net, "a", 0.5, example_inputs=x)
    assert net.a.out_features == 4
    assert "agree" in str(ts.check(net, x))
    done.undo()
