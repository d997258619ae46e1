"""Sums of powers are those of all entries, whichever way is the quickest."""

import pytest
import torch

from torchsurgery.importance import powers
from torchsurgery.importance.powers import remembered, sums_of_powers


def summed(tensor, dims, exponent):
    return {dim: torch.as_tensor(sums) for dim, sums in sums_of_powers(tensor, dims, exponent).items()}


def expected(tensor, dim, exponent):
    return tensor.movedim(dim, 0).flatten(1).abs().pow(exponent).sum(1)


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (6, 4, 3, 3), (6, 1, 3), (0, 3)], ids=str)
def test_both_axes_of_a_weight_in_one_pass(shape, dtype, exponent):
    tensor = torch.randn(shape, dtype=dtype)
    found = summed(tensor, {0: 1, 1: 1}, exponent)
    assert list(found) == [0, 1]
    for dim in (0, 1):
        torch.testing.assert_close(found[dim], expected(tensor, dim, exponent))


def test_a_weight_of_many_rows_is_read_some_at_a_time(monkeypatch):
    monkeypatch.setattr(powers, "_AT_ONCE", 40)
    for shape in ((7, 12), (7, 50), (41, 3, 3)):
        tensor = torch.randn(shape)
        found = summed(tensor, {0: 1, 1: 1}, 2)
        for dim in (0, 1):
            torch.testing.assert_close(found[dim], expected(tensor, dim, 2))


@pytest.mark.parametrize("dims", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_other_axes(dims):
    tensor = torch.randn(3, 4, 5)
    found = summed(tensor, dict.fromkeys(dims, 1), 2)
    assert tuple(found) == dims
    for dim in dims:
        torch.testing.assert_close(found[dim], expected(tensor, dim, 2))


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (12, 2, 3, 3)], ids=str)
def test_groups_with_entries_of_their_own(shape, exponent):
    tensor = torch.randn(shape)
    found = summed(tensor, {0: 1, 1: 3}, exponent)
    torch.testing.assert_close(found[0], expected(tensor, 0, exponent))
    torch.testing.assert_close(found[1], torch.cat([expected(block, 1, exponent) for block in tensor.chunk(3)]))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(4, 3).T,
        torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.randn(4, 3, dtype=torch.complex64),
        torch.randn(4, 3).bfloat16(),
        torch.nn.Parameter(torch.randn(4, 3)).detach(),
    ],
    ids=["turned", "channels_last", "complex", "16 bits", "of a parameter"],
)
def test_however_it_lies_in_memory(tensor):
    found = summed(tensor, {0: 1, 1: 1}, 2)
    sizes = tensor.abs().float()
    for dim in (0, 1):
        torch.testing.assert_close(found[dim], expected(sizes, dim, 2))


def test_what_is_known_is_not_worked_out_again():
    sums = {}
    first = remembered(sums, "w", torch.ones(2, 3), {0: 1}, 2)
    assert {name: list(axes) for name, axes in sums.items()} == {("w", 2): [0]}
    both = remembered(sums, "w", torch.ones(2, 3), {0: 1, 1: 1}, 2)
    assert both[0] is first[0]
    assert both[1].tolist() == [2, 2, 2]
    assert remembered(sums, "w", torch.ones(2, 3), {0: 1}, 1)[0].tolist() == [3, 3]
