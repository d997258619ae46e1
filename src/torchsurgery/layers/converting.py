"""Deciding what one layer comes to as another: `convert`, and `like`, which makes it, too.

The knowledge sits in rules, one function for a pair of families, registered with `@conversion(Old, New)` in the family
files; this file knows no layer class. Pairs without a rule are matched by the names in the new class's signature, and
by the names and shapes of its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import ConfigError
from ..origins import Same
from .arguments import resolved
from .assembling import build
from .building import adopted, once_per_class, signature_of
from .config import arguments_of
from .conversion import EMPTY, Conversion, Fidelity
from .fresh import on_meta
from .pair import Pair
from .refusals import class_refusal, own_forward, refuse
from .registry import needs_arguments, rule_for


def convert(
    old: nn.Module,
    new: type[nn.Module],
    overrides: Mapping[str, Any] = EMPTY,
    *,
    accept_subclass: bool = False,
) -> Conversion:
    """Decides what turning `old` into a `new` comes to; builds nothing, changes nothing, draws no random numbers.

    Args:
        old: The layer to come from.
        new: The class to go to.
        overrides: Arguments for the constructor of `new`: values, or functions of the old layer (`ts.divisor(32)`).
        accept_subclass: Whether a layer whose class has a forward of its own may be converted as its base class, which
            loses what that forward does.

    Raises:
        ConfigError: if it can't be done; says what is missing.
    """
    if not overrides and (found := _adoption(type(old), new)) and "parametrizations" not in old._modules:
        return found
    refuse(old, new)
    values = resolved(old, new, overrides)
    found_rule = rule_for(type(old), new)
    if found_rule is None:
        return _matched(Pair(old, new, _config(old, type(old), new, values), values))
    rule, base, known = found_rule
    if type(old).forward is not base.forward and not accept_subclass and not issubclass(new, type(old)):
        raise own_forward(old, base, new)
    config = _config(old, base, new, values) if needs_arguments(rule) else EMPTY
    result = rule(Pair(old, new, config, values))
    return result if new.forward is known.forward else _with_own_forward(result)


def like(old: nn.Module, new: type[nn.Module], **overrides: Any) -> nn.Module:
    """A new layer configured from the old one, weights carried as far as they mean something there.

    Where a parameter or buffer carries unchanged, the new layer holds *the same tensor object*, so that training one
    trains the other; copy first, with `copy.deepcopy(old)`, where that is not wanted.

    Args:
        old: The layer to come from; not changed.
        new: The class to go to: one of torch's, or one of yours whose arguments are named as torch names them.
        overrides: Arguments for the constructor: values, or functions of the old layer, such as `ts.divisor(32)`.

    Raises:
        ConfigError: if it can't be done; says what is missing.

    Example:
        >>> ts.like(nn.BatchNorm2d(20), nn.GroupNorm, num_groups=ts.divisor(8)).num_groups
        5
    """
    if not isinstance(old, nn.Module):
        raise ConfigError(
            f"the old layer must be an nn.Module, got {old!r}.", got=old, way_out=f"ts.like(layer, nn.{new.__name__})"
        )
    return build(convert(old, new, overrides), old)


@once_per_class
def _adoption(old: type[nn.Module], new: Any) -> Conversion | None:
    if not (isinstance(new, type) and issubclass(new, old)) or class_refusal(old):
        return None
    between = new.__mro__[: new.__mro__.index(old)]
    if new.__init__ is not old.__init__ or new.__new__ is not old.__new__:
        return None
    if any(cls.__dict__.get("__slots__") for cls in between) or issubclass(new, LazyModuleMixin):
        return None
    exact = new.forward is old.forward
    remarks = () if exact else (f"{new.__name__} has a forward of its own",)
    return Conversion(
        new, EMPTY, EMPTY, Fidelity.EXACT if exact else Fidelity.APPROXIMATE, remarks=remarks, adopts=True
    )


def _config(old: nn.Module, base: type, new: type, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The old layer's arguments, in its own terms and in those of the class that has the rule."""
    try:
        own = on_meta(arguments_of(old))
    except ConfigError:
        # It takes all of them to make the same class again; another class may need none.
        needed = [name for name in signature_of(new).required if name not in overrides]
        if issubclass(new, type(old)) or (base is type(old) and needed):
            raise
        own = {}
    if base is type(old) or type(old).__init__ is base.__init__:  # type: ignore[misc]
        return own
    known = on_meta(arguments_of(adopted(base, old)))
    return {**known, **own} if issubclass(new, type(old)) else {**own, **known}


def _matched(pair: Pair) -> Conversion:
    """The conversion of a pair without a rule: by the names of arguments, the names and shapes of tensors."""
    result = pair.carry()
    if pair.new is type(pair.old):
        same = all(isinstance(origin, Same) for origin in result.origins.values()) and result.config == pair.config
        return replace(result, fidelity=Fidelity.EXACT) if same else result
    if pair.new.__module__.startswith("torch.nn."):
        remark = (
            f"no rule relates {type(pair.old).__name__} to {pair.new.__name__}; what bears the same name is carried"
        )
        return replace(result, fidelity=Fidelity.INITIALISED, remarks=(remark,))
    return _with_own_forward(result)


def _with_own_forward(result: Conversion) -> Conversion:
    # What a user's forward computes is not known: nothing can be promised, nothing is predicted.
    remark = f"{result.new.__name__} has a forward of its own"
    return result.limited(Fidelity.APPROXIMATE, None, remark)
