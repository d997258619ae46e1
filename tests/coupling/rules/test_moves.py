"""Entries that are joined, cut out and written to."""

import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE, Joined, members


def test_concatenation_shifts_indices():
    coupling = ts.trace(Joined(), IMAGE)
    assert members(coupling.group("a"))["c.weight", 1] == (0, 1, 2, 3)
    assert members(coupling.group("b"))["c.weight", 1] == (4, 5, 6, 7, 8, 9)


class Written(nn.Module):
    """Writes into the first half of its channels, however many these are; reads a weight in two parts."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 10), nn.Linear(10, 3)

    def forward(self, x):
        x = self.a(x)
        half = x.shape[1] // 2
        x[:, :half] = x[:, :half] * 2
        x[:, half:] *= 3
        rows = len(self.b.weight) // 2
        return self.c(torch.cat([x @ self.b.weight[:rows].T, x @ self.b.weight[rows:].T], -1) + self.b.bias)


def test_halves_that_are_written_to_follow():
    net, x = Written().double(), torch.randn(2, 6, dtype=torch.double)
    coupling = ts.trace(net, x)
    assert coupling.why("a") == ()
    assert coupling.has_channels("b")
    done = ts.prune(net, "a", 0.5, example_inputs=x)
    assert net.a.out_features == 4
    assert "agree" in str(ts.check(net, x))
    done.undo()
