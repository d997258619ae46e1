"""What counts the same tokens, and how long it gets."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.cuts.tokens import Tokens


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head, self.other = nn.Embedding(7, 4), nn.Linear(4, 7), nn.Linear(4, 7)
        self.head.weight = self.embed.weight
        self.register_buffer("shift", torch.zeros(7))

    def forward(self, ids):
        x = self.embed(ids)
        return self.head(x) + self.shift, self.other(x)


@pytest.fixture
def tokens():
    return Tokens(ts.trace(Language(), torch.tensor([[0, 1]])), {("embed.weight", 0): 3})


def test_places(tokens):
    assert set(tokens.places()) == {("embed.weight", 0, 3), ("head.bias", 0, 3), ("shift", 0, 3)}


def test_cut(tokens):
    cut = tokens.cut()
    assert cut.kept["embed.weight"] == {0: (0, 1, 2, 3, 4, 5, 6, 6, 6, 6)}
    assert "other.weight" not in cut.kept
    assert cut.answers == [(1, 2, 10), (1, 2, 7)]


def test_count(tokens):
    leaves = tokens.coupling.record.leaves
    assert tokens.count(leaves["shift"][0]) == 10
    assert tokens.count(leaves["other.weight"][0]) == 7
    assert tokens.count(leaves["embed.weight"][1]) == 4


def test_tokens_in_the_middle():
    class Longer(Language):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(9))

        def forward(self, ids):
            return self.head(self.embed(ids)) * self.scale[:7]

    tokens = Tokens(ts.trace(Longer(), torch.tensor([[0, 1]])), {("embed.weight", 0): 3})
    with pytest.raises(ts.CouplingError, match="scale has 9 entries, of which the last token is entry 6"):
        tokens.cut()
