"""What the arguments of a call are on one module."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchsurgery.calls.arguments import Inexpressible, is_call_on_tensor, layer_for
from torchsurgery.calls.finding import find

SLOPE = 0.25


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.p, self.kernel, self.options = 0.3, 4, nn.Identity()
        self.options.rate = 0.125
        self.scale, self.written = nn.Parameter(torch.ones(())), 0.1
        self.register_buffer("mask", torch.ones(2))

    def forward(self, x, k):
        x = F.dropout(x, p=self.p, training=self.training)
        x = F.dropout(x, self.options.rate, self.training, True)
        x = F.leaky_relu(x, SLOPE)
        x = F.max_pool2d(x, (self.kernel // 2, 3), stride=-(-1))  # noqa: B002
        x = torch.flatten(x, 1)
        x = x.softmax(-1)
        return self.refused(x, k) + self.mask.relu() + self.options.relu()

    def refused(self, x, k):
        self.written = 0.2
        x = F.dropout(x)
        x = F.dropout(x, 0.1, True)
        x = F.dropout(x, self.written, self.training)
        x = F.dropout(x, 0.1 if self.training else 0.0, self.training)
        x = F.dropout(x, self.training * 0.1, self.training)
        x = F.max_pool2d(x, k)
        x = F.elu(x, self.scale)
        x = F.elu(x, len(k))
        x = F.softmax(x, 1, dtype=torch.float32)
        x = F.dropout(x, 1.5, self.training)
        return torch.tanh_(x)


CALLS = {call.text: call for call in find(Net).calls}


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("F.dropout(x, p=self.p, training=self.training)", "Dropout(p=0.3, inplace=False)"),
        ("F.dropout(x, self.options.rate, self.training, True)", "Dropout(p=0.125, inplace=True)"),
        ("F.leaky_relu(x, SLOPE)", "LeakyReLU(negative_slope=0.25)"),
        (
            "F.max_pool2d(x, (self.kernel // 2, 3), stride=--1)",
            "MaxPool2d(kernel_size=(2, 3), stride=1, padding=0, dilation=1, ceil_mode=False)",
        ),
        ("torch.flatten(x, 1)", "Flatten(start_dim=1, end_dim=-1)"),
        ("x.softmax(-1)", "Softmax(dim=-1)"),
    ],
)
def test_a_layer_with_the_arguments_of_the_call(text, layer):
    assert repr(layer_for(CALLS[text], Net(), find(Net))) == layer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("F.dropout(x)", "its training=True by default, where nn.Dropout has self.training"),
        ("F.dropout(x, 0.1, True)", "its training=True, where nn.Dropout has self.training"),
        ("F.dropout(x, self.written, self.training)", "its p is self.written, which the forward itself assigns"),
        (
            "F.dropout(x, 0.1 if self.training else 0.0, self.training)",
            "its p=0.1 if self.training else 0.0 is worked out while it runs",
        ),
        ("F.dropout(x, self.training * 0.1, self.training)", "its p=self.training * 0.1 depends on the mode"),
        ("F.max_pool2d(x, k)", "its kernel_size=k is worked out while it runs"),
        ("F.elu(x, self.scale)", "its alpha=self.scale is a Parameter"),
        ("F.elu(x, len(k))", "its alpha=len(k) is worked out while it runs"),
        ("F.softmax(x, 1, dtype=torch.float32)", "its dtype=torch.float32 is worked out while it runs"),
        ("F.dropout(x, 1.5, self.training)", "nn.Dropout refuses its arguments: dropout probability has to be"),
        ("torch.tanh_(x)", "nn.Tanh has no inplace, which is True"),
    ],
)
def test_no_layer_has_these_arguments(text, why):
    with pytest.raises(Inexpressible) as caught:
        layer_for(CALLS[text], Net(), find(Net))
    assert str(caught.value).startswith(why)


def test_a_method_of_what_self_has():
    net = Net()
    assert is_call_on_tensor(CALLS["self.mask.relu()"], net)
    assert not is_call_on_tensor(CALLS["self.options.relu()"], net)
