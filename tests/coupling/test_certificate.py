"""The certificate must not let a model pass that runs, has the right shapes, and is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Grouped, Heads, Joined, Residual, Shared, Tied, built
from torchsurgery import pruning, widening


def asked(target, amount):
    return pruning.Asked(target, amount, None, ts.importance.l2, None, 1, False, None, None, None)


def altered(kind, target, amount, spoil):
    """A network pruned along a cut that `spoil` has changed, and the proof that the cut has to stand."""
    net, x = built(kind)
    proof, edit = pruning.prepare(net, asked(target, amount), x)
    kept = {name: dict(axes) for name, axes in edit.kept.items()}
    attributes = dict(edit.attributes)
    spoil(kept, attributes)
    edit = replace(edit, kept=kept, attributes=tuple(attributes.items()))
    ts.plan(net, x).then(edit).apply()
    return net, x, replace(proof, cut=replace(proof.cut, kept=kept))


def nothing(kept, attributes):
    pass


def swap(name, axis):
    """Two channels kept in the other order."""

    def spoil(kept, attributes):
        first, second, *rest = kept[name][axis]
        kept[name][axis] = (second, first, *rest)

    return spoil


def exchange(name, axis):
    """Another channel kept than in the layers coupled to it."""

    def spoil(kept, attributes):
        indices = kept[name][axis]
        other = next(i for i in range(max(indices) + 2) if i not in indices)
        kept[name][axis] = tuple(sorted((*indices[1:], other)))

    return spoil


def shift(name, axis, by, width):
    """The same number of entries, all of them further on."""

    def spoil(kept, attributes):
        kept[name][axis] = tuple(sorted((i + by) % width for i in kept[name][axis]))

    return spoil


@pytest.mark.parametrize(
    ("kind", "target"),
    [(Residual, "stem"), (Joined, "b"), (Grouped, "layers.1"), (Heads, "qkv"), (Shared, "k"), (Tied, "embed")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_right_cut_passes(kind, target):
    net, _, proof = altered(kind, target, 0.5, nothing)
    proof.check(net)


WRONG = {
    "indices swapped in one layer": (Residual, "stem", 0.5, swap("block2.conv1.weight", 1)),
    "another channel in a normalisation": (Residual, "block1.conv1", 0.5, exchange("block1.bn1.weight", 0)),
    "another channel in a buffer": (Residual, "block1.conv1", 0.5, exchange("block1.bn1.running_mean", 0)),
    "a residual branch cut elsewhere": (Residual, "stem", 0.5, exchange("block1.conv2.weight", 0)),
    "offset of a concatenation": (Joined, "b", 2, shift("c.weight", 1, -4, 10)),
    "heads cut at the wrong place": (Heads, "qkv", 0.5, shift("qkv.weight", 0, 1, 72)),
    "heads of the output projection": (Heads, "qkv", 0.5, shift("out.weight", 1, 3, 24)),
    "queries of other heads than the keys": (Shared, "k", 0.5, shift("q.weight", 0, 16, 32)),
    "groups of a convolution": (Grouped, "layers.2", 0.25, shift("layers.3.weight", 0, 1, 12)),
    "gate and value apart": (Shared, "up", 0.5, exchange("up.weight", 0)),
}


@pytest.mark.parametrize(("kind", "target", "amount", "spoil"), WRONG.values(), ids=WRONG)
def test_a_wrong_cut_does_not(kind, target, amount, spoil):
    net, _x, proof = altered(kind, target, amount, spoil)
    with pytest.raises(ts.VerificationError, match="puts entries together that were apart"):
        proof.check(net)


class Multiplied(nn.Module):
    """Two channels of each by a depthwise convolution; positions that are flattened; a product of low rank."""

    inputs = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.a, self.dw, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 4, 3, groups=2)
        self.down, self.up, self.fc = nn.Linear(64, 3), nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.up(self.down(self.b(self.dw(self.a(x))).flatten(1))))


class Filled(nn.Module):
    """A shortcut that is padded with constants, so that some channels stay."""

    inputs = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1), nn.Linear(12, 2)

    def forward(self, x):
        x = self.a(x)
        return self.fc((self.b(x) + nn.functional.pad(x, (0, 0, 0, 0, 2, 2))).mean((2, 3)))


UNSEEN = {
    "positions of one channel": (Multiplied, "b", 0.5, swap("down.weight", 1)),
    "another one where one is left": (Multiplied, "down", 2, exchange("up.weight", 1)),
    "what comes of one channel with what comes of another": (Multiplied, "dw", 0.5, swap("dw.bias", 0)),
    "channels that stay": (Filled, "b", 0.5, swap("fc.weight", 1)),
    "channels that stay, in a bias": (Filled, "b", 0.5, swap("b.bias", 0)),
}


@pytest.mark.parametrize(("kind", "target", "amount", "spoil"), UNSEEN.values(), ids=UNSEEN)
def test_what_a_trace_does_not_see_is_read_off_the_cut(kind, target, amount, spoil):
    net, _x, proof = altered(kind, target, amount, nothing)
    proof.check(net)
    net, _x, proof = altered(kind, target, amount, spoil)
    with pytest.raises(ts.VerificationError, match="made of other entries than those that are left"):
        proof.check(net)


class Halves(nn.Module):
    """Splits its heads by their number alone, so that a stale one still runs."""

    inputs = (2, 7, 10)

    def __init__(self):
        super().__init__()
        self.heads = 4
        self.q, self.k, self.v, self.o = nn.Linear(10, 24), nn.Linear(10, 24), nn.Linear(10, 24), nn.Linear(24, 10)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = (f(x).view(n, length, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.o(mixed.transpose(1, 2).flatten(2))


def test_a_stale_integer():
    def forget(kept, attributes):
        assert attributes.pop(("", "heads")) == 2

    net, x, proof = altered(Halves, "q", 0.5, forget)
    assert net(x).shape == (2, 7, 10), "it runs"
    with pytest.raises(ts.VerificationError):
        proof.check(net)


def test_one_of_two_tied_tensors():
    net, x, proof = altered(Tied, "embed", 0.5, nothing)
    net.head.weight = nn.Parameter(net.head.weight.detach().clone())
    assert net(x).shape == (2, 5, 11), "it runs"
    with pytest.raises(ts.VerificationError, match=r"other tensors than before: head\.weight"):
        proof.check(net)


def test_a_tensor_of_another_size():
    net, _x, proof = altered(Residual, "stem", 0.5, nothing)
    net.fc = nn.Linear(4, 5).double()
    net.block1.conv1 = nn.Conv2d(4, 7, 3, padding=1).double()
    with pytest.raises(ts.VerificationError, match="does not run any more"):
        proof.check(net)


def test_another_answer():
    net, _x, proof = altered(Residual, "stem", 0.5, nothing)
    net.fc = nn.Linear(4, 6).double()
    with pytest.raises(ts.VerificationError, match="answers tensors of other shapes"):
        proof.check(net)


def test_nothing_is_changed_where_the_certificate_fails(monkeypatch):
    net, x = built(Residual)
    before = {name: p for name, p in net.named_parameters()}

    def fail(*_):
        raise ts.VerificationError("no")

    monkeypatch.setattr(pruning, "certify", fail)
    with pytest.raises(ts.VerificationError):
        ts.prune(net, "stem", 0.5, example_inputs=x)
    assert all(p is before[name] for name, p in net.named_parameters())
    assert torch.isfinite(net(x)).all()


# --- widened


def wider(kind, target, width, spoil):
    """A network widened as `spoil` has changed it, and the proof that it has to stand."""
    net, x = built(kind)
    proof, _, edit = widening.prepare(net, widening.Asked(target, width, None, 0.0, False, None), x)
    kept = {name: dict(axes) for name, axes in edit.kept.items()}
    attributes = dict(edit.attributes)
    spoil(kept, attributes)
    ts.plan(net, x).then(replace(edit, kept=kept, attributes=tuple(attributes.items()))).apply()
    return net, replace(proof, cut=replace(proof.cut, kept=kept))


def test_a_right_widening_passes():
    net, proof = wider(Residual, "stem", 12, nothing)
    proof.check(net)


def at_the_end(name, axis):
    """The copies at the end of the axis, and not behind their originals."""

    def spoil(kept, attributes):
        indices = kept[name][axis]
        first = list(dict.fromkeys(indices))
        left = list(indices)
        for i in first:
            left.remove(i)
        kept[name][axis] = (*first, *left)

    return spoil


def stale(kept, attributes):
    attributes.clear()


def of_another(name, axis):
    """A copy of another channel than in the layers coupled to it."""

    def spoil(kept, attributes):
        first, second, *rest = kept[name][axis]
        kept[name][axis] = (first, second + 1, *rest)

    return spoil


NOT_WIDENED_SO = {
    "copies at the end of one layer": (Residual, "stem", 12, at_the_end("block2.conv1.weight", 1)),
    "another channel copied in a buffer": (Residual, "block1.conv1", 12, of_another("block1.bn1.running_mean", 0)),
    "copies behind another part of a concatenation": (Joined, "a", 8, at_the_end("c.weight", 1)),
    "heads behind each other in one layer only": (Heads, "qkv", 2.0, at_the_end("out.weight", 1)),
    "a stale integer": (Heads, "qkv", 2.0, stale),
}


@pytest.mark.parametrize("wrong", NOT_WIDENED_SO)
def test_a_wrong_widening_does_not(wrong):
    net, proof = wider(*NOT_WIDENED_SO[wrong])
    with pytest.raises(ts.VerificationError):
        proof.check(net)


class Interleaved(nn.Module):
    """Queries, keys and values of each head beside each other, so that parts are divided within heads."""

    inputs = (2, 7, 10)

    def __init__(self):
        super().__init__()
        self.heads, self.qkv, self.out = 2, nn.Linear(10, 48), nn.Linear(16, 3)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, self.heads, -1).transpose(1, 2).chunk(3, -1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.out(mixed.transpose(1, 2).flatten(2))


def test_parts_of_heads_of_which_one_is_left():
    net, _x, proof = altered(Interleaved, "qkv", 0.5, nothing)
    assert net.heads == 1
    proof.check(net)
