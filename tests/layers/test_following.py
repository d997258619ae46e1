"""Which attributes tell how wide tensors are, and that they are what torch's constructors set."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

import torchsurgery as ts
from torchsurgery.layers.following import WIDTHS, axes_told, renew_lists, widths_told

# Two layers of a class that differ in their widths, and what tells these.
PAIRS = {
    "linear": (nn.Linear(4, 6), nn.Linear(3, 5)),
    "bilinear": (nn.Bilinear(4, 5, 6), nn.Bilinear(3, 2, 1)),
    "conv": (nn.Conv2d(8, 6, 3), nn.Conv2d(4, 2, 3)),
    "conv in groups": (nn.Conv1d(8, 6, 3, groups=2), nn.Conv1d(4, 2, 3, groups=2)),
    "transposed in groups": (nn.ConvTranspose2d(8, 6, 3, groups=2), nn.ConvTranspose2d(4, 2, 3, groups=2)),
    "embedding": (nn.Embedding(8, 6), nn.Embedding(4, 2)),
    "bag": (nn.EmbeddingBag(8, 6), nn.EmbeddingBag(4, 2)),
    "batch norm": (nn.BatchNorm2d(4), nn.BatchNorm2d(2)),
    "batch norm without weights": (nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(2, affine=False)),
    "group norm": (nn.GroupNorm(2, 4), nn.GroupNorm(2, 2)),
    "layer norm": (nn.LayerNorm((4, 3)), nn.LayerNorm((2, 3))),
    "rms norm": (nn.RMSNorm(4), nn.RMSNorm(2)),
    "prelu": (nn.PReLU(4), nn.PReLU(2)),
    "lstm": (nn.LSTM(4, 6), nn.LSTM(3, 5)),
    "gru": (nn.GRU(4, 6), nn.GRU(3, 5)),
    "rnn": (nn.RNN(4, 6), nn.RNN(3, 5)),
    "cell": (nn.LSTMCell(4, 6), nn.LSTMCell(3, 5)),
    "attention": (nn.MultiheadAttention(8, 2), nn.MultiheadAttention(4, 2)),
    "attention of three widths": (
        nn.MultiheadAttention(8, 2, kdim=6, vdim=5),
        nn.MultiheadAttention(4, 2, kdim=3, vdim=7),
    ),
}


def tensors(layer):
    return {**dict(layer.named_parameters()), **dict(layer.named_buffers())}


@pytest.mark.parametrize("name", PAIRS)
def test_with_the_tensors_of_another_width_all_is_told_that_differs(name):
    layer, other = PAIRS[name]
    told = widths_told(layer, tensors(other))
    numbers = {key: value for key, value in vars(other).items() if isinstance(value, int | tuple)}
    differ = {key: value for key, value in numbers.items() if vars(layer)[key] != value}
    assert differ and differ.items() <= told.items() <= numbers.items()
    assert all(type(value) is type(vars(layer)[key]) for key, value in told.items())


@pytest.mark.parametrize(
    "layer", [nn.ReLU(), nn.Sequential(nn.Linear(2, 2)), nn.LayerNorm(4, elementwise_affine=False)], ids=str
)
def test_layers_that_tell_nothing(layer):
    assert widths_told(layer, tensors(layer)) == {}


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm, spectral_norm])
def test_the_weight_of_a_normalised_layer_is_found(norm):
    narrow, wide = norm(nn.Linear(3, 5)), nn.Linear(4, 6)
    assert widths_told(wide, tensors(narrow)) == {"in_features": 3, "out_features": 5}


def test_subclasses_tell_what_their_base_tells():
    class Scaled(nn.Conv2d):
        """One of a user's."""

    assert widths_told(Scaled(8, 6, 3), {"weight": torch.ones(2, 4, 3, 3)}) == {"in_channels": 4, "out_channels": 2}


@pytest.mark.parametrize("name", [name for name in PAIRS if axes_told(PAIRS[name][0])])
def test_an_axis_of_the_weight_has_the_length_that_is_told(name):
    for layer in PAIRS[name]:
        assert all(getattr(layer, key) == layer.weight.shape[axis] for key, axis in axes_told(layer).items())


def test_a_recurrent_layer_finds_the_weights_that_it_is_given():
    layer = nn.LSTM(3, 4)
    layer._parameters["weight_ih_l0"] = weight = nn.Parameter(torch.zeros(16, 3))
    renew_lists(layer)
    assert any(kept is weight for kept in layer._flat_weights)


def test_of_an_axis_that_groups_shorten_nothing_is_told():
    assert axes_told(nn.Conv2d(4, 6, 3)) == {"out_channels": 0, "in_channels": 1}
    assert axes_told(nn.Conv2d(4, 6, 3, groups=2)) == {"out_channels": 0}
    assert axes_told(nn.ConvTranspose2d(4, 6, 3, groups=2)) == {"in_channels": 0}


def test_how_many_words_a_table_has_is_no_width():
    assert axes_told(nn.Embedding(5, 3)) == {"embedding_dim": 1}
    assert {name for layer, _ in PAIRS.values() for name in axes_told(layer)} == WIDTHS


class Halved(nn.Module):
    """Reads off a layer how wide it is."""

    def __init__(self):
        super().__init__()
        self.both, self.head = nn.Bilinear(3, 4, 8), nn.Linear(4, 2)

    def forward(self, x):
        pairs = self.both(x, x.new_ones(len(x), 4))
        return self.head(pairs.view(-1, 2, self.both.out_features // 2).sum(1))


def test_a_width_that_the_code_reads_off_a_layer_follows():
    net = Halved()
    done = ts.prune(net, amount=0.5, example_inputs=torch.randn(5, 3))
    assert (net.both.out_features, net.head.in_features) == (4, 2)
    assert net(torch.randn(5, 3)).shape == (5, 2)
    done.undo()
    assert net.both.out_features == 8
