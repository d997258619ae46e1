import pytest
import torch
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.assembling import build
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.lowrank import factoring, factors
from torchsurgery.layers.padded import PaddedConv2d

DOUBLE = {"dtype": torch.float64}


@pytest.mark.parametrize(
    ("scheme", "full", "size"),
    [("thin", 12, 12 * (12 + 27)), ("depthwise", 9, 3 * 9 * (12 + 9)), ("asymmetric", 9, 9 * 45)],
)
def test_ranks_and_sizes(scheme, full, size):
    found = factoring(nn.Conv2d(3, 12, 3), scheme)
    assert found.full_rank == full and found.size(full) == size and found.holds(full) == (Fidelity.EXACT, None)
    assert found.rank_for(1.0) == full and 1 <= found.rank_for(0.5) < full
    assert found.error(full) == 0.0 and found.error(1) > found.error(2) > 0


def test_a_matrix_of_known_rank():
    layer = nn.Linear(6, 5, **DOUBLE)
    layer.weight.data = torch.randn(5, 2, **DOUBLE) @ torch.randn(2, 6, **DOUBLE)
    found = factoring(layer)
    assert found.rank_for(1 - 1e-9) == 2 and found.error(2) == pytest.approx(0.0, abs=1e-9)
    new = build(found.conversion(2), layer)
    assert torch.allclose(new[1].weight @ new[0].weight, layer.weight) and torch.equal(new[1].bias, layer.bias)


def test_zeros_beyond_the_full_rank():
    first, second = factors(torch.eye(3), 5, "thin").values()
    assert first.shape == (5, 3) and second.shape == (3, 5) and torch.allclose(second @ first, torch.eye(3), atol=1e-6)
    assert not first[3:].any() and not second[:, 3:].any()


@pytest.mark.parametrize("layer", [nn.Linear(8, 6, device="meta"), nn.Conv2d(4, 6, 3, device="meta")])
def test_on_meta_nothing_is_predicted(layer):
    found = factoring(layer)
    assert found.error(2) is None and build(found.conversion(2), layer)[0].weight.is_meta


def test_weights_of_zero_lose_nothing():
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    assert factoring(layer).error(1) == 0.0


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.BatchNorm2d(4), "neither a Linear nor a convolution"),
        (nn.ConvTranspose2d(4, 4, 3), "neither a Linear nor a convolution"),
        (nn.Conv2d(4, 4, 3, groups=2), "it is grouped"),
        (PaddedConv2d(4, 4, 2, ((0, 1), (0, 1))), "pads each side"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), "parametrized"),
    ],
)
def test_what_is_not_split(layer, why):
    with pytest.raises(ConfigError, match=why):
        factoring(layer)
