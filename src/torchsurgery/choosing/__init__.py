"""Which channels go: from what is asked for to the classes that die.

base      what every way of choosing has · wish  what is asked for, as data
channels  the very channels named · amounts  so many of them · budgets  so many that little enough is left
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..collecting import collection_paused
from ..coupling.answers.groups import Coupling
from ..coupling.cuts.alignment import Unaligned
from ..errors import CouplingError
from .amounts import ByAmount
from .base import Choice, Chosen
from .base import unit_of as unit_of
from .budgets import ToBudget
from .channels import ByChannel
from .wish import Amount as Amount
from .wish import Wish as Wish


def choose(coupling: Coupling, wish: Wish, tensors: Mapping[str, Tensor]) -> Chosen:
    """The cut that a wish comes to, and the classes that die.

    Where each row of a shuffle, or each group, can't lose channels of its own, those at the same place go in all rows.

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
    with collection_paused():
        try:
            return way(coupling, wish, tensors).cut()
        except Unaligned:
            return way(coupling.tied, wish, tensors).cut()
        except CouplingError:
            if not coupling.rows or wish.channels is None:
                raise
            return way(coupling.tied, wish, tensors).cut()
