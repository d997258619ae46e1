import pytest
import torch
from holding import converted
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchsurgery.layers.conversion import Fidelity


@given(st.sampled_from(["sum", "mean", "max"]), st.booleans())
def test_a_bag_of_one_is_the_entry(mode, padded):
    old = nn.Embedding(7, 3, padding_idx=2 if padded else None, dtype=torch.float64)
    conversion, new = converted(old, nn.EmbeddingBag, mode=mode)
    entries = torch.tensor([0, 1, 3, 6])
    assert new.weight is old.weight and new.padding_idx == old.padding_idx
    assert conversion.fidelity is Fidelity.APPROXIMATE and "bags of one" in conversion.remarks[0]
    assert torch.equal(new(entries[:, None]), old(entries))
    _, back = converted(new, nn.Embedding)
    assert torch.equal(back(entries), old(entries))


def test_itself():
    old = nn.Embedding(7, 3, max_norm=1.0)
    assert converted(old, nn.Embedding)[0].fidelity is Fidelity.EXACT
    assert converted(old, nn.Embedding, sparse=True)[0].fidelity is Fidelity.EXACT
    assert converted(old, nn.Embedding, max_norm=2.0)[0].fidelity is Fidelity.APPROXIMATE
    conversion, new = converted(old.requires_grad_(False), nn.Embedding)
    assert not new.weight.requires_grad and conversion.fidelity is Fidelity.EXACT
    assert converted(nn.EmbeddingBag(7, 3), nn.EmbeddingBag, mode="max")[0].fidelity is Fidelity.APPROXIMATE


@pytest.mark.parametrize("cls", [nn.Embedding, nn.EmbeddingBag])
def test_more_entries_and_fewer(cls):
    old = cls(6, 3, dtype=torch.float64)
    conversion, new = converted(old, cls, num_embeddings=9)
    assert conversion.fidelity is Fidelity.INITIALISED and torch.equal(new.weight[:6], old.weight)
    assert conversion.remarks == ("the first 6 entries go on, of 9",) and new.weight[6:].abs().min() > 0
    conversion, new = converted(old, cls, num_embeddings=4)
    assert conversion.fidelity is Fidelity.APPROXIMATE and torch.equal(new.weight, old.weight[:4])
    assert converted(old, cls, embedding_dim=5)[0].fidelity is Fidelity.INITIALISED
