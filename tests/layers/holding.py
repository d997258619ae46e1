"""Holds a conversion to the fidelity that it states."""

import torch

from torchsurgery.layers.assembling import build
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert


def converted(old, new, *, reference=None, **overrides):
    """The conversion, and the new layer built from it."""
    conversion = convert(old, new, overrides)
    return conversion, build(conversion, old, reference)


def difference(old, new, x):
    """The largest absolute difference of two layers' outputs."""
    with torch.no_grad():
        return (old(x.clone()) - new(x.clone())).abs().max().item()


def relative(old, new, x):
    """Root mean square of the difference, relative to the old layer's output."""
    with torch.no_grad():
        y, z = old(x.clone()), new(x.clone())
    return ((y - z).square().sum() / y.square().sum()).sqrt().item()


def hold(old, new, x, **overrides):
    """Converts, and fails if an exact conversion is not exact, in training and in eval as stated."""
    conversion, layer = converted(old, new, reference=x, **overrides)
    modes = {Fidelity.EXACT: (True, False), Fidelity.EXACT_IN_EVAL: (False,)}.get(conversion.fidelity, ())
    for training in modes:
        before, after = old.train(training), layer.train(training)
        torch.manual_seed(0)
        y = before(x.clone())
        torch.manual_seed(0)
        z = after(x.clone())
        assert y.shape == z.shape
        assert torch.allclose(y, z, rtol=1e-10, atol=1e-10), (conversion, (y - z).abs().max())
    return conversion, layer
