"""So many channels: of each layer named, of every group, or of all groups together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from math import ceil

import numpy as np
from torch import Tensor

from ..coupling.answers.bundles import Bundle
from ..coupling.answers.groups import Coupling
from ..coupling.constraints.atoms import Axis
from ..coupling.cuts.alignment import Unaligned, left_of_each
from ..coupling.solving.classes import Flags
from ..errors import CouplingError
from ..importance import Scores, Sources, scores_of
from ..progress import each
from .base import Choice, unit_of
from .wish import Amount, Wish

# Numbers of channels that are tried where a shuffle doesn't go with the one asked for.
_MOST_TRIES = 20


class ByAmount(Choice):
    """The channels that matter least, so many of them."""

    def __init__(self, coupling: Coupling, wish: Wish, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(coupling, wish, tensors)
        self.scores: dict[int, Scores] = {}
        self.shared_out: dict[tuple[int, int], Mapping[int, int]] = {}
        self.sources = Sources(coupling, tensors)

    def chosen(self) -> Flags:
        return self.select(self.wish.amount)

    def select(self, amount: Amount | None) -> Flags:
        """So much of the layers named, or of everything."""
        return self._everywhere(amount) if self.wish.layers is None else self._of_layers(self.wish.layers, amount)

    def _of_layers(self, layers: Iterable[str], amount: Amount | None) -> Flags:
        """So much of the output channels of each of these layers; layers of one group once."""
        dead = np.zeros(self.classes.count, bool)
        done: set[int] = set()
        for name in each(tuple(layers), "scoring"):
            axis = self.coupling.axis(name)
            primes = self.classes.primes_of(self.classes.of(axis))
            if not len(primes):
                raise self._pinned(name, axis, amount)
            able = self.bundles.levels(self.bundles.of(primes), self.wish.heads)
            units = {bundle.number: unit_of(self.coupling, bundle, axis) for bundle in able}
            costs = {b.number: self._misses(b, amount, units[b.number]) for b in able}
            chosen = self.bundles.one_of_each_product(able, lambda b: costs[b.number])  # noqa: B023 - called here
            for bundle in chosen:
                if bundle.number not in done:
                    done.add(bundle.number)
                    dead[self.lowest(bundle, self._removable(bundle, amount, units[bundle.number]))] = True
            self.refuse_ignored(name, self._with_bundles(chosen))
            if not chosen and isinstance(amount, int):
                self._refuse_number(name, able, amount, units)
        return dead

    def _pinned(self, name: str, axis: Axis, amount: Amount | None) -> CouplingError:
        number = amount if isinstance(amount, int) else round(len(axis) * (amount or 0))
        left = len(axis) - number
        is_output = any("the model's output" in reason.what for reason in self.coupling.why(name))
        return self.coupling.frozen(
            name,
            what=f"cannot prune {name} {len(axis)} → {left}.",
            way_out=f"change the number of classes with  ts.set_outputs(model, {left})" if is_output else "",
        )

    def _with_bundles(self, bundles: Sequence[Bundle]) -> Flags:
        flags = np.zeros(self.classes.count, bool)
        for bundle in bundles:
            for members in bundle.families:
                flags[members] = True
        return flags

    def _refuse_number(self, name: str, able: Sequence[Bundle], amount: int, units: Mapping[int, int]) -> None:
        """Raise, as no set of channels comes to a number."""
        bundle = min(able, key=lambda b: units[b.number])
        unit, most = units[bundle.number], self._most(bundle)
        if amount % unit:
            raise CouplingError(
                f"cannot prune {amount} channels of {name}: they go in sets of {unit}.",
                f"expected a multiple of {unit}, got {amount}",
                name=name,
                expected=unit,
                got=amount,
                way_out=f"ts.prune(model, {name!r}, {max(amount // unit, 1) * unit}, …)",
            )
        if amount // unit > most:
            least = bundle.size - most
            stay = "one must stay" if least == 1 else f"{least * unit} must stay"
            raise CouplingError(
                f"cannot prune {amount} channels of {name}: it has {bundle.size * unit}, and {stay}.",
                f"expected at most {most * unit}, got {amount}",
                name=name,
                expected=most * unit,
                got=amount,
                way_out=f"ts.prune(model, {name!r}, {max(most * unit // 2, 1)}, …)",
            )

    def _most(self, bundle: Bundle) -> int:
        """How many channels of a bundle may go at all."""
        least = self.wish.min_width
        stay = ceil(least * bundle.size) if isinstance(least, float) else ceil(least / bundle.unit)
        return max(0, bundle.size - max(1, stay))

    def _removable(self, bundle: Bundle, amount: Amount | None, unit: int = 1) -> int:
        number = round((amount or 0.0) * bundle.size) if not isinstance(amount, int) else amount // unit
        return self._rounded(bundle, min(number, self._most(bundle)))

    def _misses(self, bundle: Bundle, amount: Amount | None, unit: int = 1) -> float | None:
        """By how much of itself a bundle misses an amount, since it has whole channels only; None if it loses none."""
        number = self._removable(bundle, amount, unit)
        if number <= 0:
            return None
        if isinstance(amount, int) and self.wish.layers is not None:
            return None if amount % unit or amount // unit > self._most(bundle) else 0.0
        # Half of three heads is none, where their width can be halved, and the integers of the code with it.
        return abs(number - amount * bundle.size) / bundle.size if isinstance(amount, float) else 0.0

    def _rounded(self, bundle: Bundle, number: int) -> int:
        """Fewer, so that what is left of the widest axis is a multiple of `round_to`."""
        unit, multiple = bundle.unit, self.wish.round_to
        while number > 0 and (bundle.size - number) * unit % multiple:
            number -= 1
        return number

    def _everywhere(self, amount: Amount | None) -> Flags:
        """So much of every group; of a product one factor, heads rather than their width."""
        bundles = [bundle for bundle in self.bundles.all if bundle.size > 1 and not self._is_kept(bundle)]
        bundles = self.bundles.levels(bundles, self.wish.heads)
        chosen = self.bundles.one_of_each_product(bundles, lambda b: self._misses(b, amount), everywhere=True)
        self._score(members for bundle in chosen for members in bundle.families)
        if self.wish.ranked:
            return self._ranked(chosen, float(amount or 0.0))
        numbers = [(bundle, self._removable(bundle, amount)) for bundle in chosen]
        with suppress(Unaligned):
            self._share_out([(bundle, self._likely(bundle, number)) for bundle, number in numbers])
        dead = np.zeros(self.classes.count, bool)
        for bundle, number in numbers:
            dead[self.lowest(bundle, number)] = True
        return dead

    def _is_kept(self, bundle: Bundle) -> bool:
        return self._keeps_some and any(bool(self.kept[members].any()) for members in bundle.families)

    @cached_property
    def _keeps_some(self) -> bool:
        return bool(self.kept.any())

    def _ranked(self, bundles: Sequence[Bundle], share: float) -> Flags:
        """The lowest channels of all groups; each group's scores are taken relative to their mean."""
        relative = [np.sort(self._bundle_scores(b)) / max(float(self._bundle_scores(b).mean()), 1e-12) for b in bundles]
        threshold = np.quantile(np.concatenate(relative), share) if relative else 0.0
        dead = np.zeros(self.classes.count, bool)
        for bundle, scores in zip(bundles, relative, strict=True):
            number = min(int((scores < threshold).sum()), self._most(bundle))
            dead[self.lowest(bundle, self._rounded(bundle, number))] = True
        return dead

    # --- scores

    def lowest(self, bundle: Bundle, number: int) -> Axis:
        """The `number` channels of each of its families that matter least."""
        if number <= 0:
            return np.zeros(0, np.int64)
        found = []
        for members, scores in zip(bundle.families, self._family_scores(bundle), strict=True):
            own = len(members) - self._left_of(bundle, number)[int(members[0])] if bundle.is_shared_out else number
            found.append(members[scores.argsort(kind="stable")[:own]])
        return np.concatenate(found)

    def _left_of(self, bundle: Bundle, number: int) -> Mapping[int, int]:
        """How many of each family are left when so many of each part go, or if that can't be, nearly so many.

        Raises:
            Unaligned: if no number will do.
        """
        for other in self._near(bundle, number):
            try:
                self._share_out([(bundle, other)])
            except Unaligned:
                continue
            return self.shared_out.setdefault((bundle.number, number), self.shared_out[bundle.number, other])
        raise Unaligned(f"{number} of {bundle.size} channels can't be shared out")

    def _likely(self, bundle: Bundle, number: int) -> int:
        """The number to be tried first: the nearest that can't be ruled out without a trace."""
        if number <= 0 or not bundle.is_shared_out:
            return number
        near = self._near(bundle, number)
        return next((n for n in near if not self.narrower.rules_out([(bundle.families, 1 - n / bundle.size)])), number)

    def _near(self, bundle: Bundle, number: int) -> list[int]:
        """The numbers to be tried: that one alone where it was asked for."""
        if not isinstance(self.wish.amount, float) or (bundle.number, number) in self.shared_out:
            return [number]
        return sorted(range(1, self._most(bundle) + 1), key=lambda other: abs(other - number))[:_MOST_TRIES]

    def _share_out(self, wanted: Iterable[tuple[Bundle, int]]) -> None:
        """Find out how many of each family are left, for several bundles at once; where none needs that, nothing is."""
        going = [(bundle, number) for bundle, number in wanted if number > 0]
        new = [(b, n) for b, n in going if b.is_shared_out and (b.number, n) not in self.shared_out]
        if not new:
            return
        # With those that need not be asked about it is mostly the model that comes out, and one trace does for both.
        left = left_of_each(self.narrower, [(b.families, 1 - n / b.size) for b, n in going])
        self.shared_out.update({(bundle.number, number): left for bundle, number in new})

    def _bundle_scores(self, bundle: Bundle) -> Scores:
        """For each number of channels of a part what the one that goes last is worth."""
        found, at = [], np.linspace(0, 1, bundle.size)
        for scores in self._family_scores(bundle):
            ordered = np.sort(scores)
            even = len(ordered) == bundle.size
            found.append(ordered if even else np.interp(at, np.linspace(0, 1, len(ordered)), ordered))
        total: Scores = np.sum(found, axis=0)
        return total

    def _family_scores(self, bundle: Bundle) -> list[Scores]:
        self._score(bundle.families)
        return [self.scores[int(members[0])] for members in bundle.families]

    def _score(self, families: Iterable[Axis]) -> None:
        """Score the channels of families that have no scores yet: all at once, where they are known before."""
        new = [members for members in families if int(members[0]) not in self.scores]
        if new:
            scores = scores_of(self.sources, new, self.wish.by)
            self.scores.update(zip((int(members[0]) for members in new), scores, strict=True))
