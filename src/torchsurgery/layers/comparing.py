"""Whether a layer is what its constructor makes of given arguments.

A layer computes from its class, its attributes, its parts and its tensors, and from nothing else. So a layer that
agrees with a freshly built one in all of these but the values of the tensors in its state dict computes the same once
it has loaded them; and what doesn't agree, no constructor call with these arguments can bring back.

The fresh layer lies on the meta device. Only where tensors lie outside the state dict is one built with values.
"""

from __future__ import annotations

import enum
import functools
import types
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from .mentions import mentioned

Ignored = Callable[[nn.Module], Set[str]]

HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks"))
_MODULE = frozenset(vars(nn.Module()))
# Compiling changes how a layer runs, not what it computes; transformers marks what it has initialised.
_HARMLESS = frozenset(
    {"_compiled_call_impl", "_is_hf_initialized", "_is_full_backward_hook", "_forward_hooks_with_kwargs"}
)
_PLAIN = (bool, int, float, complex, str, bytes, type, range, slice, enum.Enum, torch.dtype, torch.device, torch.layout)
_METHODS = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)


class Differs(Exception):
    """The layer is not what the constructor makes: the message says where, `way_out` how to get on if that is known."""

    def __init__(self, reason: str, way_out: str | None = None) -> None:
        super().__init__(reason)
        self.way_out = way_out


class Fails(Differs):
    """The constructor raises, so that nothing can be compared."""


def compare(module: nn.Module, fresh: nn.Module, ignored: Ignored, strict: bool, only_tensors: bool = False) -> bool:
    """Compares a layer with a freshly built one, all but the values of the tensors in the state dict.

    Args:
        module: The layer.
        fresh: What the constructor makes, on meta or with values.
        ignored: Of each (sub)module, the attributes that have no say in what it computes.
        strict: Whether hooks, ties, kinds, dtypes and devices of tensors count, too: all that the layer's constructor
            doesn't give, but that stays with the tensors and the object where a layer is replaced.
        only_tensors: Whether to leave attributes alone.

    Returns:
        Whether tensors outside the state dict remain to be compared, since `fresh` has no values.

    Raises:
        Differs: at the first difference.
    """
    comparison = _Comparison(ignored, strict, only_tensors)
    comparison.pair_tensors(module, fresh)
    comparison.modules("", module, fresh)
    return comparison.open


