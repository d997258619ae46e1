import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import torchsurgery as ts
from sameness import portrait
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like


def used(norm):
    """With statistics and an affine map unlike those of a fresh one."""
    with torch.no_grad():
        for _, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            else:
                tensor.fill_(7)
    return norm


@given(
    st.sampled_from([nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm]),
    st.booleans(),
    st.sampled_from([1e-5, 1e-2]),
    st.booleans(),
)
def test_train_is_what_eval_was(cls, affine, eps, trainable):
    old = used(cls(4, eps=eps, affine=affine, dtype=torch.float64)).eval()
    conversion, new = convert(old, ts.FrozenBatchNorm), like(old, ts.FrozenBatchNorm, trainable=trainable)
    axes = int(cls.__name__[-2]) if cls is not nn.SyncBatchNorm else 2
    x = torch.randn(3, 4, *[5] * axes, dtype=torch.float64)
    assert conversion.fidelity is Fidelity.EXACT_IN_EVAL and not conversion.lost
    assert torch.equal(new.train()(x), old(x)) and torch.equal(new.eval()(x), old(x))
    assert len(list(new.parameters())) == 2 * trainable


def test_the_network_in_train_is_the_one_in_eval(resnet18, images):
    for norm in ts.select(resnet18, nn.BatchNorm2d).modules:
        used(norm)
    before, y = portrait(resnet18), resnet18(images)
    done = ts.freeze_norms(resnet18, check=images)
    assert torch.equal(resnet18(images), y)
    resnet18.train()
    assert torch.equal(resnet18(images), y)
    resnet18.eval()
    assert len(done.changes) == 20 and not ts.select(resnet18, "bn1")[0].module._parameters
    done.undo()
    assert portrait(resnet18) == before


def test_checkpoints_load_both_ways():
    net, state = nn.Sequential(used(nn.BatchNorm2d(4))), nn.Sequential(used(nn.BatchNorm2d(4))).state_dict()
    ts.freeze_norms(net)
    net.load_state_dict(state)
    plain = nn.Sequential(nn.BatchNorm2d(4))
    plain.load_state_dict(net.state_dict())
    assert torch.equal(plain[0].running_var, state["0.running_var"]) and plain[0].num_batches_tracked == 7


def test_statistics_only():
    net = nn.Sequential(nn.BatchNorm2d(4))
    weight = net[0].weight
    ts.freeze_norms(net, statistics_only=True)
    assert net[0].weight is weight
    net(torch.randn(2, 4, 3, 3)).square().sum().backward()
    assert weight.grad.abs().sum() > 0 and torch.equal(net[0].running_mean, torch.zeros(4))


def test_an_optimizer_lets_go():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(net.parameters())
    ts.freeze_norms(ts.plan(net)).apply(optimizer=optimizer)
    assert [tuple(p.shape) for p in optimizer.param_groups[0]["params"]] == [(4, 3, 1, 1), (4,)]


def test_thawed():
    old = used(nn.BatchNorm2d(4))
    new = like(like(old, ts.FrozenBatchNorm), nn.BatchNorm2d)
    assert torch.equal(new.weight, old.weight) and new.weight.requires_grad and new.num_batches_tracked == 7


def test_norms_with_an_activation():
    timm = pytest.importorskip("timm.layers")
    net = nn.Sequential(used(timm.BatchNormAct2d(4))).eval()
    x = torch.randn(2, 4, 3, 3)
    y, act = net(x), net[0].act
    done = ts.freeze_norms(net)
    assert torch.equal(net.train()(x), y) and net[0].act is act and list(net.parameters()) == []
    done.undo()
    assert type(net[0]) is timm.BatchNormAct2d and net[0].act is act


def test_what_stays_and_why():
    class Noisy(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) + torch.randn(())

    net = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False), Noisy(4))
    plan = ts.freeze_norms(ts.plan(net))
    assert [change.name for change in plan.changes] == ["0"]
    left = plan.planned[0].left
    assert left["1"] == "BatchNorm2d tracks no statistics that could be frozen"
    assert left["2"].startswith("Noisy can't be converted to FrozenBatchNorm")
    with pytest.raises(ts.PlanError, match="none of these can be frozen"):
        ts.freeze_norms(net, "1")
    with pytest.raises(ts.PlanError, match="Linear is no batch norm"):
        ts.freeze_norms(nn.Sequential(nn.Linear(2, 2)), nn.Linear)


def test_copies_and_pickles():
    net = nn.Sequential(used(nn.BatchNorm2d(4)))
    ts.freeze_norms(net)
    x = torch.randn(2, 4, 3, 3)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
    assert ts.config_of(net[0]) == {"num_features": 4, "eps": 1e-05, "trainable": False}


def test_a_frozen_norm_is_converted_as_the_batch_norm_that_it_is_in_eval():
    old = ts.FrozenBatchNorm(8)
    old.running_mean.normal_()
    old.weight.normal_()
    assert convert(old, nn.GroupNorm, {"num_groups": 2}).fidelity is Fidelity.APPROXIMATE
    assert torch.equal(like(old, nn.GroupNorm, num_groups=2).weight, old.weight)
    x = torch.randn(2, 8, 4, 4)
    conversion = convert(old, nn.Conv2d)
    assert conversion.fidelity is Fidelity.EXACT_IN_EVAL and torch.allclose(like(old, nn.Conv2d)(x), old(x), atol=1e-5)
    assert like(old, nn.InstanceNorm1d).num_features == like(old, nn.LayerNorm).normalized_shape[0] == 8
    assert convert(old, nn.LocalResponseNorm, {"size": 3}).fidelity is Fidelity.INITIALISED
