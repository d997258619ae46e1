"""Entries are taken as `index_select` takes them, by whichever way is quickest."""

import pytest
import torch
from torch import nn

from torchsurgery import slicing
from torchsurgery.slicing import Reader, blocks_of, index_of, taken


def expected(tensor, entries):
    for axis, indices in entries.items():
        tensor = tensor.index_select(axis, torch.tensor(indices))
    return tensor


KEPT = [{0: (4, 0, 2)}, {1: (1, 3)}, {0: (5, 1), 1: (0, 4, 4, 2)}, {0: (0, 1, 2, 3, 4, 5), 1: (3,)}, {0: (3, 1)}]


@pytest.mark.parametrize("at_once", [1, 16, 10**6], ids=["row by row", "some rows", "not by rows"])
@pytest.mark.parametrize("kept", KEPT, ids=str)
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_each_way(shape, kept, dtype, at_once, monkeypatch):
    monkeypatch.setattr(slicing, "_AT_ONCE", at_once)
    tensor = torch.randn(shape).mul(100).to(dtype)
    found = taken(tensor, kept)
    assert torch.equal(found, expected(tensor, kept))
    assert found.dtype is dtype and found.is_contiguous()
    found += 1  # it has memory of its own
    assert torch.equal(taken(tensor, kept) + 1, found)


@pytest.fixture
def by_rows(monkeypatch):
    """How often columns were taken row by row."""
    seen, way = [], slicing._by_rows
    monkeypatch.setattr(slicing, "_by_rows", lambda *given: seen.append(given) or way(*given))
    return seen


def test_large_tensors_are_gone_through_once(by_rows):
    tensor, kept = torch.randn(400, 300), {1: tuple(range(0, 300, 2)), 0: tuple(range(399, 0, -3))}
    assert torch.equal(taken(tensor, kept), tensor.flip(0)[:399:3][:, ::2])
    assert torch.equal(taken(nn.Parameter(tensor), kept).detach(), taken(tensor, kept))
    assert len(by_rows) == 3


@pytest.mark.parametrize(
    "tensor",
    [torch.randn(300, 400).T, torch.randn(400, 300, device="meta"), torch.randn(40, 30), torch.randn(400, 300).half()],
    ids=["transposed", "on meta", "small", "in 16 bits"],
)
def test_what_is_taken_by_torch(tensor, by_rows):
    found = taken(tensor, {0: (3, 1), 1: (2, 0, 5)})
    assert found.shape == (2, 3) and not by_rows
    if not tensor.is_meta:
        assert torch.equal(found, tensor[[3, 1]][:, [2, 0, 5]])


@pytest.mark.parametrize("kept", [{0: (0, 400), 1: (0,)}, {0: (0,), 1: (-1,)}], ids=str)
def test_entries_beyond_the_end_are_an_error(kept):
    with pytest.raises((IndexError, RuntimeError)):
        taken(torch.randn(400, 300), kept)


def test_nothing_is_left_of_an_axis():
    assert taken(torch.randn(400, 300), {0: (), 1: (1, 2)}).shape == (0, 2)


def test_blocks_of_their_own():
    tensor = torch.arange(12).view(4, 3)
    assert taken(tensor, {1: ((0, 1), (2, 1))}).tolist() == [[0, 1], [3, 4], [8, 7], [11, 10]]
    assert taken(tensor, {0: (0, 3), 1: ((0, 1), (2, 1))}).tolist() == [[0, 1], [11, 10]]


def test_without_axes_it_is_the_tensor_itself():
    tensor = torch.randn(3)
    assert taken(tensor, {}) is tensor


def test_one_list_is_one_block():
    assert blocks_of((3, 1)) == ((3, 1),)
    assert blocks_of(((3, 1), (0, 2))) == ((3, 1), (0, 2))
    assert blocks_of(()) == ((),)


def test_lists_are_read_with_their_bounds():
    index = index_of((3, 1))
    assert index.tensor.tolist() == [3, 1] and index_of(()).tensor.dtype == torch.int64
    assert index.fits(4) and not index.fits(3)
    assert not index_of((0, -1)).fits(4) and not index_of(()).fits(4)


def test_a_list_of_several_axes_is_read_once():
    reader, rows, groups = Reader(), (3, 1), ((0, 1), (2, 1))
    assert reader(rows)[0] is reader(rows)[0]
    assert [index.tensor.tolist() for index in reader(groups)] == [[0, 1], [2, 1]]
    assert [reader(tuple([number]))[0].tensor.item() for number in range(99)] == list(range(99))
