"""Sums of powers over all weights of channels: of all families at once, where an importance comes to no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..coupling.constraints.atoms import Axis
from ..coupling.solving.joining import joined, parted
from .powers import Values, remembered
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


def _terms(sources: Sources, members: Axis, exponent: int) -> Iterator[tuple[int, Values | Tensor]]:
    """For each axis that the channels reach into the list that it is of, and a sum for each of its entries."""
    uses = sources.uses
    lists: dict[str, dict[int, int]] = {}
    for place in sources.families.reached(members):
        leaf, dim = uses.places[place]
        lists.setdefault(leaf, {})[dim] = int(uses.list_of[place])
    for leaf, list_of in lists.items():
        tensor = sources.weight(leaf)
        if tensor is None or tensor.is_meta:
            continue
        # On the axis that each group of a convolution has entries of its own along, they are listed group by group.
        blocks = {dim: len(uses.lists[number]) // tensor.shape[dim] for dim, number in list_of.items()}
        sums = remembered(sources.sums, leaf, tensor, blocks, exponent)
        for dim, number in list_of.items():
            yield number, sums[dim]


def _by_list(terms: Sequence[tuple[int, Values | Tensor]]) -> dict[int, Totals]:
    """The sums of all axes of one list, added up."""
    found: dict[int, Totals] = {}
    for (number, _), sums in zip(terms, _fetched([sums for _, sums in terms]), strict=True):
        if number in found:
            found[number] += sums
        else:
            found[number] = sums.astype(np.float64)
    return found


def _fetched(sums: Sequence[Values | Tensor]) -> list[Values]:
    """As arrays; tensors of one device come together, since each transfer waits for all that is done there."""
    found = {i: s for i, s in enumerate(sums) if isinstance(s, np.ndarray)}
    tensors = {i: s for i, s in enumerate(sums) if isinstance(s, Tensor)}
    for device in {tensor.device for tensor in tensors.values()}:
        here = [i for i, tensor in tensors.items() if tensor.device == device]
        whole = torch.cat([tensors[i] for i in here]).cpu().numpy()
        found.update(zip(here, parted(whole, np.cumsum([len(tensors[i]) for i in here])), strict=True))
    return [found[i] for i in range(len(sums))]
