"""Scores for the channels of a model, as an importance answers them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..coupling.atoms import Axis
from ..errors import CouplingError
from .scoring import Importance
from .sources import Sources

Scores: TypeAlias = npt.NDArray[np.float64]


def scores_of(sources: Sources, members: Axis, by: Importance) -> Scores:
    """A score for each of some channels of one family, or of several beside each other.

    Args:
        sources: The model's weights.
        members: The channels.
        by: Scores them.

    Raises:
        CouplingError: if `by` doesn't answer one number a channel.
    """
    slices = list(sources.slices(members))
    if not slices:
        return np.zeros(len(members))
    scores = by(slices)
    _refuse_misshapen(scores, slices[0].name, len(members))
    if scores.is_meta:  # nothing to compare: the last ones stay
        return np.zeros(len(members))
    found = np.asarray(scores.detach().double().cpu().numpy())
    if np.isnan(found).any():
        raise CouplingError(
            f"by= answers numbers for {slices[0].name} that are none.",
            f"got {int(np.isnan(found).sum())} nan among {len(found)}",
            name=slices[0].name,
            got=scores,
            way_out="see to it that no weight is nan, and that nothing is divided by zero",
        )
    return found


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
