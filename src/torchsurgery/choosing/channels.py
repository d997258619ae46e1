"""The very channels that a user names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..coupling.answers.groups import in_words
from ..coupling.constraints.atoms import Axis
from ..coupling.cuts.cut import Remains
from ..coupling.solving.classes import Flags
from ..errors import CouplingError
from .base import Choice


class ByChannel(Choice):
    """Just some channels of one layer, with what belongs to them."""

    def chosen(self) -> Flags:
        wish = self.wish
        assert wish.layers is not None and wish.channels is not None  # the verb has seen to it
        name = wish.layers[0]
        axis = self.coupling.axis(name)
        self._refuse_beyond(name, len(axis), wish.channels)
        wanted = np.zeros(len(axis), bool)
        wanted[list(wish.channels)] = True
        classes = self.classes.of(axis)
        self._refuse_fixed(name, axis, wanted, classes)
        dead = np.zeros(self.classes.count, bool)
        for prime in self.classes.primes_of(classes[wanted]):
            if not (self.families.touches(classes, np.array([prime])) & ~wanted).any():
                dead[prime] = True
        missed = wanted & Remains(self.coupling, dead).flags(axis)
        if missed.any():
            self._refuse_partial(name, classes, wanted, int(np.nonzero(missed)[0][0]))
        self.refuse_ignored(name, dead)
        return dead

    def _refuse_beyond(self, name: str, width: int, channels: Sequence[int]) -> None:
        beyond = [channel for channel in channels if not 0 <= channel < width]
        if beyond:
            raise CouplingError(
                f"{name} has no output channel {beyond[0]}.",
                f"expected channels of 0 … {width - 1}, got {beyond[0]}",
                name=name,
                expected=width,
                got=beyond[0],
                way_out=f"ts.prune(model, {name!r}, channels=[{width - 1}], example_inputs=x)",
            )

    def _refuse_fixed(self, name: str, axis: Axis, wanted: Flags, classes: Axis) -> None:
        fixed = np.nonzero(wanted & (classes == 0))[0]
        if len(fixed):
            reason = self.coupling.paths.blame(int(axis[fixed[0]]))
            raise CouplingError(
                f"cannot prune channel {fixed[0]} of {name}: it stays.",
                in_words(reason),
                name=name,
                got=tuple(fixed.tolist()),
                way_out=f"see what can change with  ts.trace(model, x).group({name!r})",
            )

    def _refuse_partial(self, name: str, classes: Axis, wanted: Flags, channel: int) -> None:
        primes = self.classes.primes_of(classes[[channel]])
        smallest = min((np.nonzero(self.families.touches(classes, np.array([prime])))[0] for prime in primes), key=len)
        raise CouplingError(
            f"cannot prune channel {channel} of {name} alone: it goes together with {len(smallest) - 1} more of them.",
            f"expected all of {_numbers(smallest)}, got {_numbers(np.nonzero(wanted)[0])}",
            name=name,
            expected=tuple(smallest.tolist()),
            got=tuple(np.nonzero(wanted)[0].tolist()),
            way_out=f"ts.prune(model, {name!r}, channels={smallest.tolist() if len(smallest) <= 8 else '[…]'}, …)",
        )


def _numbers(indices: Axis) -> str:
    shown = ", ".join(str(i) for i in indices[:8].tolist())
    return shown + (f" and {len(indices) - 8} more" if len(indices) > 8 else "")
