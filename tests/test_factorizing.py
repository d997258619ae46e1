import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.layers.assembling import build
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.lowrank import factoring
from torchsurgery.layers.padded import PADDED

DOUBLE = {"dtype": torch.float64}


def relative(old, new, x):
    with torch.no_grad():
        y, z = old(x), new(x)
    return float((y - z).norm() / y.norm())


def without_bias(layer):
    layer = copy.deepcopy(layer)
    layer.bias = None
    return layer


@st.composite
def layers(draw):
    if draw(st.booleans()):
        return nn.Linear(draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.booleans()), **DOUBLE)
    axes = draw(st.integers(1, 3))

    def each(values):
        return tuple(draw(st.sampled_from(values)) for _ in range(axes))

    cls = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    mode = draw(st.sampled_from(["zeros", "circular", "reflect"]))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 6)), each([1, 2, 3]), each([1, 2]), each([0, 1]))
    return cls(*shape, dilation=each([1, 2]), bias=draw(st.booleans()), padding_mode=mode, **DOUBLE)


def inputs(layer):
    if isinstance(layer, nn.Linear):
        return torch.randn(5, layer.in_features, **DOUBLE)
    return torch.randn(2, layer.in_channels, *[7] * (layer.weight.dim() - 2), **DOUBLE)


# --- one layer


@settings(max_examples=100)
@given(layers(), st.integers(1, 9), st.booleans())
def test_full_rank_is_exact_and_less_is_as_far_off_as_is_said(old, rank, separated):
    found = factoring(old, "depthwise" if separated else "thin")
    conversion = found.conversion(rank)
    new, x = build(conversion, old), inputs(old)
    assert type(new) is nn.Sequential and old(x).shape == new(x).shape
    if rank >= found.full_rank:
        assert conversion.fidelity is Fidelity.EXACT and torch.allclose(old(x), new(x), rtol=1e-10, atol=1e-10)
        return
    matrices = found.matrices
    again = torch.linalg.svdvals(matrices).square()
    assert conversion.error == pytest.approx((again[:, rank:].sum() / again.sum()).sqrt().item(), abs=1e-9)
    assert sum(p.numel() for n, p in new.named_parameters() if n.endswith("weight")) == found.size(rank)


@pytest.mark.parametrize("separated", [False, True])
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_predicted_error_is_the_measured_one(rank, separated):
    conv = nn.Conv2d(6, 12, 3, bias=False, **DOUBLE)
    conversion = factoring(conv, "depthwise" if separated else "thin").conversion(rank)
    measured = relative(conv, build(conversion, conv), torch.randn(8, 6, 40, 40, **DOUBLE))
    assert measured == pytest.approx(conversion.error, rel=0.03)
    linear = nn.Linear(30, 20, bias=False, **DOUBLE)
    conversion = factoring(linear).conversion(rank)
    measured = relative(linear, build(conversion, linear), torch.randn(20000, 30, **DOUBLE))
    assert measured == pytest.approx(conversion.error, rel=0.03)


def test_the_best_approximation_of_that_rank():
    linear = nn.Linear(6, 5, **DOUBLE)
    new = build(factoring(linear).conversion(2), linear)
    product = (new[1].weight @ new[0].weight).detach()
    left, values, right = torch.linalg.svd(linear.weight.detach())
    assert torch.allclose(product, left[:, :2] * values[:2] @ right[:2], atol=1e-12)
    assert torch.linalg.matrix_norm(linear.weight.detach() - product, 2).item() == pytest.approx(values[2].item())
    assert torch.equal(new[1].bias, linear.bias) and new[0].bias is None


def test_energy_is_the_share_that_is_kept():
    linear = nn.Linear(3, 3, bias=False, **DOUBLE)
    with torch.no_grad():
        linear.weight.copy_(torch.diag(torch.tensor([3.0, 4.0, 12.0])))  # squares 144 + 16 + 9 = 169
    found = factoring(linear)
    ranks = [found.rank_for(energy) for energy in (0.5, 144 / 169, 0.86, 160 / 169, 0.99, 1.0)]
    assert ranks == [1, 1, 2, 2, 3, 3]
    assert found.error(1) == pytest.approx((25 / 169) ** 0.5) and found.error(3) == 0


def test_dtype_mode_and_freezing():
    conv = nn.Conv2d(4, 8, 3, dtype=torch.bfloat16).requires_grad_(False).eval()
    new = build(factoring(conv).conversion(2), conv)
    assert {p.dtype for p in new.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in new.parameters()) and not any(m.training for m in new.modules())


# --- models


