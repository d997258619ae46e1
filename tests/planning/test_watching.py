"""Whether a factory has read the old layer's tensors."""

import copy

import pytest
import torch
from torch import nn

from torchsurgery.planning.watching import watch

READS = {
    "arithmetic": lambda old: old.weight * 2,
    "clone": lambda old: old.weight.clone(),
    "norm": lambda old: torch.linalg.norm(old.weight),
    "data": lambda old: old.weight.data,
    "copy into": lambda old: torch.zeros(2, 2).copy_(old.weight),
    "in a list": lambda old: torch.stack([old.weight]),
    "buffer": lambda old: old.buffer.sum(),
    "detach": lambda old: old.weight.detach(),
    "indexing": lambda old: old.weight[0],
    "taken over as it is": lambda old: nn.ParameterList([old.weight]),
    "deepcopy": copy.deepcopy,
    "load_state_dict": lambda old: nn.Linear(2, 2).load_state_dict(old.state_dict(), strict=False),
}
PASSES_BY = {
    "shape": lambda old: old.weight.shape,
    "dtype": lambda old: old.weight.dtype,
    "device": lambda old: old.weight.device,
    "requires_grad": lambda old: old.weight.requires_grad,
    "size": lambda old: old.weight.size(0),
    "numel": lambda old: old.weight.numel(),
    "is_floating_point": lambda old: old.weight.is_floating_point(),
    "len": lambda old: len(old.weight),
    "is None": lambda old: old.bias is not None,
    "attributes": lambda old: nn.Linear(old.in_features, old.out_features),
    "other tensors": lambda old: torch.ones(2) * 2,
}


@pytest.fixture
def old():
    layer = nn.Linear(2, 2)
    layer.register_buffer("buffer", torch.ones(2))
    return layer


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_read(old, read):
    with watch(old) as watching:
        read(old)
    assert watching.touched


@pytest.mark.parametrize("pass_by", PASSES_BY.values(), ids=PASSES_BY)
def test_not_read(old, pass_by):
    with watch(old) as watching:
        pass_by(old)
    assert not watching.touched


def test_only_for_as_long_as_it_lasts(old):
    with watch(old) as watching:
        pass
    old.weight.sum()
    assert not watching.touched
