"""Experts that no token was sent to lose the channels that those beside them lose."""

import torch
from torch import nn

import torchsurgery as ts


class Expert(nn.Module):
    def __init__(self, width=8, hidden=6):
        super().__init__()
        self.hidden = hidden
        self.into, self.back = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.back(self.into(x).relu().view(-1, self.hidden))


class Mixture(nn.Module):
    """One expert of four is run, by what the first value says."""

    def __init__(self, last=None):
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 2)
        self.experts = nn.ModuleList([Expert(), Expert(), Expert(), last or Expert()])

    def forward(self, x):
        return self.head(self.experts[int(x[0, 0])](self.stem(x)))


def tokens(expert):
    return torch.tensor([[expert, 0.5, 0.5, 0.5]])


def test_experts_that_were_not_run_follow():
    coupling = ts.trace(Mixture(), tokens(1))
    assert coupling.alike == {f"experts.{i}": "experts.1" for i in (0, 2, 3)}
    assert coupling.unseen == ()
    assert "experts.3.into" in coupling.group("stem").taking
    assert "not run, taken to be like others in their list: experts.0" in str(coupling)


def test_each_of_them_runs_after_pruning():
    model = Mixture()
    ts.prune(model, amount=0.5, example_inputs=tokens(1))
    assert [e.hidden for e in model.experts] == [3, 3, 3, 3]
    for expert in range(4):
        assert model(tokens(expert)).shape == (1, 2)


def test_another_choice_of_experts_is_no_fault():
    """Half of the channels may send a token elsewhere: the certificate must not hold that against the cut."""

    class Routed(Mixture):
        def forward(self, x):
            inner = self.stem(x)
            return self.head(self.experts[inner.shape[1] % 3](inner))

    model = Routed()
    ts.prune(model, amount=0.5, example_inputs=tokens(0))
    assert model.stem.out_features == 4


def test_what_is_of_another_shape_stays():
    coupling = ts.trace(Mixture(Expert(hidden=5)), tokens(0))
    assert "experts.3" not in coupling.alike
    assert [name for name in coupling.unseen if name.startswith("experts.3")] == ["experts.3.into", "experts.3.back"]
