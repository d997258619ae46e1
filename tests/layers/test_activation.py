import itertools

import pytest
import torch
from holding import converted, difference, hold, relative
from torch import nn

from torchsurgery.errors import ConfigError
from torchsurgery.layers.activation import ALONG_AXIS, ELEMENTWISE
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like

ALL = [getattr(nn, name) for name in nn.modules.activation.__all__]
ARGUMENTS = {
    nn.Threshold: (0.1, -2.0),
    nn.Softmax: (1,),
    nn.Softmin: (1,),
    nn.LogSoftmax: (1,),
    nn.MultiheadAttention: (4, 2),
}
NEEDS = {nn.Threshold: {"threshold": 0.1, "value": 0.5}, nn.MultiheadAttention: {"embed_dim": 4, "num_heads": 2}}


def made(cls):
    return cls(*ARGUMENTS.get(cls, ())).double()


def inputs():
    return torch.randn(2, 4, 3, 6, dtype=torch.float64)


@pytest.mark.parametrize("old", ALL)
def test_all_among_themselves(old):
    for new in ALL:
        layer = made(old)
        overrides = {} if old is new else NEEDS.get(new, {})
        if nn.MultiheadAttention in (old, new):
            conversion, built = converted(layer, new, **overrides)
            assert type(built) is new and (old is new) == (conversion.fidelity is Fidelity.EXACT)
            continue
        conversion, built = hold(layer, new, inputs(), **overrides)
        assert getattr(built, "inplace", False) is False and type(built) is new
        if old is not new and {old, new} <= set(ELEMENTWISE):
            assert conversion.fidelity is not Fidelity.INITIALISED


def test_inplace_carries():
    for old, new in itertools.product(ELEMENTWISE, ELEMENTWISE):
        layer = made(old)
        if not hasattr(layer, "inplace"):
            continue
        layer.inplace = True
        built = like(layer, new, **NEEDS.get(new, {}))
        assert getattr(built, "inplace", True) is True
    assert convert(nn.ReLU(True), nn.GELU).dropped == ("inplace=True",)


@pytest.mark.parametrize(
    ("old", "new", "overrides", "fidelity"),
    [
        (nn.ReLU(), nn.Threshold, {}, Fidelity.EXACT),
        (nn.ReLU(), nn.LeakyReLU, {"negative_slope": 0.0}, Fidelity.EXACT),
        (nn.ReLU(), nn.PReLU, {"init": 0.0, "num_parameters": 4}, Fidelity.EXACT),
        (nn.LeakyReLU(0.3), nn.PReLU, {}, Fidelity.EXACT),
        (nn.LeakyReLU(0.3), nn.PReLU, {"num_parameters": 4}, Fidelity.EXACT),
        (nn.PReLU(init=0.3), nn.LeakyReLU, {}, Fidelity.EXACT),
        (nn.PReLU(4, init=0.5), nn.LeakyReLU, {}, Fidelity.EXACT),
        (nn.ReLU6(), nn.Hardtanh, {}, Fidelity.EXACT),
        (nn.Hardtanh(0, 6), nn.ReLU6, {}, Fidelity.EXACT),
        (nn.RReLU(0.1, 0.5), nn.LeakyReLU, {}, Fidelity.EXACT_IN_EVAL),
        (nn.RReLU(0.1, 0.5), nn.PReLU, {}, Fidelity.EXACT_IN_EVAL),
        (nn.RReLU(0.25, 0.25), nn.LeakyReLU, {}, Fidelity.EXACT),
        (nn.RReLU(0.1, 0.5), nn.RReLU, {}, Fidelity.EXACT),
        (nn.RReLU(0.1, 0.5), nn.RReLU, {"lower": 0.2, "upper": 0.4}, Fidelity.EXACT_IN_EVAL),
        (nn.ELU(), nn.CELU, {}, Fidelity.EXACT),
        (nn.Softmax2d(), nn.Softmax, {}, Fidelity.EXACT),
        (nn.Softmax(-3), nn.Softmax2d, {}, Fidelity.EXACT),
        (nn.Softmax(1), nn.LogSoftmax, {}, Fidelity.INITIALISED),
        (nn.GELU(), nn.GELU, {"approximate": "none"}, Fidelity.EXACT),
        (nn.GELU(), nn.GELU, {"approximate": "tanh"}, Fidelity.APPROXIMATE),
        (nn.Threshold(0.1, 0.2), nn.ReLU, {}, Fidelity.APPROXIMATE),
    ],
)
def test_rows(old, new, overrides, fidelity):
    conversion, _ = hold(old.double(), new, inputs(), **overrides)
    assert conversion.fidelity is fidelity


@pytest.mark.parametrize("new", [nn.GELU, nn.SiLU, nn.Mish, nn.ReLU6, nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Softplus])
@pytest.mark.parametrize("old", [nn.ReLU, nn.Tanh, nn.PReLU, nn.Identity])
def test_the_predicted_distance_is_the_measured_one(old, new):
    if old is new or {old, new} == {nn.PReLU, nn.LeakyReLU}:
        return
    layer = old().double()
    conversion, built = converted(layer, new, reference=inputs())
    x = torch.randn(200_000, dtype=torch.float64)
    assert relative(layer, built, x) == pytest.approx(conversion.error, rel=0.02, abs=1e-3)


def test_a_prelu_of_many_slopes_is_not_one_slope():
    old = nn.PReLU(4)
    with torch.no_grad():
        old.weight.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    conversion, new = converted(old, nn.LeakyReLU)
    assert new.negative_slope == pytest.approx(0.25) and conversion.lost == ("weight",)
    assert conversion.fidelity is Fidelity.APPROXIMATE and conversion.error is None
    same, again = converted(old, nn.PReLU, num_parameters=4)
    assert same.fidelity is Fidelity.EXACT and again.weight is old.weight


def test_on_meta_a_slope_can_not_be_read():
    conversion, new = converted(nn.PReLU(device="meta"), nn.LeakyReLU)
    assert new.negative_slope == 0.01 and conversion.fidelity is Fidelity.APPROXIMATE and conversion.error is None


def test_hints():
    assert convert(nn.ReLU(), nn.LeakyReLU).remarks == ("negative_slope=0.0 would compute what the ReLU does",)
    assert convert(nn.ReLU(), nn.PReLU).remarks == ("init=0.0 would start with what the ReLU does",)


def test_what_bears_the_same_name_and_means_something_else():
    assert like(nn.Softplus(threshold=5), nn.Threshold, threshold=0.0, value=0.0).threshold == 0.0
    assert like(nn.Softmax(1), nn.GLU).dim == -1
    assert like(nn.Softmax(1), nn.Softmin).dim == 1
    assert like(nn.Threshold(3.0, 1.0), nn.Softplus).threshold == 20.0


def test_refusals():
    with pytest.raises(ConfigError, match=r"threshold=0.0, value=0.0"):
        convert(nn.Tanh(), nn.Threshold)
    with pytest.raises(ConfigError, match="embed_dim=256, num_heads=8"):
        convert(nn.ReLU(), nn.MultiheadAttention)
    with pytest.raises(ConfigError, match="min_val below max_val"):
        convert(nn.ReLU(), nn.Hardtanh, {"min_val": 2.0, "max_val": 1.0})
    assert len(ALL) == len(ELEMENTWISE) + len(ALONG_AXIS) + 2
    assert difference(nn.ReLU(), like(nn.ReLU(), nn.Threshold), inputs()) == 0
