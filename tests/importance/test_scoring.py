"""What an importance is given adds up to the weights of the layers, whichever axis is scored."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.importance.scoring import Slice


def expected(tensor, dim, exponent):
    sizes = tensor.abs().to(torch.float64 if tensor.dtype is torch.float64 else torch.float32)
    return sizes.movedim(dim, 0).reshape(tensor.shape[dim], -1).pow(exponent).sum(1)


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("shape", [(6,), (6, 4), (1, 4), (6, 4, 3, 3), (2, 6, 4)], ids=str)
def test_sums_of_powers_along_each_axis(shape, dtype, exponent):
    tensor = torch.randn(shape, dtype=dtype)
    for dim, length in enumerate(shape):
        entries = torch.arange(length).view(-1, 1)
        for first in (0, None):
            found = Slice("w", dim, "", tensor, None, entries, length, first).powers(exponent)
            torch.testing.assert_close(found, expected(tensor, dim, exponent))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_in_16_bits_tell_channels_apart(dtype):
    net = nn.Sequential(nn.Linear(9, 200), nn.Linear(200, 999)).to(dtype)
    with torch.no_grad():
        for layer in net:
            layer.weight.fill_(16.0)
            layer.bias.zero_()
        net[0].weight[:, 0] = torch.linspace(20, 30, 200)
    # In float16 each of these channels comes to infinity, in bfloat16 all of them to the same.
    done = ts.prune(net, "0", 0.5, example_inputs=torch.zeros(1, 9, dtype=dtype))
    assert float(net[0].weight[:, 0].detach().min()) > 24.9
    done.undo()
    ts.prune(net, "0", 0.5, by=ts.importance.l1, example_inputs=torch.zeros(1, 9, dtype=dtype))
    assert float(net[0].weight[:, 0].detach().min()) > 24.9


def test_sums_of_a_tensor_that_lies_otherwise_in_memory():
    tensor = torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last)
    for dim in (0, 1):
        found = Slice("w", dim, "", tensor, None, torch.arange(tensor.shape[dim]).view(-1, 1), 0).powers(2)
        torch.testing.assert_close(found, expected(tensor, dim, 2))


def test_channels_of_several_entries():
    tensor = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = Slice("w", 0, "", tensor, None, torch.tensor([[2, 0], [1, 1]]), 3).powers(1)
    assert found.tolist() == [14.0, 14.0]


def test_channels_in_another_order():
    tensor = torch.tensor([1.0, 2.0, 3.0])
    assert Slice("w", 0, "", tensor, None, torch.tensor([[2], [0]]), 3).powers(2).tolist() == [9.0, 1.0]


def test_sums_are_kept_for_whoever_asks_again():
    sums = {}
    one, other = (Slice("w", 0, "", torch.ones(4, 3), None, torch.tensor([[i]]), 4, None, sums) for i in (0, 3))
    assert one.powers(2).tolist() == [3.0]
    sums["w", 2][0][3] = 7.0
    assert other.powers(2).tolist() == [7.0]


def test_a_run_of_channels():
    tensor = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert Slice("w", 0, "", tensor, None, torch.tensor([[1], [2]]), 4, 1).powers(2).tolist() == [4.0, 9.0]


def test_sums_on_meta_have_a_shape_only():
    tensor = torch.empty(6, 4, dtype=torch.float16, device="meta")
    found = Slice("w", 1, "", tensor, None, torch.tensor([[0, 1], [2, 3]]), 4).powers(2)
    assert (found.shape, found.dtype, found.is_meta) == ((2,), torch.float16, True)
