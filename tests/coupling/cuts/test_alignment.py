"""Channel shuffles: each row loses its own worst, and whoever comes behind takes what is left in another order."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import zero
from torchsurgery import importance, pruning
from torchsurgery.choosing import Wish, choose
from torchsurgery.coupling.cuts.alignment import Narrower, Shares, Unaligned, left_of_each, orders
from torchsurgery.coupling.cuts.cut import Remains
from torchsurgery.edits import Prune


class Unit(nn.Module):
    """One half passes, the other is convolved, and both are shuffled."""

    def __init__(self, half):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(half, half, 1), nn.BatchNorm2d(half)

    def forward(self, x):
        one, other = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([one, F.relu(self.norm(self.conv(other)))], 1), 2)


class Shuffled(nn.Module):
    def __init__(self, half=12, units=2):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, half, 1), nn.Conv2d(3, half, 1)
        self.units = nn.Sequential(*(Unit(half) for _ in range(units)))
        self.last = nn.Conv2d(2 * half, 3, 1)

    def forward(self, x):
        return self.last(self.units(F.channel_shuffle(torch.cat([self.one(x), self.two(x)], 1), 2)))


def lively(net, x):
    """In float64, with statistics of its own inputs, so that every channel counts for something in the answer."""
    net.double().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        net(x)
    return net.eval()


@pytest.fixture
def net():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 4, 4, dtype=torch.float64)
    return lively(Shuffled(), x), x


def chosen(net, x, share=0.5):
    return choose(ts.trace(net, x), Wish(None, share, None, importance.l2), dict(net.named_parameters()))


def relative(one, other):
    return float((one - other).abs().max() / other.abs().max())


def applied(net, x, kept, attributes):
    return ts.plan(net, x).then(Prune("", (), kept, tuple(attributes.items()))).apply()


def ascending(kept):
    return {name: {dim: tuple(sorted(order)) for dim, order in axes.items()} for name, axes in kept.items()}


@torch.no_grad()
def test_what_is_left_computes_the_same(net):
    net, x = net
    cut = chosen(net, x).cut
    assert ascending(cut.kept) != cut.kept, "some layer takes its channels in another order"
    zeroed = copy.deepcopy(net)
    zero(zeroed, cut.kept)
    expected, before = zeroed(x), net(x)
    assert relative(before, expected) > 0.1, "what goes matters"
    done = applied(net, x, cut.kept, cut.attributes)
    assert net.units[0].conv.weight.shape[:2] == (6, 6)
    assert relative(net(x), expected) < 1e-12
    done.undo()
    assert torch.equal(net(x), before)
    applied(net, x, ascending(cut.kept), cut.attributes)
    assert relative(net(x), expected) > 0.01, "in the old order it is another function"


@torch.no_grad()
@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0"])
def test_shufflenet(name, share):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    net = lively(torchvision.models.get_model(name), x)
    cut = choose(ts.trace(net, x), Wish(None, share, None, importance.l2, exact=True), dict(net.named_parameters())).cut
    zeroed = copy.deepcopy(net)
    zero(zeroed, cut.kept)
    expected = zeroed(x)
    assert relative(net(x), expected) > 0.1
    applied(net, x, cut.kept, cut.attributes)
    assert relative(net(x), expected) < 1e-9


def test_shufflenet_is_halved_everywhere():
    net = torchvision.models.shufflenet_v2_x1_0()
    done = ts.prune(net, amount=0.5, example_inputs=torch.randn(1, 3, 64, 64))
    for (name, old), new in zip(torchvision.models.shufflenet_v2_x1_0().named_modules(), net.modules(), strict=True):
        if isinstance(old, nn.Conv2d):
            assert new.out_channels == old.out_channels // 2, name
    assert done.after.params < 0.37 * done.before.params


def spoiled(net, x, spoil):
    proof, edit = pruning.prepare(
        net, pruning.Asked(None, 0.5, None, importance.l2, None, 1, False, None, None, None), x
    )
    kept = {name: dict(axes) for name, axes in edit.kept.items()}
    spoil(kept)
    applied(net, x, kept, dict(edit.attributes))
    return replace(proof, cut=replace(proof.cut, kept=kept))


def sort_all(kept):
    kept.update(ascending(kept))


def swap_rows(kept):
    """One channel of each branch in the place of the other's, in the layer that takes both."""
    order = list(kept["last.weight"][1])
    order[0], order[1] = order[1], order[0]
    kept["last.weight"][1] = tuple(order)


def another(kept):
    """A channel that should have gone in place of one that should have stayed."""
    for name in ("one.weight", "one.bias"):
        order = kept[name][0]
        missing = next(i for i in range(12) if i not in order)
        kept[name][0] = (*order[1:], missing)


def nothing(kept):
    pass


@pytest.mark.parametrize("spoil", [sort_all, swap_rows, another], ids=lambda spoil: spoil.__name__)
def test_the_certificate_catches_another_order(net, spoil):
    net, x = net
    proof = spoiled(net, x, spoil)
    assert net(x).shape == (4, 3, 4, 4), "it runs"
    with pytest.raises(ts.VerificationError):
        proof.check(net)


def test_the_certificate_passes_the_right_one(net):
    net, x = net
    spoiled(net, x, nothing).check(net)


