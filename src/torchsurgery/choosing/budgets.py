"""As many channels as must go for so many parameters or multiplications to be left."""

from __future__ import annotations

import numpy as np
from torch import nn

from ..coupling.cuts.cut import Remains
from ..coupling.solving.classes import Flags
from ..errors import CouplingError
from .amounts import ByAmount

_HALVINGS = 12


class ToBudget(ByAmount):
    """The smallest amount that meets a budget, found by halving."""

    def chosen(self) -> Flags:
        wish = self.wish
        budget = wish.params if wish.params is not None else wish.macs
        whole = self._size(np.zeros(self.classes.count, bool))
        most = budget if isinstance(budget, int) else (budget or 0.0) * whole
        low, high = 0.0, 1.0
        best: Flags | None = None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            dead = self.repaired(self.select(middle), True)
            if self._size(dead) <= most:
                best, high = dead, middle
            else:
                low = middle
        if best is None:
            raise self._too_little(int(most))
        return best

    def _size(self, dead: Flags) -> int:
        """Parameters or multiplications that are left, whichever the budget is of."""
        remains = Remains(self.coupling, dead)
        if self.wish.params is None:
            return remains.macs()
        own = (leaf for leaf in self.coupling.record.leaves if isinstance(self.tensors.get(leaf), nn.Parameter))
        return remains.params(frozenset(own))

    def _too_little(self, most: int) -> CouplingError:
        least = self._size(self.repaired(self.select(0.999), True))
        what = "parameters" if self.wish.params is not None else "multiplications"
        return CouplingError(
            f"the model can't be pruned to {most:,} {what}: {least:,} are left at the least.",
            f"expected at least {least:,}, got {most:,}",
            expected=least,
            got=most,
            way_out="ask for less, or see what is frozen with  print(ts.trace(model, x))",
        )