class _Comparison:
    def __init__(self, ignored: Ignored, strict: bool, only_tensors: bool) -> None:
        self.ignored, self.strict, self.only_tensors = ignored, strict, only_tensors
        self.open = False
        self.tensors: set[tuple[int, int]] = set()
        self.registered: set[int] = set()
        self.seen: set[tuple[int, int]] = set()

    # --- tensors

    def pair_tensors(self, module: nn.Module, fresh: nn.Module) -> None:
        ours, theirs = dict(_registered(module)), dict(_registered(fresh))
        for name in _without(ours, theirs):
            raise Differs(f"{name} is not among the tensors that the constructor makes", _owner(module, name))
        for name in _without(theirs, ours):
            raise Differs(f"it lacks {name}, which the constructor makes", _owner(module, name))
        for name, mine in ours.items():
            self.one_tensor(name, mine, theirs[name])
            self.tensors.add((id(mine), id(theirs[name])))
        self.registered = {id(tensor) for tensor in theirs.values()}
        if self.strict:
            _same_ties(ours, theirs)
            _same_dtypes(ours, theirs)
            _one_device(ours)

    def one_tensor(self, name: str, mine: Tensor, fresh: Tensor) -> None:
        if is_lazy(fresh):
            return
        if is_lazy(mine):
            raise Differs(f"{name} has no size before the first forward")
        if mine.shape != fresh.shape:
            shapes = f"{tuple(mine.shape)}, the constructor makes {tuple(fresh.shape)}"
            raise Differs(f"{name} has shape {shapes}")
        if isinstance(mine, nn.Parameter) != isinstance(fresh, nn.Parameter):
            raise Differs(f"{name} is {_kind(mine)}, the constructor makes {_kind(fresh)}")
        if self.strict and (mine.layout is not fresh.layout or _special(mine, fresh)):
            raise Differs(f"{name} is {_kind(mine)} of layout {mine.layout}, the constructor makes {_kind(fresh)}")

    # --- modules

    def modules(self, path: str, module: nn.Module, fresh: nn.Module) -> None:
        if not self.first_time(module, fresh):
            return
        if type(module) is not type(fresh):
            names = f"{type(module).__name__}, the constructor makes a {type(fresh).__name__}"
            raise Differs(f"{path or 'it'} is a {names}")
        self.hooks(path, module, fresh)
        self.parts(path, module, fresh)
        for name, part in module._modules.items():
            if part is not None:
                self.modules(_join(path, name), part, fresh._modules[name])  # type: ignore[arg-type]
        if not self.only_tensors:
            self.attributes(path, module, fresh)

    def first_time(self, mine: object, fresh: object) -> bool:
        pair = id(mine), id(fresh)
        if pair in self.seen:
            return False
        self.seen.add(pair)
        return True

    def parts(self, path: str, module: nn.Module, fresh: nn.Module) -> None:
        for slots in ("_parameters", "_buffers"):
            mine, theirs = getattr(module, slots), getattr(fresh, slots)
            for name in (*_without(mine, theirs), *_without(theirs, mine)):
                here = "the constructor makes none" if name in mine else "the constructor makes one"
                raise Differs(f"{_join(path, name)}: {here} among its {slots[1:]}")
        mine_set, fresh_set = module._non_persistent_buffers_set, fresh._non_persistent_buffers_set
        for name in sorted(mine_set ^ fresh_set):
            raise Differs(f"{_join(path, name)} is saved with the state dict in one case only")
        for name in sorted(fresh_set):
            if module._buffers.get(name) is not None:
                self.values(_join(path, name), module._buffers[name], fresh._buffers[name], registered=False)
        if list(module._modules) != list(fresh._modules):
            mine, theirs = (", ".join(m._modules)[:50] or "none" for m in (module, fresh))
            raise Differs(f"{path or 'it'} has the parts {mine}, the constructor makes {theirs}")
        for name, part in module._modules.items():
            if (part is None) != (fresh._modules[name] is None):
                raise Differs(f"{_join(path, name)} is there in one case only")

    def hooks(self, path: str, module: nn.Module, fresh: nn.Module) -> None:
        if not self.strict:
            return
        for kind in HOOKS:
            mine, theirs = vars(module).get(kind) or {}, vars(fresh).get(kind) or {}
            if len(mine) != len(theirs):
                what = f"{path or 'it'} has {len(mine)} hooks in {kind}, the constructor makes {len(theirs)}"
                raise Differs(what, "hooks are not arguments: remove them with their handles first,  handle.remove()")
            for one, other in zip(mine.values(), theirs.values(), strict=True):
                self.values(_join(path, kind), getattr(one, "hook", one), getattr(other, "hook", other))

    def attributes(self, path: str, module: nn.Module, fresh: nn.Module) -> None:
        mine, theirs = vars(module), vars(fresh)
        ignored = self.ignored(fresh)
        for name in _without(theirs, mine, ignored, _HARMLESS):
            raise Differs(f"it lacks the attribute {_join(path, name)}, which the constructor sets")
        for name in _without(mine, theirs, _HARMLESS):
            _refuse_extra(path, name, type(module))
        for name in _without(theirs, _MODULE, ignored):
            self.values(_join(path, name), mine[name], theirs[name])

    # --- values

    def values(self, path: str, mine: Any, fresh: Any, registered: bool = True) -> None:
        if mine is fresh or (registered and (id(mine), id(fresh)) in self.tensors):
            return
        if registered and id(fresh) in self.registered:
            raise Differs(f"{path} is not the registered tensor, as the constructor sets it")
        if isinstance(mine, Tensor):
            self.outside(path, mine, fresh)
        elif isinstance(mine, nn.Module) and isinstance(fresh, nn.Module):
            self.modules(path, mine, fresh)
        elif not self.same(path, mine, fresh):
            raise Differs(f"{path} is {_short(mine)}, the constructor sets {_short(fresh)}")

    def same(self, path: str, mine: Any, fresh: Any) -> bool:
        if isinstance(mine, bool | int | float | complex) and isinstance(fresh, bool | int | float | complex):
            return bool(mine == fresh or (mine != mine and fresh != fresh))
        if type(mine) is not type(fresh):
            return False
        if isinstance(mine, _PLAIN):
            return bool(mine == fresh)
        # What a handle removes has been compared among the hooks.
        if isinstance(mine, RemovableHandle):
            return True
        if not self.first_time(mine, fresh):
            return True
        if isinstance(mine, list | tuple):
            return self.each(path, mine, fresh)
        if isinstance(mine, dict):
            return list(mine) == list(fresh) and self.each(path, mine.values(), fresh.values())
        if isinstance(mine, weakref.ReferenceType):
            return self.each(path, [mine()], [fresh()])
        return self.same_callable(path, mine, fresh)

    def same_callable(self, path: str, mine: Any, fresh: Any) -> bool:
        if isinstance(mine, types.FunctionType):
            ours, theirs = _closure(mine), _closure(fresh)
            return (
                mine.__code__ is fresh.__code__
                and ours.keys() == theirs.keys()
                and self.each(path, ours.values(), theirs.values())
            )
        if isinstance(mine, functools.partial):
            return self.each(path, [mine.func, mine.args, mine.keywords], [fresh.func, fresh.args, fresh.keywords])
        if isinstance(mine, _METHODS):
            return mine.__name__ == fresh.__name__ and self.each(path, [mine.__self__], [fresh.__self__])
        return self.same_object(path, mine, fresh)

    def same_object(self, path: str, mine: Any, fresh: Any) -> bool:
        equality: object = type(mine).__eq__
        if equality is not object.__eq__:
            # It may leave out what counts, such as a dataclass's field with compare=False.
            return _equal(mine, fresh) and self.same_state(path, mine, fresh)
        if not hasattr(mine, "__dict__") or any("__slots__" in vars(base) for base in type(mine).__mro__[:-1]):
            return False
        return self.same_state(path, mine, fresh)

    def same_state(self, path: str, mine: Any, fresh: Any) -> bool:
        ours, theirs = _state(mine), _state(fresh)
        return ours.keys() == theirs.keys() and self.each(path, ours.values(), theirs.values())

    def each(self, path: str, mine: Any, fresh: Any) -> bool:
        if len(mine) != len(fresh):
            return False
        for one, other in zip(mine, fresh, strict=True):
            self.values(path, one, other)
        return True

    def outside(self, path: str, mine: Tensor, fresh: Any) -> None:
        if not isinstance(fresh, Tensor) or mine.shape != fresh.shape:
            raise Differs(f"{path} is {_kind(mine)} of shape {tuple(mine.shape)}, the constructor sets {_short(fresh)}")
        if mine.is_meta:
            return
        if fresh.is_meta:
            self.open = True
        elif not torch.equal(mine.detach().cpu(), fresh.detach().to("cpu", mine.dtype)):
            reason = f"the values of {path}, which is not in the state dict, are not those that the constructor sets"
            raise Differs(reason)


