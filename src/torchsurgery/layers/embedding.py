"""Embeddings and bags of them: one table serves both."""

from __future__ import annotations

from torch import nn

from ..origins import Origin
from .arguments import is_whole
from .conversion import Conversion, Fidelity
from .growing import first, moved
from .pair import Pair
from .registry import conversion

TABLES = (nn.Embedding, nn.EmbeddingBag)


@conversion(TABLES, TABLES)
def table_to_table(pair: Pair) -> Conversion:
    """The table carries; a bag of one entry is that entry, but for the padding, which counts for nothing in a bag."""
    entries = (pair.config["num_embeddings"], pair.overrides.get("num_embeddings", pair.config["num_embeddings"]))
    origins: dict[str, Origin] = {}
    if entries[0] != entries[1] and is_whole(entries[1], 1) and "embedding_dim" not in pair.overrides:
        origins["weight"] = moved("weight", (entries[1], pair.config["embedding_dim"]), first(*entries))
    result = pair.carry(origins=origins, fidelity=Fidelity.EXACT, ignores=("_freeze",))
    if origins:
        remark = f"the first {min(entries)} entries go on, of {max(entries)}"
        fidelity = Fidelity.INITIALISED if entries[1] > entries[0] else Fidelity.APPROXIMATE
        result = result.limited(fidelity, None, remark)
    changed = [name for name, value in pair.config.items() if result.config.get(name, value) != value]
    bags = [issubclass(cls, nn.EmbeddingBag) for cls in (type(pair.old), result.new)]
    if bags[0] != bags[1]:
        return result.limited(Fidelity.APPROXIMATE, None, "exact for bags of one entry that is no padding")
    # How gradients are scaled and stored does not change what is computed.
    return (
        result.limited(Fidelity.APPROXIMATE) if set(changed) - {"scale_grad_by_freq", "sparse", "_freeze"} else result
    )
