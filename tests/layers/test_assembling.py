import copy

import pytest
import torch
from torch import nn

from torchsurgery.layers.assembling import build
from torchsurgery.layers.building import skeleton
from torchsurgery.layers.converting import convert, like


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_dtype_and_device_are_carried(dtype, device):
    old = nn.Conv2d(2, 4, 1, bias=False, device=device, dtype=dtype)
    for overrides in ({"kernel_size": 3}, {"in_channels": 6}, {"bias": True}):
        new = like(old, nn.Conv2d, **overrides)
        assert {(p.dtype, p.device.type) for p in new.parameters()} == {(dtype, device)}
    assert like(nn.BatchNorm2d(4, device=device, dtype=dtype), nn.Conv2d).weight.dtype is dtype


@pytest.mark.parametrize("mode", [True, False])
def test_mode_is_carried_to_all_parts(mode):
    class Block(nn.Module):
        def __init__(self, inplace=False):
            super().__init__()
            self.drop = nn.Sequential(nn.Dropout())

    new = like(nn.ReLU().train(mode), Block)
    assert {part.training for part in new.modules()} == {mode}


def test_frozen_stays_frozen():
    old = nn.Conv2d(2, 4, 1).requires_grad_(False)
    new = like(old, nn.Conv2d, kernel_size=3)
    assert not new.weight.requires_grad and not new.bias.requires_grad
    new = like(old, nn.Conv2d, in_channels=5)
    assert not new.weight.requires_grad and not new.bias.requires_grad
    new = like(old, nn.Conv2d, out_channels=5)
    assert new.weight.requires_grad and new.bias.requires_grad, "new rows have to be trained"


@pytest.mark.parametrize(("cls", "form"), [(nn.Conv2d, torch.channels_last), (nn.Conv3d, torch.channels_last_3d)])
def test_memory_format_is_carried(cls, form):
    old = cls(4, 8, 3).to(memory_format=form)
    new = like(old, cls, kernel_size=5)
    assert new.weight.is_contiguous(memory_format=form) and not new.weight.is_contiguous()
    assert like(cls(4, 8, 3), cls, kernel_size=5).weight.is_contiguous()


@pytest.mark.parametrize(("cls", "form"), [(nn.Conv2d, torch.channels_last), (nn.Conv3d, torch.channels_last_3d)])
def test_memory_format_of_a_kernel_of_one_tap_is_carried(cls, form):
    # Such a kernel is contiguous in every format.
    assert like(cls(4, 8, 1).to(memory_format=form), cls, kernel_size=3).weight.is_contiguous(memory_format=form)
    assert like(cls(4, 8, 1), cls, kernel_size=3).weight.is_contiguous()


def test_tensors_are_the_same_objects():
    old = nn.BatchNorm2d(4)
    new = like(old, nn.BatchNorm3d)
    assert all(getattr(new, name) is tensor for name, tensor in [*old.named_parameters(), *old.named_buffers()])
    assert isinstance(new.weight, nn.Parameter) and "running_mean" in new._buffers


def test_computed_tensors_are_leaves_without_a_graph():
    new = like(nn.Linear(2, 3), nn.Conv1d)
    assert new.weight.is_leaf and new.weight.grad_fn is None and new.weight.requires_grad


def test_a_reference_gives_what_the_old_layer_lacks():
    conversion = convert(nn.ReLU(), nn.PReLU, {"num_parameters": 3})
    reference = torch.zeros(1, dtype=torch.float64)
    assert build(conversion, nn.ReLU(), reference).weight.dtype is torch.float64
    assert build(conversion, nn.ReLU()).weight.dtype is torch.float32

    class Table(nn.Module):
        def __init__(self, inplace=False):
            super().__init__()
            self.weight, self.rows = nn.Parameter(torch.ones(2)), nn.Buffer(torch.arange(2))

    conversion = convert(nn.ReLU(), Table)
    new = build(conversion, nn.ReLU(), reference)
    assert new.weight.dtype is torch.float64 and new.rows.dtype is torch.int64


def test_several_layers_of_one_conversion_share_only_what_carries():
    old = nn.Conv2d(2, 4, 1)
    conversion = convert(old, nn.Conv2d, {"kernel_size": 3})
    one, other = build(conversion, old), build(conversion, old)
    assert one is not other and one.weight is not other.weight and one.bias is other.bias is old.bias
    one.note = 1
    assert not hasattr(other, "note") and one._parameters is not other._parameters


def test_a_users_constructor_runs_once():
    calls = []

    class Counted(nn.Module):
        def __init__(self, inplace=False):
            super().__init__()
            calls.append(inplace)

    like(nn.ReLU(), Counted)
    assert calls == [False]


def test_constructors_that_do_not_run_on_meta():
    class Computes(nn.Module):
        def __init__(self, in_features):
            super().__init__()
            self.scale = float(torch.ones(in_features).sum())
            self.table = nn.Buffer(torch.arange(in_features).float())

    new = like(nn.Linear(3, 2), Computes)
    assert new.scale == 3.0 and torch.equal(new.table, torch.arange(3.0))


def test_initialised_layers_are_initialised():
    old = nn.Linear(2000, 4)
    new = like(old, nn.Linear, in_features=1000)
    assert new.weight.abs().max() <= 1000**-0.5 and new.weight.std() > 0 and new.bias is old.bias


def test_skeletons_need_no_memory_and_are_copies():
    config = {"in_features": 10**6, "out_features": 10**6}
    one, other = skeleton(nn.Linear, config), skeleton(nn.Linear, config)
    assert one.weight.is_meta and one is not other and one._parameters is not other._parameters
    assert repr(one) == repr(other) and vars(one).keys() == vars(nn.Linear(1, 1)).keys()
    assert type(skeleton(nn.Dropout, {"p": 1}).p) is int and type(skeleton(nn.Dropout, {"p": 1.0}).p) is float


def test_what_is_made_copies_and_saves():
    old = nn.BatchNorm2d(4)
    new = like(old, nn.GroupNorm, num_groups=2)
    other = copy.deepcopy(new)
    other.load_state_dict(new.state_dict())
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(new(x), other(x)) and torch.equal(new(x), nn.GroupNorm(2, 4)(x))


def test_complex_layers_stay_complex():
    old = nn.Linear(4, 6, bias=False, dtype=torch.complex64)
    new = like(old, nn.Linear, bias=True)
    assert new.weight is old.weight and new.bias.dtype is torch.complex64 and not new.bias.any()
    conv = nn.Conv2d(2, 3, 1, dtype=torch.complex64)
    assert like(conv, nn.Conv2d, kernel_size=3).weight.dtype is torch.complex64
    assert like(conv, nn.Conv2d, out_channels=5).weight.dtype is torch.complex64
