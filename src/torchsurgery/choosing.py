"""Which channels go: from what is asked for to the classes that die."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from .coupling.atoms import Axis
from .coupling.bundles import Bundle, Bundles
from .coupling.cuts import Cut, Remains, factors
from .coupling.groups import Coupling, in_words, layer_of
from .coupling.integers import Unsolved
from .coupling.solving import Flags
from .errors import CouplingError
from .importance import Importance, Scores, scores_of

Amount: TypeAlias = "int | float"
_MOST_REPAIRS = 200
_HALVINGS = 12


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


def choose(coupling: Coupling, wish: Wish, tensors: Mapping[str, Tensor]) -> tuple[Cut, Flags]:
    """The cut that a wish comes to, and the classes that die.

    Args:
        coupling: The traced model.
        wish: What is to go.
        tensors: The model's parameters and buffers, by name.

    Raises:
        CouplingError: if it can't go: it is pinned, or tied to something to be kept.
    """
    return _Choice(coupling, wish, tensors).run()


class _Choice:
    def __init__(self, coupling: Coupling, wish: Wish, tensors: Mapping[str, Tensor]) -> None:
        self.coupling, self.wish, self.tensors = coupling, wish, tensors
        self.classes, self.families = coupling.classes, coupling.families
        self.bundles = Bundles(coupling)
        self.scores: dict[int, Scores] = {}
        self.left: dict[str, str] = {}
        self.kept = self._ignored()

    def run(self) -> tuple[Cut, Flags]:
        wish = self.wish
        if wish.channels is not None:
            dead = self._exactly(wish)
        elif wish.params is not None or wish.macs is not None:
            dead = self._to_budget(wish)
        elif wish.layers is not None:
            dead = self._of_layers(wish.layers, wish.amount)
        else:
            dead = self._everywhere(wish.amount)
        free = wish.layers is None
        dead = self._repaired(dead, free)
        return Remains(self.coupling, dead).cut(self.left), dead

    # --- what may go

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
        name = self.coupling.aliases.get(name, name)
        return (leaf for leaf in self.coupling.record.leaves if layer_of(leaf) == name)

    # --- by channel

    def _exactly(self, wish: Wish) -> Flags:
        """Just these channels of one layer, with what belongs to them."""
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
        self._refuse_ignored(name, dead)
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

    def _refuse_ignored(self, name: str, dead: Flags) -> None:
        both = np.nonzero(dead & self.kept)[0]
        if not len(both):
            return
        group = self.coupling._group(np.nonzero(dead)[0])
        other = next(i for i in self.wish.ignore if any(m.module == i for m in group.members))
        steps = [str(step) for step in group.path(name, other)] if other != name else []
        raise CouplingError(
            f"cannot prune {name} and keep {other} (ignore=): they are one group.",
            " → ".join([name, *steps, other]),
            f"{len(group.modules)} modules change together: {len(group.giving)} that give these channels "
            f"and {len(group.taking)} that take them",
            name=name,
            way_out=f"drop ignore=, or see the group with  ts.trace(model, x).group({name!r})",
        )

    # --- by amount

    def _of_layers(self, layers: Iterable[str], amount: Amount | None) -> Flags:
        """So much of the output channels of each of these layers; layers of one group once."""
        dead = np.zeros(self.classes.count, bool)
        done: set[int] = set()
        for name in layers:
            axis = self.coupling.axis(name)
            primes = self.classes.primes_of(self.classes.of(axis))
            if not len(primes):
                raise self._pinned(name, axis, amount)
            chosen = self.bundles.one_of_each_product(self.bundles.of(primes), lambda b: self._misses(b, amount))
            for bundle in chosen:
                if bundle.number not in done:
                    done.add(bundle.number)
                    unit = unit_of(self.coupling, bundle, axis)
                    dead |= self._lowest(bundle, self._number(name, bundle, amount, unit, len(axis)))
            self._refuse_ignored(name, self._with_bundles(chosen))
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

    def _number(self, name: str, bundle: Bundle, amount: Amount | None, unit: int, width: int) -> int:
        """How many channels of a bundle an amount comes to."""
        if isinstance(amount, float) or amount is None:
            return self._removable(bundle, amount)
        if amount % unit:
            raise CouplingError(
                f"cannot prune {amount} channels of {name}: they go in sets of {unit}.",
                f"expected a multiple of {unit}, got {amount}",
                name=name,
                expected=unit,
                got=amount,
                way_out=f"ts.prune(model, {name!r}, {max(amount // unit, 1) * unit}, …)",
            )
        number = amount // unit
        if number >= bundle.size:
            raise CouplingError(
                f"cannot prune {amount} channels of {name}: it has {bundle.size * unit}, and one must stay.",
                f"expected at most {(bundle.size - 1) * unit}, got {amount}",
                name=name,
                expected=(bundle.size - 1) * unit,
                got=amount,
                way_out=f"ts.prune(model, {name!r}, {max((bundle.size - 1) * unit // 2, 1)}, …)",
            )
        return self._rounded(bundle, number)

    def _removable(self, bundle: Bundle, amount: Amount | None) -> int:
        number = round((amount or 0.0) * bundle.size) if not isinstance(amount, int) else amount
        return self._rounded(bundle, min(number, bundle.size - 1))

    def _misses(self, bundle: Bundle, amount: Amount | None) -> float | None:
        """By how much of itself a bundle misses an amount, since it has whole channels only; None if it loses none."""
        number = self._removable(bundle, amount)
        if number <= 0:
            return None
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
        bundles = [b for b in self.bundles.all if not self.kept[np.concatenate(b.families)].any() and b.size > 1]
        chosen = self.bundles.one_of_each_product(bundles, lambda b: self._misses(b, amount))
        if self.wish.ranked:
            return self._ranked(chosen, float(amount or 0.0))
        dead = np.zeros(self.classes.count, bool)
        for bundle in chosen:
            dead |= self._lowest(bundle, self._removable(bundle, amount))
        return dead

    def _ranked(self, bundles: Sequence[Bundle], share: float) -> Flags:
        """The lowest channels of all groups; each group's scores are taken relative to their mean."""
        relative = [np.sort(self._bundle_scores(b)) / max(float(self._bundle_scores(b).mean()), 1e-12) for b in bundles]
        threshold = np.quantile(np.concatenate(relative), share) if relative else 0.0
        dead = np.zeros(self.classes.count, bool)
        for bundle, scores in zip(bundles, relative, strict=True):
            number = min(int((scores < threshold).sum()), bundle.size - 1)
            dead |= self._lowest(bundle, self._rounded(bundle, number))
        return dead

    def _to_budget(self, wish: Wish) -> Flags:
        """The smallest amount that meets the budget, found by halving."""
        budget = wish.params if wish.params is not None else wish.macs
        whole = self._size(np.zeros(self.classes.count, bool))
        most = budget if isinstance(budget, int) else (budget or 0.0) * whole
        low, high = 0.0, 1.0
        best: Flags | None = None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            dead = self._repaired(self._select(middle), True)
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
        own = (leaf for leaf in self.coupling.record.leaves if isinstance(self.tensors.get(leaf), torch.nn.Parameter))
        return remains.params(frozenset(own))

    def _too_little(self, most: int) -> CouplingError:
        least = self._size(self._repaired(self._select(0.999), True))
        what = "parameters" if self.wish.params is not None else "multiplications"
        return CouplingError(
            f"the model can't be pruned to {most:,} {what}: {least:,} are left at the least.",
            f"expected at least {least:,}, got {most:,}",
            expected=least,
            got=most,
            way_out="ask for less, or see what is frozen with  print(ts.trace(model, x))",
        )

    def _select(self, amount: float) -> Flags:
        return self._everywhere(amount) if self.wish.layers is None else self._of_layers(self.wish.layers, amount)

    # --- scores

    def _lowest(self, bundle: Bundle, number: int) -> Flags:
        """The `number` channels of each of its families that matter least."""
        dead = np.zeros(self.classes.count, bool)
        if number <= 0:
            return dead
        for members, scores in zip(bundle.families, self._family_scores(bundle), strict=True):
            dead[members[np.argsort(scores, kind="stable")[:number]]] = True
        return dead

    def _bundle_scores(self, bundle: Bundle) -> Scores:
        total: Scores = np.sum([np.sort(scores) for scores in self._family_scores(bundle)], axis=0)
        return total

    def _family_scores(self, bundle: Bundle) -> list[Scores]:
        found = []
        for members in bundle.families:
            key = int(members[0])
            if key not in self.scores:
                self.scores[key] = scores_of(self.coupling, members, self.tensors, self.wish.by)
            found.append(self.scores[key])
        return found

    # --- what can't be

    def _repaired(self, dead: Flags, free: bool) -> Flags:
        """Revive what must not go after all; where the user has named the layer, refuse instead."""
        dead = dead & ~self.kept
        for _ in range(_MOST_REPAIRS):
            remains = Remains(self.coupling, dead)
            revived = self._to_revive(remains)
            if revived is None:
                return dead
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
        for parts in self.coupling.record.balanced:
            if len({remains.count(part) for part in parts}) > 1 and len({len(part) for part in parts}) == 1:
                return parts, "the parts of a chunk must be of one size", self._name()
        try:
            remains.attributes()
        except Unsolved as error:
            return error.axes, f"the code computes a size that can't follow: {error}", error.where.module
        return None

    def _name(self) -> str:
        return ", ".join(self.wish.layers or ()) or "the model"


def unit_of(coupling: Coupling, bundle: Bundle, axis: Axis) -> int:
    """How many entries of an axis go with one channel of a bundle."""
    classes = coupling.classes.of(axis)
    touched = coupling.families.touches(classes, np.concatenate(bundle.families))
    own = coupling.classes.primes_of(classes)
    channels = len(np.intersect1d(np.concatenate(bundle.families), own))
    return max(1, int(touched.sum()) // max(channels, 1))


_SMALLER = "prune another number of channels, or see the group with  ts.trace(model, x).group(name)"


def _numbers(indices: Axis) -> str:
    shown = ", ".join(str(i) for i in indices[:8].tolist())
    return shown + (f" and {len(indices) - 8} more" if len(indices) > 8 else "")
