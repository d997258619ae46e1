"""What a model's code reads off a tensor remembers the axis; what it gives is known to the rules."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from torchsurgery.coupling.constraints.integers import Attribute, Length, Traced, in_words
from torchsurgery.coupling.constraints.record import Notes, Record
from torchsurgery.coupling.rules.registry import RULES
from torchsurgery.coupling.running.functions import Functions
from torchsurgery.coupling.running.operations import Operations


@pytest.fixture
def record():
    return Record()


@pytest.fixture
def x(record):
    tensor = torch.empty(2, 6, 4, device="meta")
    tensor._coupling = Notes([record.ledger.fixed(2, "batch"), record.ledger.fresh(6), record.ledger.fresh(4)])
    return tensor


def read(record, function, *args):
    operations = Operations(record, on_meta=True)
    with torch.inference_mode(), operations, Functions(operations):
        return function(*args)


def axes_of(record, value):
    return record.integers.lengths[value.expression.number]


READINGS = {
    "shape": lambda t: t.shape[1],
    "size()": lambda t: t.size()[1],
    "size(1)": lambda t: t.size(1),
    "size(dim=-2)": lambda t: t.size(dim=-2),
}


@pytest.mark.parametrize("name", READINGS)
def test_a_size_remembers_its_axis(record, x, name):
    value = read(record, READINGS[name], x)
    assert value == 6 and isinstance(value, Traced) and isinstance(value.expression, Length)
    assert axes_of(record, value) is x._coupling.axes[1]


def test_a_size_that_can_not_change_is_a_plain_integer(record, x):
    assert type(read(record, lambda t: t.shape[0], x)) is int
    assert type(read(record, lambda t: torch.zeros(3).shape[0], x)) is int


def test_a_number_of_entries_is_a_product(record, x):
    for count in (torch.Tensor.numel, torch.Tensor.nelement, torch.numel):
        value = read(record, count, x)
        assert value == 48 and in_words(value.expression).count("a size read") == 2


def test_strides_are_products_of_lengths(record, x):
    step = read(record, lambda t: t.stride(0), x)
    assert step == 24 and isinstance(step, Traced)
    assert read(record, lambda t: t.stride(), x) == (24, 4, 1)
    assert read(record, lambda t: t.stride(dim=1), x) == 4


def test_rules_are_told_what_the_code_gave(record, x, monkeypatch):
    told, view = [], RULES["view"]

    def telling(call):
        told.append((call.given("view"), call.inside_torch))
        view(call)

    monkeypatch.setitem(RULES, "view", telling)
    read(record, lambda t: t.view(2, -1, 2), x)
    ((given, inside_torch),) = told
    assert given == ((x, 2, -1, 2), {}) and not inside_torch and record.given is None


class Viewing(nn.Module):
    def __init__(self, view):
        super().__init__()
        self.heads, self.view = 2, view
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(self.view(self, self.a(x)).flatten(-2))


def test_integers_given_as_sizes_are_sites():
    coupling = ts.trace(Viewing(lambda net, x: x.view(-1, net.heads, x.shape[-1] // net.heads)), torch.ones(5, 4))
    told = {in_words(site.expression): len(site.axis) for site in coupling.record.integers.sites}
    assert told["heads"] == 2 and told["a size read // heads"] == 4
    assert coupling.record.integers.attributes[Attribute("", "heads")] == 2


def test_numbers_given_as_sizes_hold():
    coupling = ts.trace(Viewing(lambda net, x: x.view(-1, 2, 4)), torch.ones(5, 4))
    with pytest.raises(ts.CouplingError, match="the code says"):
        coupling.group("a")


def test_attention_by_its_function_keeps_the_heads_as_wide_as_the_stream():
    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
            self.into, self.back = nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x):
            x = self.first(x)
            out, _ = F.multi_head_attention_forward(
                *(x, x, x, x.shape[-1], 2, self.into.weight, self.into.bias, None, None, False, 0.0),
                *(self.back.weight, self.back.bias),
            )
            return self.last(out)

    net, x = Direct(), torch.randn(7, 2, 5)
    sites = ts.trace(net, x).record.integers.sites
    assert any(site.where.operation == "multi_head_attention_forward" for site in sites)
    ts.prune(net, amount=0.5, example_inputs=x)
    assert net(x).shape == (7, 2, 3)
