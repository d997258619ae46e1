"""What turning one layer into another comes to: the arguments, where each tensor comes from, and how well it holds.

`convert` decides, `build` makes the layer, `like` does both. The knowledge sits in rules, one function for a pair of
families, registered with `@conversion(Old, New)` in the family files; this file knows no layer class. Pairs without a
rule are matched by the names in the new class's signature, and by the names and shapes of its tensors.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import ConfigError
from ..origins import Computed, Initialised, Origin, Same, evaluate, layout_of
from .arguments import argument_check as argument_check
from .arguments import arguments as arguments
from .arguments import check_arguments as check_arguments
from .arguments import divisor as divisor
from .arguments import label
from .arguments import resolved as resolved
from .building import adopted, once_per_class, put, real, signature_of, skeleton, tensors_of
from .config import arguments_of
from .fresh import on_meta
from .refusals import class_refusal, own_forward, refuse

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


class Rule(Protocol):
    """Decides what one kind of layer comes to as another."""

    def __call__(self, pair: Pair, /) -> Conversion: ...


@dataclass(frozen=True, slots=True)
class Converter:
    """A way to convert that is more than a class with its arguments; in an edit it stands where a class may stand.

    Args:
        words: What the plan calls it.
        decide: From a layer and its name to what it comes to.
    """

    words: str
    decide: Callable[[nn.Module, str], Conversion]

    def __call__(self, old: nn.Module, name: str) -> Conversion:
        return self.decide(old, name)

    @property
    def __name__(self) -> str:
        return self.words


# --- the registry


Classes = type[nn.Module] | tuple[type[nn.Module], ...]
_RULES: dict[tuple[type, type], Rule] = {}


def conversion(old: Classes, new: Classes) -> Callable[[Rule], Rule]:
    """Registers a rule for turning an `old` layer into a `new` one; subclasses of both are covered.

    Args:
        old: The class, or the classes, to come from.
        new: The class, or the classes, to go to.

    Returns:
        A decorator for a function from a `Pair` to a `Conversion`; `pair.carry` makes the latter. The rule of the
        nearest classes wins, the old layer's first, and a later rule for the same pair replaces an earlier one.

    Example:
        >>> class FilterResponseNorm(nn.Module):
        ...     def __init__(self, channels, eps=1e-6):
        ...         super().__init__()
        ...         self.eps, self.gamma = eps, nn.Parameter(torch.ones(channels))
        >>> @ts.conversion(nn.BatchNorm2d, FilterResponseNorm)
        ... def batch_to_filter_response(pair):
        ...     return pair.carry({"channels": pair.old.num_features}, {"gamma": "weight"}, uses=["num_features"])
        >>> new = ts.like(nn.BatchNorm2d(8), FilterResponseNorm)
        >>> new.gamma.shape, new.eps
        (torch.Size([8]), 1e-05)
    """
    named: tuple[Any, ...] = (*_classes(old), *_classes(new))
    for cls in named:
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise ConfigError(
                f"a conversion is between classes of layers, and {cls!r} is none.",
                way_out="@ts.conversion(nn.BatchNorm2d, MyNorm)",
            )

    def register(rule: Rule) -> Rule:
        _RULES.update({(a, b): rule for a in _classes(old) for b in _classes(new)})
        _rule_for.cache_clear()  # type: ignore[attr-defined]
        return rule

    return register


def _classes(classes: Classes) -> tuple[type[nn.Module], ...]:
    return classes if isinstance(classes, tuple) else (classes,)


@once_per_class
def _rule_for(old: type, new: type) -> tuple[Rule, type[nn.Module], type[nn.Module]] | None:
    for a in old.__mro__:
        for b in new.__mro__:
            if (a, b) in _RULES:
                return _RULES[a, b], a, b
    return None


def _others(old: type) -> list[str]:
    return [cls.__name__ for cls in targets_of(old) if cls is not old]


def targets_of(old: type) -> list[type]:
    """The classes that a layer of class `old` has rules for, the nearest first."""
    return list(dict.fromkeys(b for base in old.__mro__ for a, b in _RULES if a is base))


def registered() -> set[type]:
    """The classes that there are rules for."""
    return {old for old, _ in _RULES}


# --- convert


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
    found_rule = _rule_for(type(old), new)
    if found_rule is None:
        return _matched(Pair(old, new, _config(old, type(old), new, values), values))
    rule, base, known = found_rule
    if type(old).forward is not base.forward and not accept_subclass and not issubclass(new, type(old)):
        raise own_forward(old, base, new)
    result = rule(Pair(old, new, _config(old, base, new, values), values))
    return result if new.forward is known.forward else _with_own_forward(result)


def build(conversion: Conversion, old: nn.Module, reference: Tensor | None = None) -> nn.Module:
    """The new layer that `conversion` stands for; may draw random numbers where a tensor is initialised.

    Args:
        conversion: What `convert` decided for `old`.
        old: The layer to come from; not changed. Where an origin is `Same`, the new layer holds its tensor objects.
        reference: Gives dtype and device of what is initialised when `old` has no floating tensor.
    """
    if conversion.adopts:
        return adopted(conversion.new, old)
    tensors = sources_of(old, conversion.beside)
    reference = next((t for t in tensors.values() if t.is_floating_point()), reference)
    layer = _constructed(conversion, reference)
    slots = tensors_of(layer)
    for name, origin in conversion.origins.items():
        put(layer, name, _tensor(origin, slots[name], tensors, reference))
    return layer if layer.training is old.training and not layer._modules else layer.train(old.training)


def sources_of(old: nn.Module, beside: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors that origins may name: the old layer's own, and with their prefix those of layers beside it."""
    found = tensors_of(old)
    for prefix, layer in beside.items():
        found.update({prefix + name: tensor for name, tensor in tensors_of(layer).items()})
    return found


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


# --- tensors


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
    if tensor.is_floating_point() != slot.is_floating_point():
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


def _constructed(conversion: Conversion, reference: Tensor | None) -> nn.Module:
    initialised = any(isinstance(origin, Initialised) for origin in conversion.origins.values())
    if conversion.spare and (conversion.ready or not initialised):
        return conversion.spare.pop()
    if not initialised:
        return skeleton(conversion.new, conversion.config)
    return real(conversion.new, conversion.config, None if reference is None else reference.device)


def _tensor(origin: Origin, slot: Tensor, tensors: Mapping[str, Tensor], reference: Tensor | None) -> Tensor:
    """The tensor to put where the fresh layer has `slot`."""
    if isinstance(origin, Same):
        return tensors[origin.source]
    sources = [tensors[name] for name in origin.sources] if isinstance(origin, Computed) else []
    value = slot.detach() if isinstance(origin, Initialised) else evaluate(origin, tensors)
    if not sources:
        dtype = torch.get_default_dtype() if reference is None else reference.dtype
        device = value.device if reference is None else reference.device
        value = value.to(device, dtype if value.is_floating_point() else value.dtype)
    value = _laid_out(value, sources)
    if not isinstance(slot, nn.Parameter):
        return value
    trained = [source.requires_grad for source in sources if isinstance(source, nn.Parameter)]
    return nn.Parameter(value, requires_grad=trained[0] if trained else slot.requires_grad)


def _laid_out(value: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """The value in the memory format of the first source of its rank."""
    layouts = [layout_of(source) for source in sources if source.dim() == value.dim()]
    if not layouts or layouts[0] is torch.contiguous_format:
        return value
    return value.contiguous(memory_format=layouts[0])
