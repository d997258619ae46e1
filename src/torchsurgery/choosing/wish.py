"""What is to go, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..importance import Importance

Amount: TypeAlias = "int | float"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to go.

    Attributes:
        layers: Names of the layers whose output channels are meant; None for all that may go.
        amount: Channels to remove: a number when int, a share when float.
        channels: The very channels to remove, of one layer.
        by: Scores the channels.
        ignore: Names of layers whose output channels stay.
        round_to: What is left of a group is a multiple of this.
        ranked: Whether groups compete with each other for the amount.
        params: Share, or number, of parameters that may be left.
        macs: Share, or number, of multiplications that may be left.
        exact: Leave alone what a normalisation or a mean goes over.
        heads: Of what is divided into heads or groups, True for whole ones, False for their width, None for what fits.
        min_width: How many channels stay at least: a number when int, a share of what there is when float.
    """

    layers: tuple[str, ...] | None
    amount: Amount | None
    channels: tuple[int, ...] | None
    by: Importance
    ignore: tuple[str, ...] = ()
    round_to: int = 1
    ranked: bool = False
    params: Amount | None = None
    macs: Amount | None = None
    exact: bool = False
    heads: bool | None = None
    min_width: Amount = 1
