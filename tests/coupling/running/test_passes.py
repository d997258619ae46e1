"""What goes into a pass and comes out; and what the other mode and the other way show."""

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts
from coupling.networks import IMAGE, Auxiliary, Branching, Residual


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x, *, scale=1.0, more=None):
        hidden = self.a(x)
        return {"out": self.b(hidden * scale), "hidden": [hidden] if more else None}


def test_arguments_by_name_and_answers_in_containers():
    net, x = Keywords(), torch.zeros(1, 4)
    assert len(ts.trace(net, {"x": x}).group("a")) == 6
    with pytest.raises(ts.CouplingError, match="a stay 6"):
        ts.trace(net, {"x": x, "more": True}).group("a")


def test_outputs_chooses_what_must_keep_its_shape():
    coupling = ts.trace(Keywords(), {"x": torch.zeros(1, 4), "more": True}, outputs=lambda answer: answer["out"])
    assert len(coupling.group("a")) == 6


def test_model_that_fails_is_named():
    with pytest.raises(ts.TraceError, match=r"block1\.conv1 of Residual fails on these inputs: RuntimeError") as caught:
        net = Residual()
        net.block1.conv1 = nn.Conv2d(7, 6, 3)
        ts.trace(net, IMAGE)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.name == "block1.conv1"


def test_what_was_not_run_is_listed():
    coupling = ts.trace(Branching(), torch.zeros(1, 4))
    assert coupling.unseen == ("no",)
    assert "not run: no" in str(coupling)


def test_a_head_of_the_other_mode_follows_too():
    coupling = ts.trace(Auxiliary().eval(), torch.zeros(2, 4))
    assert coupling.modes == ("eval", "train")
    assert coupling.group("a").taking == ("out", "aux")


def test_multiplications_are_those_of_the_mode_that_the_model_is_in():
    net, x = Auxiliary().eval(), torch.randn(1, 4)
    coupling = ts.trace(net, x)
    assert coupling.modes == ("eval", "train")
    assert (
        sum(constant * int(np.prod(list(map(len, axes)))) for constant, axes in coupling.record.work) == 4 * 6 + 6 * 2
    )
    done = ts.prune(net, macs=25, example_inputs=x)
    assert net.a.out_features == 4
    done.undo()


class Deciding(nn.Module):
    """Goes one of two ways, as its values have it; a loop waits for what comes to be true once only."""

    def __init__(self, loops=False):
        super().__init__()
        self.a, self.up, self.down, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.loops = loops

    def forward(self, x):
        x = self.a(x)
        while self.loops:
            if x.sum() == x.sum():
                break
        return self.out(self.up(x) if x.sum() > 0 else self.down(x))


@pytest.mark.parametrize("seed", range(4))
def test_the_way_that_values_do_not_take_is_followed_too(seed):
    torch.manual_seed(seed)
    net, x = Deciding(), torch.randn(2, 6)
    coupling = ts.trace(net, x)
    assert not coupling.unseen
    assert set(coupling.group("a").taking) == {"up", "down"}
    assert "decide by values" in str(coupling)
    ts.prune(net, amount=0.5, example_inputs=x)
    assert net.up.weight.shape == net.down.weight.shape == (4, 4)
    assert net(x).shape == net(-x).shape == (2, 3)


def test_a_loop_that_waits_for_values_ends():
    coupling = ts.trace(Deciding(loops=True), torch.randn(2, 6))
    assert len(coupling.unseen) == 1
    assert "not run" in str(coupling)
