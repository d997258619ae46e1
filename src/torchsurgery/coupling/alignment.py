"""What a narrower model makes of its shuffles: how many channels of each family it has, and in which order.

Once some channels are gone, a channel shuffle brings the others to other places, and halves of what it gives consist of
other numbers of each family. All that can be read off the model itself, traced as if it were that narrow: its families
are the old ones, told by the axes and parts that they are found in, and each layer takes its channels in the order in
which the narrower model brings them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import TraceError
from ..origins import Entries
from .atoms import Axis
from .cuts import Numbers, Remains
from .families import Families
from .groups import Coupling
from .integers import Unsolved

# Parameter or buffer → axis → the old entries that it has then, in order.
Orders = dict[str, dict[int, Entries]]


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


def left_of_each(coupling: Coupling, bundles: Sequence[tuple[Sequence[Axis], float]]) -> Mapping[int, int]:
    """How many channels of each family are left, by the first class of the family.

    Args:
        coupling: The traced model.
        bundles: Families that lose channels together, and which share of them is left.

    Raises:
        Unaligned: if it can't be told.
    """
    share = np.ones(coupling.classes.count)
    for families, part in bundles:
        share[np.concatenate(list(families))] = part
    share[0] = 1.0
    narrow = _again(coupling, Shares(coupling, share)).families
    known = dict(_pairs(coupling.families, narrow))
    if len(narrow.lists) > sum(new is not None for new in known.values()):
        raise Unaligned("the narrower model has other families")
    found = {}
    for families, _ in bundles:
        for members in families:
            new = known.get(int(coupling.families.number[members[0]]), -1)
            left = 0 if new is None else len(narrow.lists[new])
            if new == -1 or left > len(members):
                raise Unaligned("the narrower model has more of a family")
            found[int(members[0])] = left
    return found


def orders(coupling: Coupling, remains: Remains) -> Orders:
    """The order of what is left of each axis that a shuffle has to do with.

    Raises:
        Unaligned: if the narrower model is not the old one with channels left out.
    """
    turned = [rows.split.whole for rows in coupling.rows if rows.split.is_turned]
    touched = [axis for axis in turned if not remains.flags(axis).all()]
    if not touched:
        return {}
    narrow = _again(coupling, remains)
    was = _was(coupling.families, narrow.families, remains)
    channels = coupling.classes.primes_of(coupling.classes.of(np.concatenate(touched)))
    found: Orders = {}
    for place in coupling.families.reached(channels):
        leaf, dim = coupling.families.uses.places[place]
        old = _keys(coupling, coupling.leaf_axis(leaf, dim), np.arange(coupling.classes.count))
        new = _keys(narrow, narrow.leaf_axis(leaf, dim), was)
        taken = _taken(old, new)
        is_unrolled = (leaf, dim) in coupling.unrolled
        length = len(coupling.record.leaves[leaf][dim])
        found.setdefault(leaf, {})[dim] = _in_blocks(taken, length) if is_unrolled else tuple(taken.tolist())
    return found


def _in_blocks(taken: Axis, length: int) -> Entries:
    """What each block of a weight takes of its own, given what all of them take one after the other."""
    blocks = taken // length
    lists = [tuple((taken[blocks == block] % length).tolist()) for block in dict.fromkeys(blocks.tolist())]
    if not _in_runs(blocks) or len({len(entries) for entries in lists}) > 1:
        raise Unaligned("a group takes channels of another one")
    return lists[0] if len(set(lists)) == 1 else tuple(lists)


def _again(coupling: Coupling, numbers: Numbers) -> Coupling:
    if coupling.again is None:
        raise Unaligned("the model can't be traced as if it were narrower")
    try:
        return coupling.again(numbers)
    except (TraceError, Unsolved) as error:
        raise Unaligned(str(error)) from error


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


def _keys(coupling: Coupling, axis: Axis, was: Axis) -> Axis:
    """For each entry the old prime classes that it depends on, in order, filled up with 0."""
    classes = coupling.classes
    row = np.full(classes.count, -1, np.int64)
    row[classes.whole] = np.arange(len(classes.whole))
    labels = classes.of(axis)
    width = max(1, classes.primes.shape[1] if len(classes.whole) else 1)
    keys = np.zeros((len(axis), width), np.int64)
    keys[:, 0] = labels
    deep = row[labels] >= 0
    if deep.any():
        keys[deep] = classes.primes[row[labels[deep]]]
    return np.sort(np.where(keys > 0, was[keys], 0), 1)[:, ::-1]


def _taken(old: Axis, new: Axis) -> Axis:
    """For each entry of the narrower axis the old one that it is."""
    width = max(old.shape[1], new.shape[1])
    both = np.concatenate([np.pad(keys, ((0, 0), (0, width - keys.shape[1]))) for keys in (old, new)])
    # What stays for good can't be told apart, nor what has no counterpart.
    if (both[:, 0] == 0).any() or (both < 0).any():
        raise Unaligned("entries that can't be told apart, or are others than before")
    _, numbers = np.unique(both, axis=0, return_inverse=True)
    before, after = np.split(numbers.reshape(-1), [len(old)])
    left = np.nonzero(np.isin(before, after))[0]
    if not (_in_runs(before) and _in_runs(after)):
        raise Unaligned("one channel at several places")
    mine, theirs = np.argsort(before[left], kind="stable"), np.argsort(after, kind="stable")
    if len(mine) != len(theirs) or (before[left][mine] != after[theirs]).any():
        raise Unaligned("other numbers of entries of a channel")
    taken = np.empty(len(new), np.int64)
    taken[theirs] = left[mine]
    return taken


def _in_runs(numbers: Axis) -> bool:
    """Whether equal numbers stand next to each other."""
    runs = 1 + int(np.count_nonzero(numbers[1:] != numbers[:-1])) if len(numbers) else 0
    return runs == len(np.unique(numbers))
