import pytest
from torch import nn

from torchsurgery.layers.channels import IN, OUT, width


@pytest.mark.parametrize(
    ("layer", "taken", "given"),
    [
        (nn.Linear(3, 5), 3, 5),
        (nn.Conv2d(3, 5, 1), 3, 5),
        (nn.ConvTranspose1d(3, 5, 1), 3, 5),
        (nn.BatchNorm2d(4), 4, 4),
        (nn.GroupNorm(2, 4), 4, 4),
        (nn.MultiheadAttention(8, 2), 8, 8),
        (nn.LSTM(3, 5), 3, 5),
        (nn.Embedding(10, 5), None, 5),
        (nn.ReLU(), None, None),
    ],
    ids=repr,
)
def test_what_torchs_layers_say(layer, taken, given):
    assert (width(layer, IN), width(layer, OUT)) == (taken, given)
