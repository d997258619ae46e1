"""Importances made of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .scoring import Importance, Slice, name_of


@dataclass(frozen=True, slots=True)
class Combined:
    """Scores of others, put together channel by channel."""

    parts: tuple[Importance, ...]
    how: Callable[[Tensor], Tensor]
    name: str

    @property
    def __name__(self) -> str:
        return f"{self.name}({', '.join(map(name_of, self.parts))})"

    def __call__(self, slices: Sequence[Slice]) -> Tensor:
        scores = [by(slices) for by in self.parts]
        return self.how(torch.stack([s.double() if s.is_meta else s.double().cpu() for s in scores]))


def normalised(by: Importance) -> Importance:
    """Scores relative to their mean over the group, so that different measures, or groups, can be compared.

    Args:
        by: Scores channels.

    Returns:
        An importance, (channels,) with a mean of 1.

    Example:
        >>> by = ts.importance.normalised(ts.importance.l1)
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> ts.plan(net, torch.randn(1, 4)).prune("0", 2, by=by).edits[0].describe()
        'prune 0  −2  by normalised(l1)'
    """
    return Combined((by,), lambda scores: _relative(scores)[0], "normalised")


def total(*by: Importance) -> Importance:
    """The sum of several scores, each relative to its mean, so that all of them count the same.

    Args:
        *by: Each scores channels.

    Returns:
        An importance, (channels,).

    Example:
        >>> by = ts.importance.total(ts.importance.l2, ts.importance.bn_scale)
        >>> done = ts.prune(model, "layer1.0.conv1", 0.5, example_inputs=x, by=by)
        >>> model.layer1[0].conv1.out_channels
        32
    """
    return Combined(by, lambda scores: _relative(scores).sum(0), "total")


def product(*by: Importance) -> Importance:
    """The product of several scores: a channel that one of them finds of no use is of none.

    Args:
        *by: Each scores channels.

    Returns:
        An importance, (channels,).
    """
    return Combined(by, lambda scores: scores.prod(0), "product")


def _relative(scores: Tensor) -> Tensor:
    return scores / scores.mean(1, keepdim=True).clamp_(min=1e-30)
