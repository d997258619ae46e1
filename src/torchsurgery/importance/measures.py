"""Scores from the weights themselves, and from their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import CouplingError
from .scoring import Importance, Slice, summed


def l2(slices: Sequence[Slice]) -> Tensor:
    """The Euclidean norm of all weights of a channel, in all layers of its group.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> done = ts.prune(net, "0", 0.5, example_inputs=torch.randn(1, 4), by=ts.importance.l2)
        >>> net[0].out_features
        4
    """
    return summed([s.powers(2) for s in slices]).sqrt()


def l1(slices: Sequence[Slice]) -> Tensor:
    """The sum of the absolute weights of a channel, in all layers of its group.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)
    """
    return summed([s.powers(1) for s in slices])


def random(slices: Sequence[Slice]) -> Tensor:
    """By chance, from torch's random state.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)
    """
    return torch.rand(len(slices[0].entries))


def bn_scale(slices: Sequence[Slice]) -> Tensor:
    """The size of the normalisations' scales, as in network slimming.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)

    Raises:
        CouplingError: if the group has no normalisation with a scale.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017.
    """
    scales = [s.weight.abs().sum(1) for s in slices if s.role == "both" and s.name.endswith("weight")]
    if not scales:
        raise CouplingError(
            f"no normalisation scales the channels of {slices[0].name}.",
            name=slices[0].name,
            way_out="score them otherwise:  by=ts.importance.l2",
        )
    return summed(scales)


def taylor(slices: Sequence[Slice]) -> Tensor:
    """How much the loss would change to first order: the sum of weight times gradient; needs a backward before.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)

    Raises:
        CouplingError: if no parameter has a gradient.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019.
    """
    products = [s.weight * s.grad.conj() for s in slices if s.grad is not None]
    terms = [torch.real(product).sum(1) for product in products]
    if not terms:
        raise CouplingError(
            f"{slices[0].name} has no gradient to score its channels by.",
            name=slices[0].name,
            way_out="run one first:  loss(model(x)).backward()",
        )
    return summed(terms).abs()


def exponent_of(by: Importance) -> int | None:
    """Of an importance that is the root of a sum of powers of all weights of a channel, the exponent; else None."""
    return 1 if by is l1 else 2 if by is l2 else None
