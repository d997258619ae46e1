"""Embeddings and bags of them: one table serves both."""

from __future__ import annotations

from torch import nn

from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion

TABLES = (nn.Embedding, nn.EmbeddingBag)


@conversion(TABLES, TABLES)
def table_to_table(pair: Pair) -> Conversion:
    """The table carries; a bag of one entry is that entry, but for the padding, which counts for nothing in a bag."""
    result = pair.carry(fidelity=Fidelity.EXACT, ignores=("_freeze",))
    changed = [name for name, value in pair.config.items() if result.config.get(name, value) != value]
    bags = [issubclass(cls, nn.EmbeddingBag) for cls in (type(pair.old), result.new)]
    if bags[0] != bags[1]:
        return result.limited(Fidelity.APPROXIMATE, None, "exact for bags of one entry that is no padding")
    # How gradients are scaled and stored does not change what is computed.
    return (
        result.limited(Fidelity.APPROXIMATE) if set(changed) - {"scale_grad_by_freq", "sparse", "_freeze"} else result
    )
