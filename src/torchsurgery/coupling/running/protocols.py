"""Integers by which a model tells how wide it is, though no forward of it reads them.

timm's models have `get_classifier()`, and tell how wide what comes into it is: `reset_classifier(10)` builds the next
head by that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from torch import nn

from ..constraints.atoms import Axis, Where
from ..constraints.integers import Attribute, Site, names_in
from ..constraints.record import Record

# Before a last convolution that belongs to the head, `num_features` is what comes into that.
_FEATURES = ("num_features", "embed_dim")
_HIDDEN = ("head_hidden_size", "in_features", *_FEATURES)


def follow_protocols(names: Mapping[nn.Module, str], record: Record) -> None:
    """Hold what a model tells of itself to the axis that it tells of, unless its code uses the number otherwise.

    Args:
        names: The model's modules.
        record: What its trace has gathered; is added to.
    """
    kinds = {kind for kind in set(map(type, names)) if callable(getattr(kind, "get_classifier", None))}
    if not kinds:
        return
    integers = record.integers
    done = {name for site in integers.sites for name in names_in(site.expression)}
    for module, name in names.items():
        for told, axis in _told(module, names, record) if type(module) in kinds else ():
            if told not in done and integers.attributes.get(told) == len(axis):
                done.add(told)
                integers.sites.append(Site(told, axis, Where("get_classifier", name)))


def _told(module: nn.Module, names: Mapping[nn.Module, str], record: Record) -> Iterator[tuple[Attribute, Axis]]:
    """Attributes of the model and of its head, each with an axis that it may tell the length of."""
    classifier = None
    with suppress(TypeError):  # somebody's own, which asks for arguments
        classifier = module.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Module) or classifier not in names:
        return
    owner, head = names[module], names[classifier].rpartition(".")[0]
    before = f"{owner}.conv_head" if owner else "conv_head"
    for axis in _given(before, record):
        yield from ((Attribute(owner, key), axis) for key in _FEATURES)
    for axis in _given(names[classifier], record):
        yield from ((Attribute(place, key), axis) for place in dict.fromkeys((owner, head)) for key in _HIDDEN)


def _given(layer: str, record: Record) -> list[Axis]:
    """The axis of a layer's weight that takes what comes into it, if there is one."""
    return [axis for axis in record.leaves.get(f"{layer}.weight", ())[1:2] if len(axis) > 1]