@torch.no_grad()
def test_it_is_kept_and_replayed(net, tmp_path):
    net, x = net
    base = copy.deepcopy(net)
    done = ts.prune(net, amount=0.5, example_inputs=x)
    expected = net(x)
    ts.save(net, tmp_path / "slim")
    assert torch.equal(ts.load(tmp_path / "slim", base=copy.deepcopy(base))(x), expected)
    ts.plan(base).replay(done.recipe).apply()
    assert torch.equal(base(x), expected)


def test_momentum_goes_in_the_same_order(net):
    net, x = net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    net(x).square().sum().backward()
    optimizer.step()
    momentum = optimizer.state[net.last.weight]["momentum_buffer"].clone()
    plan = ts.plan(net, x).prune(amount=0.5)
    kept = plan.planned[0].edit.kept["last.weight"][1]
    assert tuple(sorted(kept)) != kept
    plan.apply(optimizer=optimizer)
    assert torch.equal(optimizer.state[net.last.weight]["momentum_buffer"], momentum[:, list(kept)])


def test_a_number_that_does_not_go_is_moved_to_the_next(net):
    """48 channels of which 16 to 31 go leave a piece that there was none of; half of them is nearly a third."""
    x = torch.randn(1, 3, 64, 64)
    net = torchvision.models.shufflenet_v2_x0_5()
    ts.prune(net, "stage3.0.branch1.2", 0.5, example_inputs=x)
    assert net.stage3[0].branch1[2].out_channels == 16
    assert net(x).shape == (1, 1000)


def test_budgets_and_ranks(net):
    net, x = net
    done = ts.prune(net, params=0.5, example_inputs=x)
    assert done.after.params <= 0.5 * done.before.params
    done.undo()
    done = ts.prune(net, amount=0.5, ranked=True, example_inputs=x)
    assert done.after.params < done.before.params


# --- the parts


def test_shares_are_whole_or_nothing(net):
    net, x = net
    coupling = ts.trace(net, x)
    share = np.full(coupling.classes.count, 0.5)
    share[0] = 1.0
    numbers = Shares(coupling, share)
    assert numbers.count(coupling.axis("one")) == 6
    assert numbers.count(coupling.axis("one", "in")) == 3
    share[1:] = 0.3
    with pytest.raises(Unaligned, match=r"3\.60 entries"):
        Shares(coupling, share).count(coupling.axis("one"))


def test_left_of_each_family(net):
    net, x = net
    coupling = ts.trace(net, x)
    families = coupling.families.lists
    left = left_of_each(Narrower(coupling), [(families, 0.5)])
    ours = coupling.classes.primes_of(coupling.classes.of(coupling.axis("one")))
    mine = [f for f in families if np.isin(f, ours).all()]
    assert sum(left[int(f[0])] for f in mine) == 6
    assert all(0 <= left[int(f[0])] <= len(f) for f in families)


def counting(coupling):
    """The coupling, and the numbers that it was traced again with."""
    asked = []

    def again(numbers):
        asked.append(numbers)
        return coupling.again(numbers)

    return replace(coupling, again=again), asked


def test_the_same_widths_are_traced_once(net):
    coupling, asked = counting(ts.trace(*net))
    narrower, shares = Narrower(coupling), np.ones(coupling.classes.count)
    first = narrower.of(Shares(coupling, shares))
    assert narrower.of(Shares(coupling, shares)) is first and len(asked) == 1
    shares[np.concatenate(coupling.families.lists)] = 0.5
    assert narrower.of(Shares(coupling, shares)) is not first and len(asked) == 2


def test_a_choice_that_fits_takes_one_trace():
    net = torchvision.models.shufflenet_v2_x1_0().eval()
    coupling, asked = counting(ts.trace(net, torch.randn(1, 3, 64, 64)))
    found = choose(coupling, Wish(None, 0.5, None, ts.importance.l2), dict(net.named_parameters()))
    assert len(found.cut.kept["stage2.1.branch2.0.weight"][0]) == 29
    assert len(asked) == 1


def test_nothing_gone_needs_no_order(net):
    net, x = net
    coupling = replace(ts.trace(net, x), again=None)
    assert orders(Narrower(coupling), Remains(coupling, np.zeros(coupling.classes.count, bool))) == {}


def test_what_can_not_be_aligned_goes_row_by_row_alike():
    """x + shuffle(x) has one channel at several places: then those at one place of each row go together."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(32, 2, 1)

        def forward(self, x):
            h = self.a(x)
            return self.b(torch.cat([h, F.channel_shuffle(h, 4)], 1))

    net, x = Both().eval(), torch.randn(2, 3, 4, 4)
    found = chosen(net, x)
    assert found.coupling.rows == () and len(found.cut.kept["a.weight"][0]) == 8
    assert ascending(found.cut.kept) == found.cut.kept


def test_a_model_that_fails_when_it_is_narrower():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 2, 1)

        def forward(self, x):
            h = self.a(x)
            if len(h[0]) % 16:
                raise ValueError("sixteen, please")
            return self.b(F.channel_shuffle(h, 4))

    coupling = ts.trace(Picky().eval(), torch.randn(2, 3, 4, 4))
    with pytest.raises(Unaligned, match="sixteen, please"):
        left_of_each(Narrower(coupling), [(coupling.families.lists, 0.5)])


def test_check_holds_shuffles_against_zeros(net):
    net, x = net
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert "they agree" in next(check.detail for check in ts.check(net, x).lines if "zeroed" in check.name)
    done.undo()
