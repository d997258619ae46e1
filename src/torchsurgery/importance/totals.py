"""Sums of powers over all weights of channels: of all families at once, where an importance comes to no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..coupling.constraints.atoms import Axis
from ..coupling.solving.joining import joined, parted
from .powers import remembered
from .sources import Sources

Totals = npt.NDArray[np.float64]


def totals_of(sources: Sources, members: Axis, exponent: int) -> Totals:
    """For each of some channels the sum of |weight| ** exponent over all weights that it has.

    Every weight is read once, and nothing is done group by group: there may be thousands of these.

    Args:
        sources: The model's weights.
        members: Channels of any families.
        exponent: A whole number.

    Returns:
        (channels,); zeros where nothing is known of the values.
    """
    classes, lists = sources.families.classes, sources.uses.lists
    sums = _by_list(list(_terms(sources, members, exponent)))
    labels = joined([lists[number] for number in sums])
    found: Totals = np.zeros(classes.count)
    found += np.bincount(labels, np.concatenate([np.zeros(0), *sums.values()]), classes.count)
    if len(classes.whole):  # what depends on several channels is of each of them
        own = np.broadcast_to(found[classes.whole][:, None], classes.primes.shape)
        found += np.bincount(classes.primes.reshape(-1), own.reshape(-1), classes.count)
    return found[members]


def _terms(sources: Sources, members: Axis, exponent: int) -> Iterator[tuple[int, Tensor]]:
    """For each axis that the channels reach into the list that it is of, and a sum for each of its entries."""
    uses, list_of_place = sources.uses, sources.uses.list_of.tolist()
    for leaf, places in groupby(sources.families.reached(members), lambda place: uses.places[place][0]):
        tensor = sources.weight(leaf)
        if tensor is None or tensor.is_meta:
            continue
        list_of = {uses.places[place][1]: list_of_place[place] for place in places}
        # On the axis that each group of a convolution has entries of its own along, they are listed group by group.
        blocks = {dim: len(uses.lists[number]) // tensor.shape[dim] for dim, number in list_of.items()}
        found = remembered(sources.sums, leaf, tensor.detach(), blocks, exponent)
        for dim, number in list_of.items():
            yield number, found[dim]


def _by_list(terms: Sequence[tuple[int, Tensor]]) -> dict[int, Totals]:
    """The sums of all axes of one list, added up."""
    found: dict[int, Totals] = {}
    for (number, _), sums in zip(terms, _on_cpu([sums for _, sums in terms]), strict=True):
        if number in found:
            found[number] += sums
        else:
            found[number] = sums.astype(np.float64)
    return found


def _on_cpu(sums: Sequence[Tensor]) -> list[Totals]:
    """As arrays; those of one device come together, since each transfer waits for all that is done there."""
    found: dict[int, Totals] = {i: s.numpy() for i, s in enumerate(sums) if s.device.type == "cpu"}
    for device in {s.device for s in sums if s.device.type != "cpu"}:
        here = [i for i, s in enumerate(sums) if s.device == device]
        whole = torch.cat([sums[i] for i in here]).cpu().numpy()
        found.update(zip(here, parted(whole, np.cumsum([len(sums[i]) for i in here])), strict=True))
    return [found[i] for i in range(len(sums))]
