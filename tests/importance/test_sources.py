"""Each channel of a group is scored by its own entries of all weights that the group reaches into."""

import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.importance import Sources


class Dense(nn.Module):
    """Each layer reads what all before it have made."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Linear(3, 4), nn.Linear(7, 5), nn.Linear(12, 2)

    def forward(self, x):
        x = torch.cat([x, self.one(x)], -1)
        return self.last(torch.cat([x, self.two(x)], -1))


def sources_of(model, *inputs):
    coupling = ts.trace(model, inputs)
    return Sources(coupling, {**dict(model.named_parameters()), **dict(model.named_buffers())})


def channels(sources, name):
    return sources.coupling.classes.primes_of(sources.coupling.classes.of(sources.coupling.axis(name)))


def found(sources, name):
    return {(s.name, s.dim): s for s in sources.slices(channels(sources, name))}


def test_groups_that_share_an_axis():
    sources = sources_of(Dense(), torch.zeros(1, 3))
    one, two = found(sources, "one"), found(sources, "two")
    assert list(one) == [("one.weight", 0), ("one.bias", 0), ("two.weight", 1), ("last.weight", 1)]
    assert list(two) == [("two.weight", 0), ("two.bias", 0), ("last.weight", 1)]
    assert one["last.weight", 1].entries.flatten().tolist() == [3, 4, 5, 6]
    assert two["last.weight", 1].entries.flatten().tolist() == [7, 8, 9, 10, 11]
    assert (one["last.weight", 1].first, two["last.weight", 1].first) == (3, 7)
    assert (one["last.weight", 1].length, one["last.weight", 1].role) == (12, "in")


def test_buffers_and_whole_numbers_score_nothing():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    names = {name for name, _ in found(sources_of(net.eval(), torch.zeros(1, 3, 2, 2)), "0")}
    assert names == {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight"}


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 1), nn.Linear(2 * 4, 3)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def test_several_entries_of_each_channel():
    fc = found(sources_of(Flat(), torch.zeros(1, 1, 2, 2)), "conv")["fc.weight", 1]
    assert fc.entries.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert fc.first is None
    assert fc.weight.shape == (2, 3 * 4)


def test_a_convolution_in_groups_shows_the_entries_of_all_of_them():
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 6, 1, groups=2), nn.Conv2d(6, 1, 1))
    sources = sources_of(net, torch.zeros(1, 1, 2, 2))
    parts = [s for s in sources.slices(sources.families.lists[0]) if (s.name, s.dim) == ("1.weight", 1)]
    assert parts
    for part in parts:
        assert part.tensor.shape == (3, 8, 1, 1)
        assert part.length == 8


def test_sums_are_worked_out_once_for_all_groups():
    sources = sources_of(Dense(), torch.zeros(1, 3))
    for name in ("one", "two"):
        for part in found(sources, name).values():
            part.powers(2)
    assert {name: sorted(axes) for (name, _), axes in sources.sums.items()} == {
        "one.weight": [0],
        "one.bias": [0],
        "two.weight": [0, 1],
        "two.bias": [0],
        "last.weight": [1],
    }


def test_gradients_go_along():
    model = Dense()
    model(torch.ones(1, 3)).sum().backward()
    for (name, _), part in found(sources_of(model, torch.zeros(1, 3)), "one").items():
        assert torch.equal(part.gradient, model.get_parameter(name).grad)
        assert part.grad.shape == part.weight.shape
