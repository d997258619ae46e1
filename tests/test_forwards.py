"""What forwards call as functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchsurgery.forwards import calls_of, function_names


class Functional(nn.Module):
    def forward(self, x):
        return self.head(F.relu(x))

    def head(self, x):
        return sum(torch.sigmoid(item) for item in x)


class Methods(nn.Module):
    def forward(self, x):
        return x.relu_()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (nn.ReLU, {"relu", "re_lu", "relu_"}),
        (nn.LogSoftmax, {"logsoftmax", "log_softmax", "logsoftmax_"}),
        (nn.BatchNorm2d, {"batch_norm"}),
        (nn.Upsample, {"interpolate"}),
    ],
    ids=lambda thing: getattr(thing, "__name__", ""),
)
def test_the_functions_that_do_what_a_layer_does(kind, names):
    assert names <= function_names(kind)


@pytest.mark.parametrize(
    ("kind", "model"),
    [(nn.ReLU, Functional()), (nn.ReLU, Methods()), (nn.Sigmoid, Functional())],
    ids=["F.relu", "x.relu_()", "in a method, in a generator"],
)
def test_a_call_is_found(kind, model):
    (where,) = calls_of(model.named_modules(), function_names(kind)).values()
    assert where == [""]


def test_every_module_that_calls_it_is_named():
    net = nn.Sequential(Functional(), nn.Identity(), nn.Sequential(Functional()))
    assert calls_of(net.named_modules(), frozenset({"relu"})) == {"relu": ["0", "2.0"]}


def test_layers_of_torch_are_not_looked_into():
    assert calls_of(nn.Sequential(nn.ReLU()).named_modules(), frozenset({"relu"})) == {}
