"""PyTorch's own attention with heads that may go."""

import torch
from torch import nn

import torchsurgery as ts


class Across(nn.Module):
    """Attends to something else, by a projection of which each third is for itself."""

    def __init__(self):
        super().__init__()
        self.first, self.m, self.out = nn.Linear(6, 12), nn.MultiheadAttention(12, 4), nn.Linear(12, 3)

    def forward(self, x):
        x = self.first(x)
        return self.out(self.m(x, x.flip(0), x.flip(0))[0])


def test_heads_of_a_projection_that_is_read_in_parts_go_by_name():
    net, x = Across().double().eval(), torch.randn(5, 2, 6, dtype=torch.double)
    assert ts.trace(net, x).why("m") == ()
    answer = net(x)
    done = ts.prune(net, "m", 0.5, example_inputs=x)
    assert (net.m.num_heads, net.m.in_proj_weight.shape, net.first.out_features) == (2, (18, 12), 12)
    assert "agree" in str(ts.check(net, x))
    done.undo()
    ts.widen(net, "m", 2.0, example_inputs=x)
    torch.testing.assert_close(net(x), answer, rtol=0, atol=1e-12)
