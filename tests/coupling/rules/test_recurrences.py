"""Recurrent layers: packed sequences, projections, cells; and a layer of two inputs."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import torchsurgery as ts
from coupling.networks import members


class Packed(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.rnn = kind(8, 10, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(20, 4)

    def forward(self, x):
        packed = pack_padded_sequence(self.first(x), torch.tensor([5, 2, 3]), batch_first=True, enforce_sorted=False)
        return self.fc(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])


class Projected(nn.Module):
    def __init__(self, hidden=8, width=5):
        super().__init__()
        self.rnn = nn.LSTM(6, hidden, 2, batch_first=True, bidirectional=True, proj_size=width)
        self.fc = nn.Linear(2 * width, 4)

    def forward(self, x):
        return self.fc(self.rnn(x)[0])


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru, self.fc = nn.LSTMCell(6, 8), nn.GRUCell(8, 10), nn.Linear(10, 4)

    def forward(self, x):
        state = other = None
        for step in x.unbind(1):
            state = self.lstm(step, state)
            other = self.gru(state[0], other)
        return self.fc(other)


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.both, self.fc = nn.Linear(6, 8), nn.Linear(6, 6), nn.Bilinear(8, 6, 10), nn.Linear(10, 4)

    def forward(self, x):
        return self.fc(self.both(self.a(x), self.b(x)))


X = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_are_followed(kind):
    net = Packed(kind).double().eval()
    answer = net(X)
    done = ts.prune(net, amount=0.5, example_inputs=X)
    assert (net.first.out_features, net.rnn.input_size, net.rnn.hidden_size, net.fc.in_features) == (4, 4, 5, 10)
    assert "agree" in str(ts.check(net, X))
    done.undo()
    ts.widen(net, "rnn", 15, example_inputs=X)
    assert net.rnn.hidden_size == 15
    torch.testing.assert_close(net(X), answer, rtol=0, atol=1e-12)


def test_a_projected_layer_never_has_as_many_hidden_units_as_it_is_projected_to():
    net = Projected().double().eval()
    with pytest.raises(ts.CouplingError, match=r"cannot prune rnn: as many hidden units as they are projected to"):
        ts.prune(net, "rnn", 3, example_inputs=X)
    assert net.rnn.hidden_size == 8
    done = ts.prune(net, "rnn", 4, example_inputs=X)
    assert net.rnn.hidden_size == 4
    assert "agree" in str(ts.check(net, X))
    done.undo()
    net.rnn, net.first = nn.LSTM(8, 8, batch_first=True, proj_size=5).double(), nn.Linear(6, 8).double()
    net.forward = lambda x: net.rnn(net.first(x))[0]
    ts.prune(net, amount=0.375, example_inputs=X)
    assert (net.first.out_features, net.rnn.input_size, net.rnn.hidden_size) == (5, 5, 8)


def test_cells_tell_their_sizes():
    net = Cells().double().eval()
    done = ts.prune(net, amount=0.5, example_inputs=X)
    assert (net.lstm.input_size, net.lstm.hidden_size, net.lstm.weight_ih.shape) == (6, 4, (16, 6))
    assert (net.gru.input_size, net.gru.hidden_size, net.gru.weight_ih.shape) == (4, 5, (15, 4))
    assert "agree" in str(ts.check(net, X))
    done.undo()


def test_a_layer_of_two_inputs():
    net = Bilinear().double().eval()
    answer = net(X)
    done = ts.prune(net, amount=0.5, example_inputs=X)
    assert (net.both.in1_features, net.both.in2_features, net.both.out_features) == (4, 3, 5)
    assert net.both.weight.shape == (5, 4, 3)
    assert "agree" in str(ts.check(net, X))
    done.undo()
    for layer, width in (("a", 12), ("b", 8), ("both", 15)):
        ts.widen(net, layer, width, example_inputs=X)
    torch.testing.assert_close(net(X), answer, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent(kind, bidirectional):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = kind(4, 6, 2, batch_first=True, bidirectional=bidirectional)
            self.fc = nn.Linear(12 if bidirectional else 6, 2)

        def forward(self, x):
            return self.fc(self.rnn(x)[0])

    group = ts.trace(Recurrent(), torch.zeros(1, 5, 4)).group("fc", "in")
    assert len(group) == 6
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    assert len(members(group)["rnn.weight_ih_l0", 0]) == gates * 6
    assert len(members(group)["rnn.weight_hh_l1", 1]) == 6
