"""Scores for the channels of a model, as an importance answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..coupling.constraints.atoms import Axis
from ..coupling.solving.joining import joined, parted
from ..errors import CouplingError
from .measures import exponent_of
from .scoring import Importance
from .sources import Sources
from .totals import totals_of

Scores: TypeAlias = npt.NDArray[np.float64]


def scores_of(sources: Sources, families: Sequence[Axis], by: Importance) -> list[Scores]:
    """A score for each channel of some families.

    Args:
        sources: The model's weights.
        families: The channels of each.
        by: Scores them.

    Raises:
        CouplingError: if `by` doesn't answer one number a channel.
    """
    if (exponent := exponent_of(by)) is not None:
        members = joined(families)
        scores = totals_of(sources, members, exponent) ** (1 / exponent)
        _refuse_nan(sources, members, scores)
        return _split(scores, families)
    beside: dict[int, list[int]] = {}
    for i, members in enumerate(families):
        beside.setdefault(sources.families.beside[int(sources.families.number[members[0]])], []).append(i)
    found: dict[int, Scores] = {}
    for together in beside.values():
        lists = [families[i] for i in together]
        scores = _answered(sources, joined(lists), by)
        found.update(zip(together, _split(scores, lists), strict=True))
    return [found[i] for i in range(len(families))]


def _split(scores: Scores, families: Sequence[Axis]) -> list[Scores]:
    return parted(scores, np.cumsum([len(members) for members in families]))


def _answered(sources: Sources, members: Axis, by: Importance) -> Scores:
    """What an importance answers for some channels of one family, or of several beside each other."""
    slices = list(sources.slices(members))
    if not slices:
        return np.zeros(len(members))
    scores = by(slices)
    _refuse_misshapen(scores, slices[0].name, len(members))
    if scores.is_meta:  # nothing to compare: the last ones stay
        return np.zeros(len(members))
    found = np.asarray(scores.detach().double().cpu().numpy())
    _refuse_nan(sources, members, found)
    return found


def _refuse_nan(sources: Sources, members: Axis, scores: Scores) -> None:
    wrong = np.isnan(scores)
    if wrong.any():
        name = next(slice.name for slice in sources.slices(members[wrong][:1]))
        raise CouplingError(
            f"by= answers numbers for {name} that are none.",
            f"got {int(wrong.sum())} nan among {len(scores)}",
            name=name,
            got=scores,
            way_out="see to it that no weight is nan, and that nothing is divided by zero",
        )


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
