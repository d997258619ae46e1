import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like

timm = pytest.importorskip("timm.layers")
CASES = [
    (timm.StdConv2d, {"padding": 1}),
    (timm.StdConv2d, {"stride": 2, "bias": True, "groups": 2, "eps": 0.1}),
    (timm.StdConv2dSame, {"padding": "same"}),
    (timm.ScaledStdConv2d, {"dilation": 2, "gamma": 1.7}),
    (timm.ScaledStdConv2d, {"groups": 4, "bias": False}),
    (timm.ScaledStdConv2dSame, {"padding": 1}),
]


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_baked(cls, options):
    old = cls(4, 8, 3, **options).double()
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.copy_(torch.randn_like(parameter))
    conversion, x = convert(old, nn.Conv2d), torch.randn(2, 4, 9, 9, dtype=torch.float64)
    new = like(old, nn.Conv2d)
    assert conversion.fidelity is Fidelity.EXACT and type(new) is nn.Conv2d and not conversion.lost
    assert torch.allclose(new(x), old(x), rtol=1e-10, atol=1e-10)
    assert new.bias is old.bias


def test_of_transformers():
    bit = pytest.importorskip("transformers.models.bit.modeling_bit")
    old = bit.WeightStandardizedConv2d(4, 8, 3, padding=1, bias=True)
    x = torch.randn(2, 4, 9, 9)
    assert torch.allclose(like(old, nn.Conv2d)(x), old(x), atol=1e-6)
    with pytest.raises(ts.ConfigError, match="as much as the input"):
        convert(bit.WeightStandardizedConv2d(4, 8, 3, stride=2), nn.Conv2d)


def test_what_is_refused():
    with pytest.raises(ts.ConfigError, match="as much as the input"):
        convert(timm.StdConv2dSame(4, 8, 3, stride=2), nn.Conv2d)
    with pytest.raises(ts.ConfigError, match="becomes a plain Conv2d first"):
        convert(timm.StdConv2d(4, 8, 3), nn.Conv2d, {"kernel_size": 5})

    class Mine(timm.StdConv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(ts.ConfigError, match="forward of its own"):
        convert(Mine(4, 8, 3), nn.Conv2d)


def test_a_network_of_timm():
    import timm

    model = timm.create_model("resnetv2_50x1_bit", pretrained=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
        x = torch.randn(1, 3, 64, 64)
        before = model(x)
        done = ts.replace(model, CASES[0][0], nn.Conv2d)
        assert before.isfinite().all() and torch.allclose(model(x), before, atol=1e-4 * before.abs().max())
    assert len(done.changes) > 40 and not any(isinstance(module, CASES[0][0]) for module in model.modules())
