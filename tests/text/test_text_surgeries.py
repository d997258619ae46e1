"""What was done, in a line."""

import pytest
from plans_to_print import PLANS
from torch import nn

import torchsurgery as ts
from torchsurgery.text import surgery_line


@pytest.mark.parametrize("name", ["plan_small", "plan_resnet18"])
def test_surgery(resnet18, golden, name):
    done = PLANS[name](resnet18).apply()
    in_force = repr(done)
    done.undo()
    golden(f"{name.replace('plan', 'surgery')}.txt", f"{in_force}\n{done!r}\n")


def test_nothing_done():
    assert surgery_line("Net", (), ts.plan(nn.ReLU()).before, ts.plan(nn.ReLU()).after, True) == (
        "Surgery on Net: nothing done · params 0 → 0 · undo() takes it back"
    )