def _without(names: Collection[str], *others: Collection[str]) -> list[str]:
    """The names that none of the others has, in their order: what an error names must not depend on chance."""
    return [name for name in names if not any(name in other for other in others)]


def _registered(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _same_ties(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name, other in zip(ours, _first_names(ours), strict=True):
        mine, fresh = ours[name] is ours[other], theirs[name] is theirs[other]
        if mine != fresh:
            raise Differs(f"{name} is the same tensor as {other}, and the constructor makes two")
    for name, other in zip(theirs, _first_names(theirs), strict=True):
        if ours[name] is not ours[other]:
            raise Differs(f"{name} and {other} are two tensors, and the constructor makes one")


def _first_names(tensors: Mapping[str, Tensor]) -> list[str]:
    first: dict[int, str] = {}
    return [first.setdefault(id(tensor), name) for name, tensor in tensors.items()]


def _same_dtypes(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    if all(ours[name].dtype == theirs[name].dtype for name in ours):
        return
    seen: dict[torch.dtype, str] = {}
    for name, mine in ours.items():
        fresh = theirs[name].dtype
        if fresh.is_floating_point or fresh.is_complex:
            if not (mine.dtype.is_floating_point or mine.dtype.is_complex):
                raise Differs(f"{name} is {mine.dtype}, the constructor makes {fresh}")
            seen.setdefault(mine.dtype, name)
        elif mine.dtype != fresh:
            raise Differs(f"{name} is {mine.dtype}, the constructor makes {fresh}")
    if len(seen) > 1:
        mixed = ", ".join(f"{name} is {dtype}" for dtype, name in seen.items())
        raise Differs(f"its dtypes are mixed: {mixed}"[:150], "bring them together first:  layer.to(torch.float32)")


def _one_device(ours: Mapping[str, Tensor]) -> None:
    devices = {tensor.device: name for name, tensor in ours.items()}
    if len(devices) > 1:
        where = ", ".join(f"{name} on {device}" for device, name in devices.items())
        raise Differs(
            f"its tensors lie on several devices: {where}"[:150], "bring them together first:  layer.to(device)"
        )


def _special(mine: Tensor, fresh: Tensor) -> bool:
    # A fake tensor stands for the tensor it imitates; a sharded or quantised one is another kind of thing.
    plain = {"FakeTensor", "FunctionalTensor", "Buffer"}
    return type(mine) is not type(fresh) and plain.isdisjoint((type(mine).__name__, type(fresh).__name__))


def _refuse_extra(path: str, name: str, cls: type) -> None:
    if hasattr(cls, name):
        raise Differs(f"its own {_join(path, name)} takes the place of the one of {cls.__name__}", f"del layer.{name}")
    if name in mentioned(cls):
        raise Differs(f"{_join(path, name)} was set after the constructor, and {cls.__name__} reads it")


def _owner(module: nn.Module, name: str) -> str | None:
    """How to get rid of a hook that owns a tensor: weight_norm, spectral_norm, pruning."""
    names = {last.rpartition(".")[2] for last, _ in _registered(module)}
    plain = name.rpartition(".")[2].removesuffix("_g").removesuffix("_v").removesuffix("_orig").removesuffix("_mask")
    if f"{plain}_mask" in names:
        return f"make the pruning permanent first:  torch.nn.utils.prune.remove(layer, {plain!r})"
    if f"{plain}_g" in names:
        return f"torch.nn.utils.remove_weight_norm(layer, {plain!r})"
    if f"{plain}_orig" in names:
        return f"torch.nn.utils.remove_spectral_norm(layer, {plain!r})"
    return None


def _closure(function: types.FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
    return found | {"()": function.__defaults__, "(*)": function.__kwdefaults__}


def _equal(mine: Any, fresh: Any) -> bool:
    try:
        answer = mine == fresh
        return bool(answer.all()) and mine.shape == fresh.shape if hasattr(answer, "all") else answer is True
    except Exception:
        return False


def _state(thing: Any) -> dict[str, Any]:
    return vars(thing) if hasattr(thing, "__dict__") else {}


def _kind(tensor: Tensor) -> str:
    name = type(tensor).__name__
    return "a Parameter" if name == "Parameter" else "a plain tensor" if name == "Tensor" else f"a {name}"


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, Tensor | nn.Module) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