def test_a_network(resnet18, images):
    before, y = portrait(resnet18), resnet18(images)
    plan = ts.factorize(ts.plan(resnet18), energy=0.8)
    assert portrait(resnet18) == before
    assert "truncated SVD, rank" in str(plan) and "approximate (relative error about 0.4" in str(plan)
    done = plan.apply(check=images)
    assert plan.after.params < plan.before.params
    for change in done.changes:
        assert type(change.standing) is nn.Sequential and change.error < 0.2**0.5 + 1e-6
        size = sum(p.numel() for p in change.standing.parameters())
        assert size < sum(p.numel() for p in change.old.parameters())
    done.undo()
    assert portrait(resnet18) == before and torch.equal(resnet18(images), y)


def test_what_is_left_alone_and_why():
    net = nn.ModuleDict(
        {
            "thin": nn.Linear(4, 64),
            "wide": nn.Linear(64, 64),
            "padded": PADDED[1](8, 8, 2, ((0, 1), (0, 1))),
            "grouped": nn.Conv2d(8, 8, 3, groups=2),
            "tied": nn.Linear(64, 64),
            "also": nn.Linear(64, 64),
            "attention": nn.MultiheadAttention(64, 2),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)),
        }
    )
    net["also"].weight = net["tied"].weight
    plan = ts.factorize(ts.plan(net), rank=8)
    assert [change.name for change in plan.changes] == ["wide"]
    left = plan.planned[0].left
    assert left.pop("normed").startswith("ParametrizedLinear can't be converted")
    assert left == {
        "thin": "rank 8 saves nothing",
        "padded": "it pads each side by itself",
        "grouped": "it is grouped",
        "tied": "its weight is tied to that of another layer",
        "also": "its weight is tied to that of another layer",
        "attention.out_proj": "its weight is read, it is never called",
    }
    assert "left as they are (its weight is tied to that of another layer): tied, also" in str(plan)


def test_old_checkpoints_are_refused_by_torch_and_pickles_need_nothing_of_ours():
    net = nn.Sequential(nn.Linear(32, 32))
    state = net.state_dict()
    ts.factorize(net, rank=4)
    assert list(net.state_dict()) == ["0.0.weight", "0.1.weight", "0.1.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict(state)
    assert b"torchsurgery" not in pickle.dumps(net)


def test_training_goes_on_and_later_training_counts():
    net = nn.Sequential(nn.Linear(32, 32, **DOUBLE))
    plan = ts.factorize(ts.plan(net), rank=32 // 4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with torch.no_grad():
        net[0].weight.mul_(3)
    expected = build(factoring(net[0]).conversion(8), net[0])
    average = torch.optim.swa_utils.AveragedModel(net)
    plan.apply(optimizer=optimizer, ema=average)
    x = torch.randn(4, 32, **DOUBLE)
    assert torch.allclose(net(x), expected(x)) and torch.allclose(average(x), net(x))
    net(x).square().sum().backward()
    before = net[0][0].weight.clone()
    optimizer.step()
    assert not torch.equal(before, net[0][0].weight)


def test_a_transformer_layer_runs_alike_in_train_and_eval():
    net = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, **DOUBLE).eval()
    ts.factorize(net, rank=8)
    x = torch.randn(2, 5, 32, **DOUBLE)
    assert torch.allclose(net(x), net.train()(x)) and type(net.linear1) is nn.Sequential


def test_on_meta():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(64, 64))
    ts.factorize(net, rank=4)
    assert net(torch.empty(2, 64, device="meta")).shape == (2, 64) and net[0][0].weight.is_meta
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(64, 64))
    with pytest.raises(ts.PlanError, match="no singular values"):
        ts.factorize(net, energy=0.9)


def test_separated_convolutions(images):
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1)).eval()
    y = net(images)
    done = ts.factorize(net, separated=True, rank=2)
    first, second = net[0]
    assert (first.groups, first.out_channels, second.kernel_size) == (3, 6, (1, 1))
    assert net(images).shape == y.shape and 0 < done.changes[0].error < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of rank= and energy="),
        ({"rank": 2, "energy": 0.5}, "one of rank= and energy="),
        ({"rank": 0}, "at least 1"),
        ({"rank": 2.0}, "at least 1"),
        ({"energy": 0}, "a share in"),
        ({"energy": 1.5}, "a share in"),
        ({"rank": 60}, "none of the 1 layers"),
    ],
)
def test_bad_arguments(options, words):
    net = nn.Sequential(nn.Linear(64, 64))
    before = portrait(net)
    with pytest.raises(ts.PlanError, match=words):
        ts.factorize(net, **options)
    assert portrait(net) == before


def test_nothing_selected():
    with pytest.raises(ts.SelectionError):
        ts.factorize(nn.Sequential(nn.ReLU()), rank=2)
