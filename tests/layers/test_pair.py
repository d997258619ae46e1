import torch
from holding import converted
from torch import nn

from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert
from torchsurgery.origins import Computed, Initialised, Same


def test_what_has_the_same_name_and_shape_carries():
    class Frozen(nn.Module):
        def __init__(self, num_features, eps=1e-5):
            super().__init__()
            self.eps, self.extra = eps, nn.Parameter(torch.ones(num_features, 2))
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.register_buffer(name, torch.zeros(num_features))

    old = nn.BatchNorm2d(3, eps=1e-3)
    found, new = converted(old, Frozen)
    assert found.origins["running_mean"] == Same("running_mean") and new.running_var is old.running_var
    assert isinstance(found.origins["weight"], Computed) and torch.equal(new.weight, old.weight)
    assert found.origins["extra"] == Initialised() and torch.equal(new.extra, torch.ones(3, 2))
    assert found.fidelity is Fidelity.INITIALISED and found.lost == ("num_batches_tracked",) and new.eps == 1e-3
    assert found.dropped[:3] == ("momentum=0.1", "affine=True", "track_running_stats=True")


def test_another_shape_does_not_carry():
    class Wide(nn.Module):
        def __init__(self, in_features, out_features):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2 * out_features, in_features))

    found = convert(nn.Linear(2, 3), Wide)
    assert found.origins == {"weight": Initialised("weight was 3×2")} and found.lost == ("weight", "bias")
