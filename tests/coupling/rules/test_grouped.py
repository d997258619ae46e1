"""Convolutions in groups: each group loses the worst of what it takes, whatever the others lose."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import zero
from torchsurgery import importance, pruning
from torchsurgery.edits import Prune
from torchsurgery.origins import blocks_of


class Grouped(nn.Module):
    """Sixteen channels, four to each group, which gives six."""

    def __init__(self):
        super().__init__()
        self.a, self.conv = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 24, 3, padding=1, groups=4)
        self.norm, self.b = nn.BatchNorm2d(24), nn.Conv2d(24, 2, 1)

    def forward(self, x):
        return self.b(F.relu(self.norm(self.conv(F.relu(self.a(x))))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Grouped().double().eval(), torch.randn(2, 3, 5, 5, dtype=torch.float64)


def prepared(net, x, **kwargs):
    asked = pruning.Asked(None, 0.5, None, importance.l2, None, 1, False, None, None, None)
    return pruning.prepare(net, asked._replace(**kwargs), x)


@torch.no_grad()
def test_each_group_takes_others(net):
    net, x = net
    _, edit = prepared(net, x)
    lists = edit.kept["conv.weight"][1]
    assert len(blocks_of(lists)) == 4 and {len(block) for block in lists} == {2}
    assert edit.kept["a.weight"][0] == tuple(4 * g + i for g, block in enumerate(lists) for i in block)
    zeroed, before = copy.deepcopy(net), net(x)
    zero(zeroed, edit.kept)
    done = ts.plan(net, x).then(edit).apply()
    assert net.conv.weight.shape == (12, 2, 3, 3) and net.conv.groups == 4
    assert torch.allclose(net(x), zeroed(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(net(x), before)
    done.undo()
    assert torch.equal(net(x), before)


@torch.no_grad()
def test_the_worst_of_each_group_go(net):
    net, x = net
    strength = torch.tensor([1, 9, 1, 9, 9, 1, 1, 9, 1, 1, 9, 9, 9, 9, 1, 1.0])
    net.a.weight.copy_(strength.view(-1, 1, 1, 1).expand(16, 3, 1, 1))
    net.conv.weight.fill_(0.1)
    ts.prune(net, "a", 0.5, example_inputs=x)
    assert torch.equal(net.a.weight, torch.full((8, 3, 1, 1), 9.0, dtype=torch.float64))


def test_whole_groups_go_where_that_is_asked_for(net):
    net, x = net
    ts.prune(net, "a", 0.5, heads=True, example_inputs=x)
    assert net.conv.groups == 2 and net.conv.weight.shape == (12, 4, 3, 3)


def test_named_channels_of_each_group(net):
    net, x = net
    weight = net.conv.weight.detach().clone()
    ts.prune(net, "a", channels=[0, 5, 10, 15], example_inputs=x)
    for group in range(4):
        rows = slice(6 * group, 6 * group + 6)
        kept = [i for i in range(4) if i != group]
        assert torch.equal(net.conv.weight[rows], weight[rows][:, kept])


def test_importance_sees_what_all_groups_take(net):
    net, x = net
    seen = {}

    def by(slices):
        seen.update({(s.name, s.dim, s.role): (tuple(s.weight.shape), s.length) for s in slices})
        return ts.importance.l2(slices)

    ts.prune(net, "a", 0.5, by=by, example_inputs=x)
    assert seen["conv.weight", 1, "in"] == ((16, 6 * 9), 16)
    assert seen["a.weight", 0, "out"] == ((16, 3), 16)


def test_gradients_are_laid_out_alike(net):
    net, x = net
    net(x).sum().backward()
    ts.prune(net, "a", 0.5, by=ts.importance.taylor, example_inputs=x)
    assert net.conv.weight.shape == (24, 2, 3, 3)


def test_momentum_of_each_group(net):
    net, x = net
    optimizer = torch.optim.Adam(net.parameters())
    net(x).sum().backward()
    optimizer.step()
    momentum = optimizer.state[net.conv.weight]["exp_avg"].clone()
    plan = ts.plan(net, x).prune("a", 0.5)
    lists = plan.planned[0].edit.kept["conv.weight"][1]
    plan.apply(optimizer=optimizer)
    expected = torch.cat([momentum[6 * g : 6 * g + 6][:, list(block)] for g, block in enumerate(lists)])
    assert torch.equal(optimizer.state[net.conv.weight]["exp_avg"], expected)


@torch.no_grad()
def test_it_is_kept_replayed_and_written_out(net, tmp_path):
    net, x = net
    base = copy.deepcopy(net)
    plan = ts.plan(net, x).prune(amount=0.5)
    assert "(24 → 12, 4 → 2, 3, 3)" in str(plan.planned[0].changes[1].origins["weight"].describe())
    done = plan.apply()
    expected = net(x)
    ts.save(net, tmp_path / "slim")
    assert torch.equal(ts.load(tmp_path / "slim", base=copy.deepcopy(base))(x), expected)
    other = copy.deepcopy(base)
    ts.plan(other).replay(done.recipe).apply()
    assert torch.equal(other(x), expected)
    names = {}
    exec(compile(str(ts.to_source(done)), "source", "exec"), names)
    assert torch.equal(names["alter"](base)(x), expected)


def change_groups(kept):
    first, second, *rest = kept["conv.weight"][1]
    kept["conv.weight"][1] = (second, first, *rest)


def change_channels(kept):
    kept["a.weight"][0] = tuple(reversed(kept["a.weight"][0]))


def all_alike(kept):
    kept["conv.weight"][1] = kept["conv.weight"][1][0]


@pytest.mark.parametrize("spoil", [change_groups, change_channels, all_alike], ids=lambda spoil: spoil.__name__)
def test_the_certificate_catches_channels_of_other_groups(net, spoil):
    net, x = net
    proof, edit = prepared(net, x)
    kept = {name: dict(axes) for name, axes in edit.kept.items()}
    spoil(kept)
    ts.plan(net, x).then(Prune("", (), kept, edit.attributes)).apply()
    assert net(x).shape == (2, 2, 5, 5), "it runs"
    with pytest.raises(ts.VerificationError):
        replace(proof, cut=replace(proof.cut, kept=kept)).check(net)


class Literal(nn.Module):
    """The number of groups stands in the code, so that no group can go."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(24, 2, 1)
        self.weight = nn.Parameter(torch.randn(24, 4, 1, 1))

    def forward(self, x):
        return self.b(F.conv2d(self.a(x), self.weight, groups=4))


