"""Which channels go: from what is asked for to the classes that die.

base      what every way of choosing has · wish  what is asked for, as data
channels  the very channels named · amounts  so many of them · budgets  so many that little enough is left
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..coupling.cuts import Cut
from ..coupling.groups import Coupling
from ..coupling.solving import Flags
from .amounts import ByAmount
from .base import Choice
from .base import unit_of as unit_of
from .budgets import ToBudget
from .channels import ByChannel
from .wish import Amount as Amount
from .wish import Wish as Wish


def choose(coupling: Coupling, wish: Wish, tensors: Mapping[str, Tensor]) -> tuple[Cut, Flags]:
    """The cut that a wish comes to, and the classes that die.

    Args:
        coupling: The traced model.
        wish: What is to go.
        tensors: The model's parameters and buffers, by name.

    Raises:
        CouplingError: if it can't go: it is pinned, or tied to something to be kept.
    """
    way: type[Choice] = ByAmount
    if wish.channels is not None:
        way = ByChannel
    elif wish.params is not None or wish.macs is not None:
        way = ToBudget
    return way(coupling, wish, tensors).cut()
