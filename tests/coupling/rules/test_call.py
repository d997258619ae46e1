"""What a rule says of the sizes that the code gives, and of entries that are looked at."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import Function, members


def test_entries_counted_by_a_number_stay():
    net = nn.Sequential(nn.Linear(4, 8), Function(lambda x: x + x[:, 2:3]), nn.Linear(8, 2))
    coupling = ts.trace(net, torch.zeros(2, 4))
    assert members(coupling.group("0"))["0.weight", 0] == (3, 4, 5, 6, 7)
    assert "the code counts 2 of its entries" in str(coupling.why("0")[0])


def test_a_slice_taken_for_its_shape_freezes_nothing():
    net = nn.Sequential(nn.Linear(4, 8), Function(lambda x: x * (1 + x[:, 0].shape[0])), nn.Linear(8, 2))
    assert len(ts.trace(net, torch.zeros(2, 4)).group("0")) == 8


class Added(nn.Module):
    """Adds something made in the forward, as wide as `wide` says."""

    def __init__(self, wide):
        super().__init__()
        self.wide, self.width = wide, 8
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        made = x.new_ones(torch.tensor(3), self.wide(self))
        return self.head(self.stem(x) + made)


def test_a_size_that_is_a_tensor_says_nothing_of_the_others():
    model = Added(lambda net: net.width)
    ts.prune(model, "stem", 4, example_inputs=torch.zeros(3, 4))
    assert (model.stem.out_features, model.width) == (4, 4)


@pytest.mark.parametrize("wide", [lambda net: 8, lambda net: torch.tensor(net.width)], ids=["number", "tensor"])
def test_what_is_made_by_numbers_stays(wide):
    coupling = ts.trace(Added(wide), torch.zeros(3, 4))
    assert "the code says 8 (new_ones)" in str(coupling.why("stem")[0])