def test_a_number_of_groups_in_the_code():
    net, x = Literal().eval(), torch.randn(2, 3, 4, 4)
    proof, edit = prepared(net, x)
    zeroed = copy.deepcopy(net)
    zero(zeroed, edit.kept)
    kept = {name: dict(axes) for name, axes in edit.kept.items()}
    done = ts.plan(net, x).then(edit).apply()
    assert torch.allclose(net(x), zeroed(x), atol=1e-5)
    proof.check(net)
    done.undo()
    # one channel more of the first group than of the others, in all layers alike
    moved = next(i for i in range(6, 12) if i not in kept["weight"][0])
    gone = next(i for i in kept["weight"][0] if i >= 12)
    kept["weight"][0] = kept["b.weight"][1] = tuple(sorted({*kept["weight"][0], moved} - {gone}))
    ts.plan(net, x).then(Prune("", (), kept, edit.attributes)).apply()
    with pytest.raises(ts.VerificationError, match="divides its channels otherwise"):
        replace(proof, cut=replace(proof.cut, kept=kept)).check(net)


class Twice(nn.Module):
    """One weight for two streams: what it loses of one it loses of the other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 16, 1)
        self.conv, self.last = nn.Conv2d(16, 24, 1, groups=4), nn.Conv2d(24, 2, 1)

    def forward(self, x):
        return self.last(self.conv(self.a(x)) + self.conv(self.b(x)))


@pytest.mark.parametrize(
    "build",
    [
        Twice,
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 1),
            nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 24, 1, groups=4)),
            nn.Conv2d(24, 2, 1),
        ),
    ],
    ids=["used twice", "weight norm"],
)
def test_where_all_groups_take_alike(build):
    net, x = build().eval(), torch.randn(2, 3, 4, 4)
    assert ts.trace(net, x).unrolled == {}
    plan = ts.plan(net, x).prune(amount=0.5)
    assert all(len(blocks_of(lists)) == 1 for axes in plan.planned[0].edit.kept.values() for lists in axes.values())
    plan.apply()
    assert net(x).shape == (2, 2, 4, 4)


def test_check_holds_groups_against_zeros(net):
    net, x = net
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert "they agree" in next(check.detail for check in ts.check(net, x).lines if "zeroed" in check.name)
    done.undo()
