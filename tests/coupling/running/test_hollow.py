"""Tensors without values are what PyTorch would make, and a trace can make as many as it likes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchsurgery.coupling.running.hollow import channels_last, hollow, hollow_like, in_rows

shapes = st.lists(st.integers(0, 4), max_size=4)


def same(one, other):
    return (one.shape, one.stride(), one.dtype, one.device) == (other.shape, other.stride(), other.dtype, other.device)


@pytest.fixture(params=[False, True], ids=["plain", "inference"], autouse=True)
def _mode(request):
    with torch.inference_mode(request.param):
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex128, torch.bool])
def test_it_is_as_asked_for(dtype):
    made = hollow((2, 3), (1, 2), dtype)
    assert same(made, torch.empty_strided((2, 3), (1, 2), dtype=dtype, device="meta"))
    assert made.is_inference() == torch.is_inference_mode_enabled() and made._base is None


@pytest.mark.parametrize("inference", [False, True])
@given(shapes)
def test_in_rows(inference, shape):
    with torch.inference_mode(inference):
        assert same(in_rows(shape, torch.float16), torch.empty(shape, dtype=torch.float16, device="meta"))


def test_channels_last():
    for shape in ((2, 3, 4, 5), (1, 1, 1, 1), (0, 3, 2, 2)):
        expected = torch.empty(shape, device="meta", memory_format=torch.channels_last)
        assert same(channels_last(shape, torch.float32), expected)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_like(order):
    x = torch.empty(2, 3, 4, device="meta").permute(order)
    assert same(hollow_like(x), torch.empty_like(x))
    assert same(hollow_like(x, torch.bool), torch.empty_like(x, dtype=torch.bool))


def test_each_has_a_place_of_its_own():
    one, other = hollow((3, 4), (4, 1), torch.float32), hollow((4,), (1,), torch.float32)
    one.add_(other)  # PyTorch refuses what overlaps in part
    assert not torch.is_inference_mode_enabled() or one.storage_offset() != other.storage_offset()


def test_one_that_is_larger_than_its_place_is_a_tensor_of_its_own():
    made = hollow((2**20, 2**20), (2**20, 1), torch.float32)
    assert made.shape == (2**20, 2**20) and made.storage_offset() == 0
