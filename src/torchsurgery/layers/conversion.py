"""What turning one layer into another comes to, as data: the class, its arguments, where each tensor comes from."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from torch import nn

from ..origins import Origin

EMPTY: Mapping[str, Any] = MappingProxyType({})


@enum.unique
class Fidelity(enum.Enum):
    """How far the new layer computes what the old one did; from best to worst."""

    EXACT = "exact"
    EXACT_IN_EVAL = "exact in eval"
    APPROXIMATE = "approximate"
    INITIALISED = "initialised"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What turning an old layer into a `new` comes to. Nothing is built yet.

    Args:
        new: The class of the new layer; can be a subclass of the one asked for.
        config: The new layer's constructor arguments.
        origins: Where each parameter and buffer of the new layer comes from, by its name in the new layer.
        fidelity: How far the new layer computes what the old one did.
        error: The predicted relative error, root mean square, when approximate and known.
        dropped: Arguments of the old layer without a counterpart, such as "momentum=0.1".
        lost: Tensors of the old layer that nothing in the new one is made of.
        remarks: Sentences for whoever reads the plan.
        adopts: Whether the new layer takes over the old one's state as it is, without a constructor call. Then `config`
            and `origins` are empty: everything is the same.
    """

    new: type[nn.Module]
    config: Mapping[str, Any]
    origins: Mapping[str, Origin]
    fidelity: Fidelity
    error: float | None = None
    dropped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    adopts: bool = False
    # Other layers whose tensors the origins are computed from, by the prefix under which they name them.
    beside: Mapping[str, nn.Module] = field(default_factory=dict)
    # Whether the spare layer is initialised already.
    ready: bool = False
    # The skeleton that told the shapes: a user's constructor need not run twice. `build` takes it out.
    spare: list[nn.Module] = field(default_factory=list, repr=False, compare=False)

    def limited(self, fidelity: Fidelity, error: float | None = None, *remarks: str) -> Conversion:
        """This conversion, at best as good as `fidelity`; with the error that this predicts, and further remarks."""
        worst = max(self.fidelity, fidelity, key=list(Fidelity).index)
        known = error if worst is Fidelity.APPROXIMATE else None
        return replace(self, fidelity=worst, error=known, remarks=(*self.remarks, *remarks))


@dataclass(frozen=True, slots=True)
class Converter:
    """A way to convert that is more than a class with its arguments; in an edit it stands where a class may stand.

    Args:
        words: What the plan calls it.
        decide: From a layer and its name to what it comes to.
        way: From the layer's name to what says the same as data, a key of `recipes.ways.WAYS` and arguments; None of
            what can't be written down.
    """

    words: str
    decide: Callable[[nn.Module, str], Conversion]
    way: Callable[[str], tuple[str, Mapping[str, Any]]] | None = None

    def __call__(self, old: nn.Module, name: str) -> Conversion:
        return self.decide(old, name)

    @property
    def __name__(self) -> str:
        return self.words
