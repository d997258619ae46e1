"""An old layer and the class that is asked for: what a rule is given, and how it says what carries.

By default everything of the same name carries, arguments as well as tensors; a rule states what doesn't.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Initialised, Origin, Same
from .arguments import arguments, check_arguments, label
from .building import is_inexact, skeleton, tensors_of
from .conversion import EMPTY, Conversion, Fidelity
from .registry import targets_of


@dataclass(frozen=True, slots=True)
class Pair:
    """What a conversion rule is given.

    Args:
        old: The layer to be converted. A rule never changes it.
        new: The class asked for: the one that the rule is registered for, or a subclass.
        config: The constructor arguments of `old`, as `config_of` tells them.
        overrides: The arguments that the caller gave; functions of the old layer have been called already.
    """

    old: nn.Module
    new: type[nn.Module]
    config: Mapping[str, Any]
    overrides: Mapping[str, Any]

    def carry(
        self,
        given: Mapping[str, Any] = EMPTY,
        origins: Mapping[str, str | Origin] = EMPTY,
        fidelity: Fidelity = Fidelity.APPROXIMATE,
        *,
        error: float | None = None,
        uses: Iterable[str] = (),
        ignores: Iterable[str] = (),
        remarks: Iterable[str] = (),
        into: type[nn.Module] | None = None,
    ) -> Conversion:
        """The conversion in which everything of the same name carries, except as stated.

        Args:
            given: Arguments of the new layer that the rule has worked out; the caller's overrides still win.
            origins: Tensors of the new layer that are not simply the old one's of the same name and shape: the name of
                the old layer's tensor, or an `Origin`.
            fidelity: What holds if every tensor is carried; a tensor that can't be makes it `INITIALISED`.
            error: See `Conversion`.
            uses: Arguments of the old layer that went into `given`, so that they are not listed as dropped.
            ignores: Arguments that bear the same name in both classes and mean different things.
            remarks: See `Conversion`.
            into: The class to build, where it is not `new` itself.

        Raises:
            ConfigError: if the new class needs an argument that nobody gives, or refuses one.
        """
        new, skip = into or self.new, frozenset(ignores)
        source = {name: value for name, value in self.config.items() if name not in skip}
        source = {**source, **given, **self.overrides}
        config = arguments(self.old, new, source, self.overrides, lambda: _others(type(self.old)))
        check_arguments(self.old, new, config)
        layer = _skeleton(self.old, new, config)
        tensors = tensors_of(self.old)
        found = {name: _origin(name, slot, origins.get(name), tensors) for name, slot in tensors_of(layer).items()}
        refused = tuple(f"{name}={value!r}" for name, value in given.items() if _is_refused(layer, config, name, value))
        dropped = _dropped(self.config, {*uses, *(config.keys() - skip)})
        initialised = any(isinstance(origin, Initialised) for origin in found.values())
        stated = Conversion(
            new, config, found, fidelity, error, refused + dropped, _lost(tensors, found), tuple(remarks)
        )
        stated.spare.append(layer)
        if initialised:
            return stated.limited(Fidelity.INITIALISED)
        return stated.limited(Fidelity.APPROXIMATE) if refused else stated


def _others(old: type) -> list[str]:
    return [cls.__name__ for cls in targets_of(old) if cls is not old]


def _skeleton(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> nn.Module:
    try:
        return skeleton(new, config)
    except Exception as err:
        given = ", ".join(f"{name}={value!r}" for name, value in config.items())
        raise ConfigError(
            f"{new.__name__} refuses what comes of {label(old)}: {type(err).__name__}: {err}",
            f"the call was  {new.__name__}({given})",
            way_out=f"give what fits:  ts.like(old, {new.__name__}, name=value)",
        ) from err


def _is_refused(layer: nn.Module, config: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether a subclass takes no such argument, and its constructor has set something else."""
    if name in config or name in layer._parameters or not hasattr(layer, name):
        return False
    return bool(getattr(layer, name) != value)


def _origin(name: str, slot: Tensor, stated: str | Origin | None, tensors: Mapping[str, Tensor]) -> Origin:
    if isinstance(stated, Computed) and all(source in tensors for source in stated.sources):
        return stated
    if isinstance(stated, Initialised):
        return stated
    source = stated.source if isinstance(stated, Same) else stated if isinstance(stated, str) else name
    tensor = tensors.get(source)
    if tensor is None:
        return Initialised()
    if tensor.shape != slot.shape:
        return Initialised(f"{source} was {_shape(tensor)}")
    if is_inexact(tensor) != is_inexact(slot):
        return Initialised(f"{source} was {tensor.dtype}")
    if isinstance(tensor, nn.Parameter) != isinstance(slot, nn.Parameter):
        return Computed((source,), torch.clone, "copied", per_entry=True)
    return Same(source)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"


def _dropped(config: Mapping[str, Any], used: set[str]) -> tuple[str, ...]:
    return tuple(f"{name}={value!r}" for name, value in config.items() if name not in used and not _is_off(value))


def _is_off(value: Any) -> bool:
    # What is switched off, such as inplace=False or p=0.0, is no loss.
    return value is None or (isinstance(value, bool | int | float) and not value)


def _lost(tensors: Mapping[str, Tensor], origins: Mapping[str, Origin]) -> tuple[str, ...]:
    used: set[str] = set()
    for origin in origins.values():
        used.update(
            origin.sources if isinstance(origin, Computed) else (origin.source,) if isinstance(origin, Same) else ()
        )
    return tuple(name for name in tensors if name not in used)
