"""How much each channel of a group matters; the lowest go first.

An importance is a function of the group's weights. It is given `Slice`s, one for each axis of a parameter that the
group reaches into, and answers one number a channel, as a tensor of shape (channels,):

    def by_largest(slices):
        return torch.stack([s.weight.abs().amax(1) for s in slices]).sum(0)

    ts.prune(model, "layer1.*.conv1", 0.5, example_inputs=x, by=by_largest)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .coupling.atoms import Axis
from .coupling.groups import Coupling
from .errors import CouplingError

Scores: TypeAlias = npt.NDArray[np.float64]


class Slice(NamedTuple):
    """One axis of a parameter, as a group of channels sees it.

    Attributes:
        name: The parameter's fully-qualified name.
        dim: Which of its axes.
        role: "out", "in", "both" (a normalisation) or "".
        weight: (channels, entries): all entries of the parameter that belong to each channel.
        grad: The same of its gradient, or None where it has none.
    """

    name: str
    dim: int
    role: str
    weight: Tensor
    grad: Tensor | None


Importance: TypeAlias = Callable[[Sequence[Slice]], Tensor]


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
    return _total([s.weight.square().sum(1) for s in slices]).sqrt()


def l1(slices: Sequence[Slice]) -> Tensor:
    """The sum of the absolute weights of a channel, in all layers of its group.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)
    """
    return _total([s.weight.abs().sum(1) for s in slices])


def random(slices: Sequence[Slice]) -> Tensor:
    """By chance, from torch's random state.

    Args:
        slices: The group's weights.

    Returns:
        (channels,)
    """
    return torch.rand(slices[0].weight.shape[0])


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
    return _total(scales)


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
    terms = [(s.weight * s.grad).sum(1) for s in slices if s.grad is not None]
    if not terms:
        raise CouplingError(
            f"{slices[0].name} has no gradient to score its channels by.",
            name=slices[0].name,
            way_out="run one first:  loss(model(x)).backward()",
        )
    return _total(terms).abs()


def _total(terms: Sequence[Tensor]) -> Tensor:
    """The sum of numbers that may lie on several devices."""
    return torch.stack([term.float() if term.is_meta else term.float().cpu() for term in terms]).sum(0)


# --- applying one


def scores_of(coupling: Coupling, members: Axis, tensors: Mapping[str, Tensor], by: Importance) -> Scores:
    """A score for each of some channels of one family.

    Raises:
        CouplingError: if `by` doesn't answer one number a channel.
    """
    slices = list(_slices(coupling, members, tensors))
    if not slices:
        return np.zeros(len(members))
    scores = by(slices)
    _refuse_misshapen(scores, slices[0].name, len(members))
    if scores.is_meta:  # nothing to compare: the last ones stay
        return np.zeros(len(members))
    return np.asarray(scores.detach().double().cpu().numpy())


def _refuse_misshapen(scores: object, name: str, count: int) -> None:
    got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if got != (count,):
        raise CouplingError(
            f"by= must answer one number a channel for {name}.",
            f"expected a tensor of shape {(count,)}, got {got}",
            name=name,
            expected=(count,),
            got=got,
            way_out="as  lambda slices: sum(s.weight.abs().sum(1) for s in slices)",
        )


def _slices(coupling: Coupling, members: Axis, tensors: Mapping[str, Tensor]) -> Iterator[Slice]:
    """The group's parameters, channels first; without those of which channels have different numbers of entries."""
    for leaf, dim in coupling.families.reached(members):
        tensor = tensors.get(leaf)
        if not isinstance(tensor, nn.Parameter) or not tensor.is_floating_point():
            continue
        axis = coupling.record.leaves[leaf][dim]
        index = _positions(coupling.families.owner(coupling.classes.of(axis), members), len(members))
        if index is not None:
            grad = None if tensor.grad is None else _by_channel(tensor.grad, dim, index)
            role = coupling.record.roles.get(id(axis), "")
            yield Slice(leaf, dim, role, _by_channel(tensor.detach(), dim, index), grad)


def _positions(owner: Axis, count: int) -> Tensor | None:
    """(channels, entries): which entries of an axis each channel has; None if they have different numbers."""
    found = np.nonzero(owner >= 0)[0]
    entries = np.bincount(owner[found], minlength=count)
    if not len(found) or (entries != entries[0]).any():
        return None
    return torch.from_numpy(found[np.argsort(owner[found], kind="stable")].reshape(count, -1))


def _by_channel(tensor: Tensor, dim: int, index: Tensor) -> Tensor:
    """(channels, entries) of a tensor, given which indices along `dim` belong to each channel."""
    rows = tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
    return rows[index.to(tensor.device)].reshape(len(index), -1)
