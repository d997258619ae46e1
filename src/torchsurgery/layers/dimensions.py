"""Layers over other numbers of spatial axes: images to volumes or to signals, and back.

New axes come in front of the old ones, and of axes that go the first ones go. A new axis is treated as the first old
one is: as many taps, the same stride, the same padding. What the new taps hold is a choice: *inflated*, every one the
same share of the old weight, so that an input that is constant along the new axis gives what it gave; or *centred*, the
old weight in the middle and zeros around it, so that each slice by itself gives what it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ..errors import ConfigError
from .building import adopted
from .config import arguments_of
from .conversion import EMPTY, Conversion, Fidelity
from .fresh import on_meta
from .pair import Pair
from .refusals import own_forward, refuse

CONSTANT = "exact where the input is constant along the new axis"
ENDS = f"{CONSTANT}, away from its ends"


@dataclass(frozen=True, slots=True)
class Axes:
    """How layers go over to another number of axes.

    Args:
        new: How many axes they are to have.
        centred: Whether the old weight lies in the middle of the new axis rather than shared out along it.
        kernel: Taps of convolutions along a new axis, or None for as many as along the first one.
        strided: Whether strides, pools and upsampling work along a new axis as along the first one, or not at all.
    """

    new: int
    centred: bool = False
    kernel: int | None = None
    strided: bool = True


Turn = Callable[[Pair, int, Axes], Conversion]


@dataclass(frozen=True, slots=True)
class _Family:
    axes: int
    members: Mapping[int, type[nn.Module]]
    turn: Turn
    telling: bool


_FAMILIES: dict[type, _Family] = {}


def over_axes(*members: type[nn.Module], first: int = 1, telling: bool = True) -> Callable[[Turn], Turn]:
    """Registers how layers of these classes, one for each number of axes, turn into each other.

    Args:
        members: The classes, in the order of their axes.
        first: The axes of the first one.
        telling: Whether such a layer tells how many axes its model has; a norm may also stand where none is left.
    """

    def register(turn: Turn) -> Turn:
        numbered = dict(enumerate(members, first))
        for axes, cls in numbered.items():
            _FAMILIES[cls] = _Family(axes, numbered, turn, telling)
        return turn

    return register


def axes_of_layer(cls: type) -> int | None:
    """The spatial axes that layers of a class work on; None where they work on any number, or on none."""
    family = _family(cls)
    return family.axes if family else None


def sets_axes(cls: type) -> bool:
    """Whether a layer of this class tells how many axes its model has."""
    family = _family(cls)
    return family is not None and family.telling


def _family(cls: type) -> _Family | None:
    return next((_FAMILIES[base] for base in cls.__mro__ if base in _FAMILIES), None)


def families() -> list[Mapping[int, type[nn.Module]]]:
    """The layers that turn into each other, by their numbers of axes."""
    return list({id(family.members): family.members for family in _FAMILIES.values()}.values())


def over(old: nn.Module, axes: Axes) -> Conversion:
    """What `old` comes to over `axes.new` axes.

    Raises:
        ConfigError: if there is no such layer.
    """
    base, family = next((base, _FAMILIES[base]) for base in type(old).__mro__ if base in _FAMILIES)
    new = family.members.get(axes.new)
    if new is None:
        raise ConfigError(f"torch.nn has no {base.__name__} over {in_words(axes.new)}.", got=type(old))
    refuse(old, new)
    if type(old).forward is not base.forward:  # type: ignore[attr-defined]
        raise own_forward(old, base, new)
    plain = old if type(old) is base or type(old).__init__ is base.__init__ else adopted(base, old)  # type: ignore[misc]
    return family.turn(Pair(old, new, on_meta(arguments_of(plain)), EMPTY), family.axes, axes)


def in_words(count: int) -> str:
    """As in "3 axes"."""
    return f"{count} {'axis' if count == 1 else 'axes'}"


# --- layers of any number of axes that may yet be set for one


def settled_for(old: nn.Module, own: int, axes: Axes) -> Conversion | None:
    """What becomes of a layer that is not of a family; None where it works on any number of axes as it is.

    Raises:
        ConfigError: if it works on `own` axes only.
    """
    for base in type(old).__mro__:
        if base in _SETTLED:
            return _SETTLED[base](old, own, axes)
    return None


Settle = Callable[[Any, int, Axes], Conversion | None]
_SETTLED: dict[type, Settle] = {}


def settles(*classes: type[nn.Module]) -> Callable[[Settle], Settle]:
    """Registers what becomes of a layer whose class does for several numbers of axes."""
    return lambda settle: (_SETTLED.update(dict.fromkeys(classes, settle)), settle)[1]


# --- what turning has in common


def led(values: Sequence[Any], new: int, lead: Any) -> tuple[Any, ...]:
    """One value for each new axis: those in front get `lead`, or go."""
    return (*[lead] * (new - len(values)), *values[-new:])


def one_for_all(values: tuple[Any, ...]) -> Any:
    """One number where all are the same."""
    # LPPool1d takes one number, and nothing else.
    return values[0] if len(set(values)) == 1 else values


def plainly(result: Conversion, taps: Iterable[int]) -> Conversion:
    """There is nothing to be carried: what holds follows from the windows along the axis that comes or goes."""
    if set(taps) <= {1}:
        return replace(result, fidelity=Fidelity.EXACT)
    return replace(result, fidelity=Fidelity.APPROXIMATE, remarks=(CONSTANT,))
