"""What becomes of tensors and arguments, in words."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.changes import Change
from torchsurgery.origins import Computed, Initialised, Same
from torchsurgery.text import carried


def change(**account):
    return Change("replace", ("fc",), nn.ReLU(), nn.ReLU(), nn.ReLU(), (), "", **account)


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ({}, ""),
        ({"origins": {"weight": Same("weight"), "bias": Same("bias")}}, "carried weight, bias"),
        ({"origins": {"w": Computed(("weight",), torch.neg, "negated")}}, "w negated"),
        ({"origins": {"w": Initialised("as given"), "b": Initialised("as given")}}, "new w, b (as given)"),
        (
            {"origins": {"w": Initialised(), "b": Initialised("another shape")}},
            "initialised w · initialised b (another shape)",
        ),
        ({"fidelity": ts.Fidelity.APPROXIMATE, "error": 0.1234}, "approximate (relative error about 0.12)"),
        ({"fidelity": ts.Fidelity.EXACT}, "exact"),
        (
            {"lost": ("running_mean",), "dropped": ("momentum=0.1",)},
            "lost running_mean · without counterpart: momentum=0.1",
        ),
        ({"lost": tuple("abcdefgh")}, "lost a, b, c, d, e, f and 2 more"),
        ({"remarks": ("weight is no longer tied to head.weight",)}, "weight is no longer tied to head.weight"),
    ],
)
def test_account(account, words):
    assert carried(change(**account)) == words


def test_account_of_a_follow_up():
    layer = nn.ReLU()
    assert carried(Change("follow", ("x",), layer, layer, layer, (), "", remarks=("a=1", "b=2"))) == "a=1 · b=2"


def test_all_tensors_carried():
    layer = nn.Linear(2, 2)
    assert carried(Change("replace", ("x",), layer, layer, layer, (), "")) == "all tensors carried"
