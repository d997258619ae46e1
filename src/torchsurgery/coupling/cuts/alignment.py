"""What a narrower model makes of its shuffles: how many channels of each family it has, and in which order.

Once some channels are gone, a channel shuffle brings the others to other places, and halves of what it gives consist of
other numbers of each family. All that can be read off the model itself, traced as if it were that narrow: its families
are the old ones, told by the axes and parts that they are found in, and each layer takes its channels in the order in
which the narrower model brings them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ...errors import TraceError
from ...origins import Entries
from ..answers.families import Families
from ..answers.groups import Coupling
from ..constraints.atoms import Axis
from ..constraints.integers import Unsolved, Widths
from ..solving.classes import Classes
from .cut import Numbers, Remains, widths_of
from .foreseeing import Foresight

# Parameter or buffer → axis → the old entries that it has then, in order.
Orders = dict[str, dict[int, Entries]]
# Families that lose channels together, and which share of them is left.
Parts: TypeAlias = "Sequence[tuple[Sequence[Axis], float]]"


class Unaligned(Exception):
    """The narrower model is not the old one with channels left out."""


class Shares(Numbers):
    """How many entries each axis will have when an equal share of all channels of some families is left."""

    def __init__(self, coupling: Coupling, share: npt.NDArray[np.float64]) -> None:
        super().__init__(coupling)
        self.share, classes = share.copy(), coupling.classes
        if len(classes.whole):
            self.share[classes.whole] = self.share[classes.primes].prod(1)

    def count(self, axis: Axis) -> int:
        left = float(self.share[self.coupling.classes.of(axis)].sum())
        if abs(left - round(left)) > 1e-6:
            raise Unaligned(f"{left:.2f} entries of an axis would be left")
        return round(left)


class Narrower:
    """A model traced as if it were narrower.

    Attributes:
        coupling: The model as it is.
    """

    def __init__(self, coupling: Coupling) -> None:
        self.coupling = coupling
        self._last: tuple[Widths, Coupling] | None = None

    def rules_out(self, parts: Parts) -> bool:
        """Whether it can be told without a trace that the narrower model would not be this one."""
        return self._foresight.brings_others(_shares(self.coupling, parts))

    @cached_property
    def _foresight(self) -> Foresight:
        return Foresight(self.coupling)

    def of(self, numbers: Numbers) -> Coupling:
        """With these numbers of entries; where those are asked for that were asked for last, it is not traced again.

        Raises:
            Unaligned: if it can't be.
        """
        if self.coupling.again is None:
            raise Unaligned("the model can't be traced as if it were narrower")
        try:
            widths = widths_of(self.coupling.record, numbers)
            if self._last is None or self._last[0] != widths:
                self._last = widths, self.coupling.again(numbers)
        except (TraceError, Unsolved) as error:
            raise Unaligned(str(error)) from error
        return self._last[1]


def _shares(coupling: Coupling, parts: Parts) -> npt.NDArray[np.float64]:
    """For each class which share of its family is left."""
    share = np.ones(coupling.classes.count)
    for families, part in parts:
        share[np.concatenate(list(families))] = part
    share[0] = 1.0
    return share


def left_of_each(narrower: Narrower, parts: Parts) -> Mapping[int, int]:
    """How many channels of each family are left, by the first class of the family.

    Args:
        narrower: The traced model.
        parts: Families that lose channels together, and which share of them is left.

    Raises:
        Unaligned: if it can't be told.
    """
    coupling = narrower.coupling
    if narrower.rules_out(parts):
        raise Unaligned("the narrower model has other families, as its shuffles tell")
    narrow = narrower.of(Shares(coupling, _shares(coupling, parts))).families
    known = dict(_pairs(coupling.families, narrow))
    if len(narrow.lists) > sum(new is not None for new in known.values()):
        raise Unaligned("the narrower model has other families")
    found = {}
    for families, _ in parts:
        for members in families:
            new = known.get(int(coupling.families.number[members[0]]), -1)
            left = 0 if new is None else len(narrow.lists[new])
            if new == -1 or left > len(members):
                raise Unaligned("the narrower model has more of a family")
            found[int(members[0])] = left
    return found


def orders(narrower: Narrower, remains: Remains) -> Orders:
    """The order of what is left of each axis that a shuffle has to do with.

    Raises:
        Unaligned: if the narrower model is not the old one with channels left out.
    """
    coupling = narrower.coupling
    turned = [rows.split.whole for rows in coupling.rows if rows.split.is_turned]
    touched = [axis for axis in turned if not remains.flags(axis).all()]
    if not touched:
        return {}
    channels = coupling.classes.primes_of(coupling.classes.of(np.concatenate(touched)))
    found: Orders = {}
    for place, taken in _taken_at(coupling.families.reached(channels), coupling, narrower.of(remains), remains):
        leaf, dim = coupling.families.uses.places[place]
        is_unrolled = (leaf, dim) in coupling.unrolled
        length = len(coupling.record.leaves[leaf][dim])
        found.setdefault(leaf, {})[dim] = _in_blocks(taken, length) if is_unrolled else tuple(taken.tolist())
    return found


def _taken_at(
    places: Sequence[int], coupling: Coupling, narrow: Coupling, remains: Remains
) -> Iterator[tuple[int, Axis]]:
    """For some axes of tensors the old entries that they have in the narrower model, in order."""
    was = _was(coupling.families, narrow.families, remains)
    same = np.arange(coupling.classes.count)
    old, new, known = coupling.families.uses, narrow.families.uses, dict[tuple[int, int], Axis]()
    for place in places:
        # Most axes are of the same classes as others, before and after.
        lists = int(old.list_of[place]), int(new.list_of[place])
        if lists not in known:
            before = _keys(coupling.classes, old.lists[lists[0]], same)
            known[lists] = _taken(before, _keys(narrow.classes, new.lists[lists[1]], was))
        yield place, known[lists]


def _in_blocks(taken: Axis, length: int) -> Entries:
    """What each block of a weight takes of its own, given what all of them take one after the other."""
    blocks = taken // length
    lists = [tuple((taken[blocks == block] % length).tolist()) for block in dict.fromkeys(blocks.tolist())]
    if not _in_runs(blocks) or len({len(entries) for entries in lists}) > 1:
        raise Unaligned("a group takes channels of another one")
    return lists[0] if len(set(lists)) == 1 else tuple(lists)


def _pairs(old: Families, new: Families) -> list[tuple[int, int | None]]:
    """Families of both models that are one, by what they are found in; where several are alike, in their order."""
    if len(old.uses.places) != len(new.uses.places):
        raise Unaligned("the narrower model has other tensors")
    found: list[tuple[int, int | None]] = []
    there = _numbered(new.kinds)
    for kind, mine in _numbered(old.kinds).items():
        theirs = there.get(kind, [])
        if len(theirs) == len(mine):
            found += zip(mine, theirs, strict=True)
        elif not theirs:
            found += [(number, None) for number in mine]
    return found


def _numbered(kinds: Axis) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, kind in enumerate(kinds.tolist()):
        found.setdefault(kind, []).append(number)
    return found


def _was(old: Families, new: Families, remains: Remains) -> Axis:
    """For each class of the narrower model the old one that it stands for, or −1."""
    was = np.full(new.classes.count, -1, np.int64)
    was[0] = 0
    for mine, theirs in _pairs(old, new):
        left = old.lists[mine][~remains.dead[old.lists[mine]]]
        if theirs is not None and len(left) == len(new.lists[theirs]):
            was[new.lists[theirs]] = left
    return was


def _keys(classes: Classes, labels: Axis, was: Axis) -> Axis:
    """For each entry, given its class, the old prime classes that it depends on, in order, filled up with 0."""
    keys = np.zeros((len(labels), max(1, classes.primes.shape[1])), np.int64)
    keys[:, 0] = labels
    row = classes.row_of[labels]
    keys[row >= 0] = classes.primes[row[row >= 0]]
    return np.sort(np.where(keys > 0, was[keys], 0), 1)[:, ::-1]


def _taken(old: Axis, new: Axis) -> Axis:
    """For each entry of the narrower axis the old one that it is."""
    width = max(old.shape[1], new.shape[1])
    both = np.concatenate([np.pad(keys, ((0, 0), (0, width - keys.shape[1]))) for keys in (old, new)])
    # What stays for good can't be told apart, nor what has no counterpart.
    if (both[:, 0] == 0).any() or (both < 0).any():
        raise Unaligned("entries that can't be told apart, or are others than before")
    before, after = np.split(_row_numbers(both), [len(old)])
    left = np.nonzero(np.isin(before, after))[0]
    if not (_in_runs(before) and _in_runs(after)):
        raise Unaligned("one channel at several places")
    mine, theirs = np.argsort(before[left], kind="stable"), np.argsort(after, kind="stable")
    if len(mine) != len(theirs) or (before[left][mine] != after[theirs]).any():
        raise Unaligned("other numbers of entries of a channel")
    taken = np.empty(len(new), np.int64)
    taken[theirs] = left[mine]
    return taken


def _row_numbers(rows: Axis) -> Axis:
    """One number for each row, the same for equal ones. `np.unique` of rows compares bytes, which takes far longer."""
    number = rows[:, 0]
    for column in rows.T[1:]:
        if column.any():
            number = np.unique(number, return_inverse=True)[1] * (column.max() + 1) + column
    return number


def _in_runs(numbers: Axis) -> bool:
    """Whether equal numbers stand next to each other."""
    runs = 1 + int(np.count_nonzero(numbers[1:] != numbers[:-1])) if len(numbers) else 0
    return runs == len(np.unique(numbers))
