"""The table of conversions, made from the registry:  python -m torchsurgery.tables docs/conversions.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from .errors import ConfigError
from .layers.building import signature_of
from .layers.conversion import Fidelity
from .layers.converting import convert
from .layers.dimensions import families
from .layers.registry import registered, targets_of

# Arguments of the layers that the table is made with, where the constructor wants any.
_ARGUMENTS: dict[str, Any] = {
    "embed_dim": 8,
    "embedding_dim": 4,
    "hidden_size": 4,
    "in_channels": 4,
    "in_features": 8,
    "input_size": 4,
    "kernel_size": 3,
    "norm_type": 2,
    "normalized_shape": 4,
    "num_channels": 4,
    "num_classes": 4,
    "num_embeddings": 8,
    "num_features": 4,
    "num_groups": 2,
    "num_heads": 2,
    "out_channels": 4,
    "out_features": 8,
    "output_size": 2,
    "padding": 1,
    "rank": 2,
    "size": 3,
    "threshold": 0.0,
    "value": 0.0,
}
# What else is varied; of several answers the best one counts.
_PATCHES = {"kernel_size": 2, "stride": 2}
_VARIED: dict[str, tuple[dict[str, Any], ...]] = {
    "BatchNorm1d": ({"affine": False},),
    "Conv1d": ({"kernel_size": 1},),
    "Conv2d": ({"kernel_size": 1}, _PATCHES),
    "Conv3d": ({"kernel_size": 1},),
    "ConvTranspose2d": (_PATCHES,),
    "FractionalMaxPool2d": ({"output_size": 2},),
    "FractionalMaxPool3d": ({"output_size": 2},),
    "GroupNorm": ({"num_groups": 4}, {"num_groups": 1}),
    **{f"PaddedConv{axes}d": ({"pads": ((1, 1),) * axes},) for axes in (1, 2, 3)},
    "Upsample": ({"scale_factor": 2},),
}
# These want one of two arguments, neither of which is required.
_NEVER_PLAIN = ("FractionalMaxPool2d", "FractionalMaxPool3d", "Upsample")
_DEPRECATED = ("NLLLoss2d",)
_OF_TWO = (
    nn.Sequential(nn.ZeroPad1d(1), nn.Conv1d(4, 4, 3)),
    nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3)),
    nn.Sequential(nn.ZeroPad3d(1), nn.Conv3d(4, 4, 3)),
    nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
)

_HEAD = """# What converts to what

*Made from the registry by `make docs`; not to be edited.*

A class in a row's first column can be given for each class in the others:  `ts.replace(model, nn.BatchNorm2d,
nn.GroupNorm, num_groups=8)`, or `ts.like(layer, nn.GroupNorm, num_groups=8)`. The column says how far the new layer
computes what the old one did, for the best of a few choices of arguments; the plan says it for yours. Classes that are
in no row convert to their subclasses and, by the names of arguments and tensors, to classes of yours. A convolution
that is to be a padding layer or a shuffle of pixels comes to a plain Sequential of that and of what is left of it; the
Sequential that goes back is one of a padding layer and a convolution, or, to an RMSNorm, of a Linear and a LayerNorm.

* **exact**: in training and in evaluation.
* **exact in eval**: in evaluation only, as with a dropout or the statistics of a batch norm.
* **approximate**: near, and nearer where the plan says so; its error is predicted where it can be.
* **initialised**: arguments carry, weights don't, or it is another function altogether.
"""


def conversions() -> str:
    """The page: a table for each family of torch.nn, and one of the layers over other numbers of axes."""
    sections: dict[str, list[str]] = {}
    for old in sorted(filter(_is_ours, registered()), key=lambda cls: cls.__name__):
        sections.setdefault(_family(old), []).append(_row(old))
    head = ["| from | exact | exact in eval | approximate | initialised |", "|---|---|---|---|---|"]
    blocks = ["\n".join([f"## {name}", "", *head, *rows]) for name, rows in sorted(sections.items())]
    return "\n\n".join([_HEAD.rstrip(), *blocks, _axes()]) + "\n"


def _family(cls: type) -> str:
    return cls.__module__.rpartition(".")[2] if cls.__module__.startswith("torch.nn") else "of torchsurgery"


def _row(old: type[nn.Module]) -> str:
    found: dict[Fidelity, list[str]] = {fidelity: [] for fidelity in Fidelity}
    samples = list(_samples(old))
    for new in sorted(filter(_is_ours, targets_of(old)), key=lambda cls: cls.__name__):
        if (fidelity := _best(_fidelity(sample, new) for sample in samples)) is not None:
            found[fidelity].append(new.__name__)
    return f"| {old.__name__} | {' | '.join(_listed(names) for names in found.values())} |"


def _samples(cls: type[nn.Module]) -> Iterator[nn.Module]:
    """Layers of a class, as far as there are arguments for them."""
    if cls is nn.Sequential:
        yield from _OF_TWO
    signature = signature_of(cls)
    for varied in ({}, *_VARIED.get(cls.__name__, ())):
        given = {**{name: _ARGUMENTS[name] for name in signature.required if name in _ARGUMENTS}, **varied}
        if given.keys() >= set(signature.required) and (varied or cls.__name__ not in _NEVER_PLAIN):
            yield cls(**given)


def _fidelity(old: nn.Module, new: Any) -> Fidelity | None:
    """How well `old` converts, with what else the new class needs; None where this layer doesn't."""
    needed = {name: _ARGUMENTS[name] for name in signature_of(new).required if name in _ARGUMENTS}
    found = [_tried(old, new, given) for given in ({}, *({name: needed[name]} for name in needed), needed)]
    return _best(found)


def _tried(old: nn.Module, new: Any, given: dict[str, Any]) -> Fidelity | None:
    try:
        return convert(old, new, given).fidelity
    except ConfigError:
        return None


def _best(found: Iterable[Fidelity | None]) -> Fidelity | None:
    known = [fidelity for fidelity in found if fidelity is not None]
    return min(known, key=list(Fidelity).index) if known else None


def _is_ours(cls: type) -> bool:
    """Whether it is torch's or this library's: the registry has the rules of users, too."""
    return cls.__module__.startswith(("torch.nn.", "torchsurgery.")) and cls.__name__ not in _DEPRECATED


def _listed(names: Iterable[str]) -> str:
    """`Conv1d, Conv2d, Conv3d` as `Conv1d/2d/3d`."""
    stems: dict[str, list[str]] = {}
    for name in names:
        match = re.fullmatch(r"(\w+?)(\dd)", name)
        stems.setdefault(match[1] if match else name, []).append(match[2] if match else "")
    return ", ".join(stem + "/".join(numbers) for stem, numbers in stems.items())


def _axes() -> str:
    rows = sorted({_listed([cls.__name__ for _, cls in sorted(members.items())]) for members in families()})
    lines = [
        "## Other numbers of axes",
        "",
        "`ts.convert.dims(model, 3)` takes these along, all at once, inflated or centred:",
        "",
        *(f"* {row}" for row in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(conversions(), encoding="utf-8")
