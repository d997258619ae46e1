"""Why channels go together, and who is to blame where they stay."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE, Function, Residual


def test_input_and_output_are_frozen_and_named():
    coupling = ts.trace(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.zeros(1, 4))
    with pytest.raises(ts.CouplingError, match="output channels of 1 stay 2") as caught:
        coupling.group("1")
    assert "these channels are the model's output (Sequential.forward returns 1), which keeps" in str(caught.value)
    assert "the model's input" in str(coupling.why("0", "in")[0])
    assert coupling.why("0") == ()


def test_what_stays_because_of_the_input_says_so_in_a_sentence():
    net = nn.Sequential(nn.Linear(4, 4))
    coupling = ts.trace(net, torch.zeros(1, 4))
    assert "these channels are the model's input, which keeps its width." in str(coupling.frozen("0", "in"))


@pytest.mark.parametrize(
    ("make", "where"),
    {
        "softmax": (lambda: nn.Softmax(-1), "softmax over it in 1"),
        "sorted": (lambda: Function(lambda x: x.sort(-1).values), "sort over it in 1"),
        "rolled": (lambda: Function(lambda x: x + x.roll(1, -1)), "rolled by a number of places"),
        "index_select": (lambda: Function(lambda x: x.index_select(1, torch.arange(8))), "index_select"),
        "a size as a number": (lambda: Function(lambda x: x.view(2, 8)), "the code says 8"),
        "a plain tensor": (lambda: Function(lambda x: x + torch.arange(8.0)), "arange"),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_blame(make, where):
    net = nn.Sequential(nn.Linear(4, 8), make(), nn.Linear(8, 2))
    coupling = ts.trace(net, torch.zeros(2, 4))
    with pytest.raises(ts.CouplingError) as caught:
        coupling.group("0")
    assert where in str(caught.value)
    assert "?" not in str(caught.value)


def test_residuals_are_one_group():
    coupling = ts.trace(Residual(), IMAGE)
    group = coupling.group("block1.conv2")
    assert len(group) == 8
    assert set(group.giving) == {"stem", "block1.conv2", "block1.bn2", "block2.conv2", "block2.bn2"}
    assert set(group.taking) == {"block1.conv1", "block2.conv1", "fc"}
    # x + y goes on as x, so that the second addition meets the stem itself
    assert [str(step) for step in group.path("stem", "block2.conv2")] == ["add in block2"]
    assert coupling.group("block1.conv1").modules == ("block1.conv1", "block1.bn1", "block1.conv2")


class Scaled(nn.Module):
    """A parameter of the model's own beside its layers."""

    def __init__(self):
        super().__init__()
        self.scale, self.a, self.b = nn.Parameter(torch.ones(8)), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(self.a(x) * self.scale)


def test_the_model_itself_is_called_so_in_a_path():
    told = str(ts.trace(Scaled(), torch.randn(2, 6)).group("a")).splitlines()
    assert told[1] == "((the model), a)"
    assert told[-1] == "  (the model) → mul → a"
