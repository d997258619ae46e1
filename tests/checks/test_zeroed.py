"""What was pruned against the model before with zeros in the places that went."""

import copy
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

import torchsurgery as ts

NAME = "pruned equals zeroed"


def line(checks):
    return next((line for line in checks.lines if line.name == NAME), None)


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(96, 4)]
    return nn.Sequential(*layers).eval()


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_residual_network_agrees_to_the_last_digits():
    torch.manual_seed(0)
    model, x = torchvision.models.resnet18(num_classes=10).eval(), torch.randn(2, 3, 64, 64)
    done = ts.prune(model, amount=0.5, example_inputs=x)
    found = line(ts.check(model, x))
    assert found.ok
    assert not found.remark
    assert found.detail.startswith("they agree")
    assert "float64" in found.detail
    done.undo()
    assert line(ts.check(model, x)) is None


class Complex(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8, dtype=dtype), nn.Linear(8, 3, dtype=dtype)

    def forward(self, x):
        return self.b(self.a(x.to(self.a.weight.dtype)))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_zeroed_too(dtype):
    net, x = Complex(dtype), torch.randn(2, 4)
    done = ts.prune(net, "a", 0.5, example_inputs=x)
    assert line(ts.check(net, x)).detail.startswith("they agree")
    assert done.in_force


def test_it_is_asked_with_what_the_model_has_learnt_since(net):
    done = ts.prune(net, "0", 0.5, example_inputs=X)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net.train()
    net(X).square().sum().backward()
    optimizer.step()
    net.eval()
    assert not line(ts.check(net, X)).remark
    assert done.in_force


def test_everything_is_left_as_it_was(net):
    net.double().train()
    done = ts.prune(net.float(), "0", channels=[1, 5], example_inputs=X)
    before = copy.deepcopy(net.state_dict())
    objects = dict(net.named_parameters())
    ts.check(net, X)
    assert net.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(dict(net.named_parameters())[key] is value for key, value in objects.items())
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    done.undo()
    assert net[0].out_channels == 8


def swapped(net):
    """A cut of the first layer that its norm, and what takes it, do not follow."""
    edit = ts.plan(net, X).prune("0", channels=[1, 5]).planned[0].edit
    wrong = {**edit.kept, "3.weight": {1: (0, 1, 2, 3, 4, 5)}}
    return replace(edit, kept=wrong)


def test_a_cut_at_swapped_indices_is_found(net):
    done = ts.plan(net).then(swapped(net)).apply()
    with pytest.raises(ts.VerificationError, match="answers otherwise") as raised:
        ts.check(net, X)
    assert raised.value.name == "0"
    assert raised.value.got > raised.value.expected
    assert "ignore='0'" in str(raised.value)
    done.undo()


def test_a_cut_at_swapped_indices_is_rolled_back_by_apply(net):
    plan = ts.plan(net).then(swapped(net))
    with pytest.raises(ts.VerificationError, match="answers otherwise"):
        plan.apply(check=X)
    assert net[0].out_channels == 8
    plan.apply()


def test_what_is_normalised_over_is_named():
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 6)
    done = ts.prune(net, "0", 0.5, example_inputs=x)
    found = line(ts.check(net, x))
    assert found.remark
    assert "normalis" in found.detail or "layer_norm" in found.detail
    assert done.in_force


def test_a_later_surgery_stands_in_the_way_and_says_so(net):
    done = [ts.prune(net, "0", 0.5, example_inputs=X), ts.replace(net, nn.ReLU, nn.GELU)]
    found = line(ts.check(net, X))
    assert found.remark
    assert "last surgery" in found.detail
    done[1].undo()
    assert not line(ts.check(net, X)).remark


def test_a_pruning_that_nobody_holds_is_said_not_to_be_compared(net):
    ts.prune(net, "0", 0.5, example_inputs=X)
    found = line(ts.check(net, X))
    assert found.remark
    assert "nobody holds" in found.detail


def test_of_a_widening_that_nobody_holds_there_is_nothing_to_compare(net):
    ts.widen(net, "0", 12, example_inputs=X)
    assert line(ts.check(net, X)) is None


def test_other_edits_of_the_plan_are_left_out_of_it(net):
    plan = ts.plan(net, X).replace(nn.ReLU, nn.GELU).prune("0", 0.5).insert(nn.Dropout(0.1), after="2").prune("3", 0.5)
    done = plan.apply()
    lines = [line for line in ts.check(net, X).lines if line.name == NAME]
    assert [found.remark for found in lines] == [False, False]
    assert net[3].out_channels == 3
    assert len(done.planned) == 4


def test_a_wrong_cut_among_other_edits_is_found(net):
    done = ts.plan(net).then(swapped(net)).replace(nn.ReLU, nn.GELU).apply()
    with pytest.raises(ts.VerificationError, match="answers otherwise"):
        ts.check(net, X)
    assert done.in_force


def test_on_meta_there_are_no_numbers(net):
    net.to("meta")
    done = ts.prune(net, "0", 0.5, example_inputs=X.to("meta"), by=ts.importance.random)
    assert "no numbers on meta" in line(ts.check(net, X.to("meta"))).detail
    assert done.in_force


def test_a_layer_that_casts_is_given_what_float32_allows():
    class Casting(nn.Module):
        def forward(self, x):
            return x.float().tanh().to(x.dtype)

    net = nn.Sequential(nn.Linear(6, 8), Casting(), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 6)
    done = ts.prune(net, "0", 0.5, example_inputs=x)
    assert "computes in less" in line(ts.check(net, x)).detail
    assert done.in_force


def test_a_model_that_is_random_is_not_compared():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    net = nn.Sequential(nn.Linear(6, 8), Noisy(), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 6)
    done = ts.prune(net, "0", 0.5, example_inputs=x)
    assert "random" in line(ts.check(net, x)).detail
    assert done.in_force


def test_what_does_not_run_in_float64_is_not_compared():
    class Picky(nn.Module):
        def forward(self, x):
            assert x.dtype is torch.float32
            return x

    net = nn.Sequential(nn.Linear(6, 8), Picky(), nn.Linear(8, 2)).eval()
    x = torch.randn(3, 6)
    done = ts.prune(net, "0", 0.5, example_inputs=x)
    assert "float64 (AssertionError)" in line(ts.check(net, x)).detail
    assert done.in_force


def test_a_model_put_together_otherwise_since_says_so(net):
    done = ts.prune(net, "0", 0.5, example_inputs=X)
    net[3] = nn.Conv2d(4, 6, 3)
    assert "the model before" in line(ts.check(net, X)).detail
    assert done.in_force
