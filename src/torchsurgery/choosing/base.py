"""What every way of choosing has: the model's bundles, what must stay, and the repair of what can't go after all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..coupling.answers.bundles import Bundle, Bundles
from ..coupling.answers.groups import Coupling, Group
from ..coupling.constraints.atoms import Axis
from ..coupling.constraints.record import layer_of
from ..coupling.cuts.alignment import Narrower, orders
from ..coupling.cuts.cut import Cut, Remains, factors
from ..coupling.solving.classes import Flags
from ..errors import CouplingError
from .wish import Wish

_MOST_REPAIRS = 200
_MOST_TRIALS = 200
_SMALLER = "prune another number of channels, or see the group with  ts.trace(model, x).group(name)"


class Chosen(NamedTuple):
    """What goes.

    Attributes:
        cut: As plain data.
        dead: The prime classes that die.
        coupling: The coupling that they are classes of.
    """

    cut: Cut
    dead: Flags
    coupling: Coupling


class Choice:
    """One choice: what is asked for, of which model."""

    def __init__(self, coupling: Coupling, wish: Wish, tensors: Mapping[str, Tensor]) -> None:
        self.coupling, self.wish, self.tensors = coupling, wish, tensors
        self.classes, self.families = coupling.classes, coupling.families
        self.bundles, self.narrower = Bundles(coupling), Narrower(coupling)
        self.left: dict[str, str] = {}
        self.trials = _MOST_TRIALS
        self._last: Remains | None = None
        self.kept = self._ignored()

    def cut(self) -> Chosen:
        """What the wish comes to.

        Raises:
            CouplingError: if it can't go.
            Unaligned: if a shuffle stands in the way of losing other channels in each of its rows.
        """
        dead = self.repaired(self.chosen(), free=self.wish.layers is None)
        remains = self.remains(dead)
        return Chosen(remains.cut(self.left, orders(self.narrower, remains)), dead, self.coupling)

    def remains(self, dead: Flags) -> Remains:
        """What is left when these die; of the same ones it is not worked out twice in a row."""
        if self._last is None or self._last.dead is not dead:
            self._last = Remains(self.coupling, dead)
        return self._last

    def chosen(self) -> Flags:
        """The prime classes that are to die."""
        raise NotImplementedError

    # --- what must stay

    def _ignored(self) -> Flags:
        """Prime classes that stay because the user says so."""
        flags = np.zeros(self.classes.count, bool)
        for name in self.wish.ignore:
            for leaf in self._leaves(name):
                for axis in self.coupling.record.leaves[leaf]:
                    if self.coupling.record.roles.get(id(axis), "") != "in":
                        flags[self.classes.primes_of(self.classes.of(axis))] = True
        if self.wish.exact:
            for axis, _ in (*self.coupling.record.mixing, *factors(self.coupling)):
                flags[self.classes.primes_of(self.classes.of(axis))] = True
        return flags

    def _leaves(self, name: str) -> Iterator[str]:
        """The tensors of a layer, and of all layers in it."""
        name = self.coupling.aliases.get(name, name)
        for leaf in self.coupling.record.leaves:
            if f"{layer_of(leaf)}.".startswith(f"{name}." if name else ""):
                yield leaf

    def refuse_ignored(self, name: str, dead: Flags) -> None:
        """Raise if what is to die for a layer is to stay for another.

        Raises:
            CouplingError: naming the other layer, and what ties them.
        """
        both = np.nonzero(dead & self.kept)[0]
        if not len(both):
            return
        group = self.coupling._group(np.nonzero(dead)[0])
        other = next(i for i in self.wish.ignore if _member(group, i))
        inside = _member(group, other)
        steps = [str(step) for step in group.path(name, inside)] if inside != name else []
        raise CouplingError(
            f"cannot prune {name} and keep {other} (ignore=): they are one group.",
            " → ".join([name, *steps, inside]),
            f"{len(group.modules)} modules change together: {len(group.giving)} that give these channels "
            f"and {len(group.taking)} that take them",
            name=name,
            way_out=f"drop ignore=, or see the group with  ts.trace(model, x).group({name!r})",
        )

    # --- what can't go after all

    def repaired(self, dead: Flags, free: bool) -> Flags:
        """Revive what must not go after all; where the user has named the layer, refuse instead."""
        dead = dead & ~self.kept
        failed: set[bytes] = set()
        for _ in range(_MOST_REPAIRS):
            remains = self.remains(dead)
            revived = self._to_revive(remains)
            if revived is None:
                return dead
            failed.add(dead.tobytes())
            recounted = self._recounted(dead, remains, failed) if free else None
            if recounted is not None:
                dead = recounted
                continue
            axes, why, name = revived
            primes = self.classes.primes_of(np.concatenate([self.classes.of(axis) for axis in axes]))
            primes = primes[dead[primes]]
            if not free or not len(primes):
                raise CouplingError(f"cannot prune {name}: {why}.", name=name, way_out=_SMALLER)
            self.left[name] = why
            dead = dead.copy()
            dead[primes] = False
        return np.zeros(self.classes.count, bool)

    def _to_revive(self, remains: Remains) -> tuple[list[Axis], str, str] | None:
        emptied = remains.emptied()
        if emptied is not None:
            leaf, dim = emptied
            return [self.coupling.leaf_axis(leaf, dim)], f"nothing of {leaf} would be left", layer_of(leaf)
        for axis, number, why in self.coupling.record.apart:
            if remains.count(axis) == number:
                return [axis], why, self._name()
        for parts in self.coupling.balanced:
            if len({len(part) for part in parts}) == 1 and remains.differ(parts):
                return list(parts), "the parts of a chunk must be of one size", self._name()
        error = remains.unsolved
        if error is None:
            return None
        return error.axes, f"the code computes a size that can't follow: {error}", error.where.module

    def _recounted(self, dead: Flags, remains: Remains, failed: Set[bytes]) -> Flags | None:
        """Another number of one bundle, as near as there is, with which sizes fit: heads · width is the stream.

        What has failed is not tried again: two layers may each undo what the other one asks for.
        """
        error = remains.unsolved
        if error is None:
            return None
        primes = self.classes.primes_of(np.concatenate([self.classes.of(axis) for axis in error.axes]))
        for bundle in self.bundles.of(primes):
            now = int(dead[bundle.part].sum())
            for number in sorted(range(1, bundle.size), key=lambda n: abs(n - now)) if now else ():
                if number == now or not self.trials:
                    continue
                self.trials -= 1
                trial: Flags = dead.copy()
                trial[np.concatenate(bundle.families)] = False
                trial[self.lowest(bundle, number)] = True
                if trial.tobytes() in failed:
                    continue
                again = Remains(self.coupling, trial).unsolved
                if again is None or again.where.module != error.where.module:
                    return trial
        return None

    def lowest(self, bundle: Bundle, number: int) -> Axis:
        """The prime classes of so many channels of a bundle, those that matter least."""
        raise NotImplementedError

    def _name(self) -> str:
        return ", ".join(self.wish.layers or ()) or "the model"


def _member(group: Group, name: str) -> str:
    """A layer of the group that is the named one or lies in it, one that gives its channels first; "" if none does."""
    layers = (*group.giving, *group.taking)
    return next((layer for layer in layers if f"{layer}.".startswith(f"{name}." if name else "")), "")


def unit_of(coupling: Coupling, bundle: Bundle, axis: Axis) -> int:
    """How many entries of an axis go with one channel of a bundle."""
    classes = coupling.classes.of(axis)
    touched = coupling.families.touches(classes, np.concatenate(bundle.families))
    return max(1, int(touched.sum()) // bundle.size)
