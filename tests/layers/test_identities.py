import pytest
import torch
from torch import nn

import torchsurgery as ts


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 6), (2, 6)),
        (nn.Linear(4, 6, bias=False), (2, 3, 6)),
        (nn.Conv1d(4, 6, 5, stride=2), (2, 6, 9)),
        (nn.Conv2d(4, 6, 3, padding=1, dilation=2, groups=2), (2, 6, 9, 8)),
        (nn.Conv2d(4, 6, (1, 5), padding_mode="reflect"), (2, 6, 9, 8)),
        (nn.Conv3d(4, 6, 3, bias=False), (2, 6, 4, 5, 6)),
    ],
    ids=repr,
)
def test_it_hands_on_what_it_is_given(layer, shape):
    state = torch.get_rng_state()
    new, x = ts.identity_like(layer.eval()), torch.randn(*shape)
    assert type(new) is type(layer) and torch.allclose(new(x), x, atol=1e-6) and not new.training
    assert (new.bias is None) == (layer.bias is None) and all(p.requires_grad for p in new.parameters())
    torch.set_rng_state(state)


def test_dtype_device_and_random_state():
    state = torch.get_rng_state()
    assert ts.identity_like(nn.Linear(4, 6, device="meta", dtype=torch.bfloat16)).weight.is_meta
    assert torch.equal(torch.get_rng_state(), state)


def test_deeper_in_place():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    x = torch.randn(2, 3, 9, 9)
    before = net(x)
    done = ts.insert(net, lambda old: nn.Sequential(nn.ReLU(), ts.identity_like(old)), after=nn.Conv2d)
    assert torch.allclose(net(x), before, atol=1e-6) and len(ts.select(net, nn.Conv2d)) == 4
    net(x).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    done.undo()
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 2), nn.Conv2d(3, 4, (3, 4))])
def test_an_even_kernel_has_no_middle(layer):
    with pytest.raises(ts.ConfigError, match="has a middle"):
        ts.identity_like(layer)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.ConvTranspose2d(3, 4, 3), nn.LSTM(2, 3)])
def test_other_layers(layer):
    with pytest.raises(ts.ConfigError, match="takes a Linear or a convolution"):
        ts.identity_like(layer)
