"""The parts against `scaled_dot_product_attention` on masks spelled out."""

import pytest
import torch
from torch.nn import functional as F

from torchsurgery.layers.attending import attended, joint_mask, split_in_heads

DOUBLE = {"dtype": torch.float64}


def heads():
    return tuple(torch.randn(2, 3, length, 4, **DOUBLE) for length in (5, 6, 6))


def test_heads_are_slices_of_the_features():
    x = torch.arange(2 * 5 * 12).view(2, 5, 12)
    split = split_in_heads(x, 3)
    assert split.shape == (2, 3, 5, 4) and torch.equal(split[:, 1], x[..., 4:8])


def test_two_masks_are_one():
    q, _, _ = heads()
    causal, padding = torch.ones(5, 6, dtype=torch.bool).triu(1), torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    mask = joint_mask(causal, padding, q)
    hidden = causal[None, None] | padding[:, None, None]
    assert mask.dtype is torch.float64 and torch.equal(mask == float("-inf"), hidden.expand(2, 1, 5, 6))
    assert joint_mask(None, None, q) is None
    assert joint_mask(None, padding[0], q[:1]).shape == (1, 1, 1, 6)
    assert joint_mask(torch.zeros(2 * 3, 5, 6, **DOUBLE), None, q).shape == (2, 3, 5, 6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_weighted_as_torch_weighs(need_weights):
    q, k, v = heads()
    mask = torch.randn(5, 6, **DOUBLE)
    answer, weights = attended(q, k, v, mask, 0.0, 0.3, need_weights)
    assert torch.allclose(answer, F.scaled_dot_product_attention(q, k, v, mask, scale=0.3), rtol=1e-12, atol=1e-12)
    assert (weights is None) == (not need_weights)
    if weights is not None:
        assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5, **DOUBLE)) and torch.allclose(weights @ v, answer)


def test_dropout_takes_weights_away():
    q, k, v = heads()
    _, weights = attended(q, k, v, None, 0.5, 0.5, True)
    assert 0 < (weights == 0).double().mean() < 1
