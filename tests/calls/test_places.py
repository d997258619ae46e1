"""Calls as places: named, selected, combined."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchsurgery as ts
from torchsurgery.calls.places import FunctionalCall, pending


class Block(nn.Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.fc, self.p = nn.Linear(4, 4), p

    def forward(self, x):
        x = F.dropout(self.fc(x), self.p, self.training)
        return F.relu(x) + torch.relu(-x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()
        self.first = Block(0.1)
        self.blocks = nn.ModuleList([Block(0.2), self.first])

    def forward(self, x):
        for block in self.blocks:
            x = block(self.relu(x))
        return F.dropout(x.relu_())


@pytest.fixture
def net():
    return Net()


def test_a_call_is_named_as_the_layer_that_it_becomes(net):
    assert ts.select(net, F.dropout).names == (
        "first.dropout", "blocks.1.dropout", "blocks.0.dropout", "dropout",
    )  # fmt: skip


def test_several_calls_are_counted_and_names_in_use_are_not_taken(net):
    selection = ts.select(net, F.relu)
    assert selection.names == (
        "first.relu_1", "blocks.1.relu_1", "first.relu_2", "blocks.1.relu_2", "blocks.0.relu_1", "blocks.0.relu_2",
        "relu_1",
    )  # fmt: skip
    assert len(selection) == 5, "a module in two places has one layer for each call"


def test_nothing_has_changed(net):
    before = [*net.named_modules(remove_duplicate=False)]
    ts.select(net, F.relu)
    ts.plan(net).replace(F.relu, nn.GELU)
    assert [*net.named_modules(remove_duplicate=False)] == before


@pytest.mark.parametrize(
    ("targets", "attributes", "expected"),
    [
        ((F.dropout,), {"p": 0.2}, ("blocks.0.dropout",)),
        ((F.relu, "blocks.0.*"), {}, ("blocks.0.relu_1", "blocks.0.relu_2")),
        ((F.relu, "relu*"), {}, ("relu_1",)),
        ((F.relu,), {"inplace": True}, ("relu_1",)),
        ((F.dropout, nn.Dropout), {}, ("first.dropout", "blocks.1.dropout", "blocks.0.dropout")),
        (((nn.ReLU, torch.relu), "*"), {}, ("relu", "relu_1")),
        ((F.relu,), {"where": lambda name, layer: name == "first.relu_2"}, ("first.relu_2", "blocks.1.relu_2")),
        ((F.relu,), {"exact": True}, ("first.relu_1", "blocks.1.relu_1", "blocks.0.relu_1")),
        ((torch.relu,), {"exact": True}, ("first.relu_2", "blocks.1.relu_2", "blocks.0.relu_2")),
        ((Tensor.relu_,), {"exact": True}, ("relu_1",)),
    ],
    ids=["attribute", "pattern", "pattern at the top", "in place", "those that are a Dropout", "with layers", "where",
         "F.relu", "torch.relu", "x.relu_"],
)  # fmt: skip
def test_conditions(net, targets, attributes, expected):
    assert ts.select(net, *targets, **attributes).names == expected


def test_sets(net):
    calls, dropouts = ts.select(net, F.relu), ts.select(net, F.dropout)
    assert ts.select(net, F.relu) == calls
    assert calls.inside("blocks.0").names == ("blocks.0.relu_1", "blocks.0.relu_2")
    assert (calls - calls.inside("blocks")).names == ("relu_1",)
    assert len(calls | dropouts) == 8
    assert (calls | ts.select(net, nn.ReLU))[0].name == "relu"
    assert calls[1:2].names == ("first.relu_2", "blocks.1.relu_2")
    assert not set(calls.modules) & set(dropouts.modules)


def test_a_call_that_is_no_layer_is_selected_all_the_same(net):
    call = ts.select(net, F.dropout, "dropout")[0].module
    assert isinstance(call, FunctionalCall)
    assert call.why == "its training=True by default, where nn.Dropout has self.training"


def test_a_selection_is_shown_with_the_calls(net):
    assert repr(ts.select(net, F.dropout).outside("first")).splitlines()[1:] == [
        "  blocks.0.dropout  F.dropout(self.fc(x), self.p, self.training) → Dropout(p=0.2, inplace=False)",
        "  dropout           F.dropout(x.relu_())",
    ]


def test_an_attribute_that_has_changed_makes_another_layer(net):
    old = ts.select(net, F.dropout, "first.dropout")
    net.first.p = 0.7
    assert ts.select(net, F.dropout, "first.dropout")[0].module.p == 0.7
    with pytest.raises(ts.SelectionError, match="is not a part of Net, or no more"):
        ts.plan(net).replace(old, nn.Identity())


def test_a_layer_is_a_call_until_it_is_in_the_model(net):
    selection = ts.select(net, F.relu, "relu_1")
    assert pending(selection[0].module).call.text == "x.relu_()"
    done = ts.calls_to_layers(net, selection)
    assert pending(selection[0].module) is None
    assert ts.select(net, "relu_1").modules == selection.modules
    done.undo()
    assert ts.select(net, F.relu, "relu_1") == selection


def test_a_copy_has_calls_of_its_own(net):
    twin = copy.deepcopy(net)
    assert ts.select(twin, F.relu).names == ts.select(net, F.relu).names
    assert not set(ts.select(twin, F.relu).modules) & set(ts.select(net, F.relu).modules)


class Kept(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = F.relu

    def forward(self, x):
        return self.act(x)


@pytest.mark.parametrize(
    ("model", "function", "words"),
    [
        (
            nn.Sequential(Kept()),
            F.relu,
            r"relu\(\) is used in Kept.act, for 0: it is kept as an attribute; use  ts.repl",
        ),
        (nn.Sequential(nn.ReLU()), F.relu, r"F.relu\(\) selects no module of Sequential"),
        (Net(), torch.cat, "the function cat is not a layer, and no layer is known that does the same"),
    ],
    ids=["attribute", "none", "no layer"],
)
def test_nothing_found(model, function, words):
    with pytest.raises(ts.SelectionError, match=words):
        ts.select(model, function)
