"""What is done to a model: primitive steps, and the change of one layer that they make up.

A step answers first how to restore what it is about to write (`snapshot`), then writes (`apply`). The restoring
function may be called whether or not the step was applied, and more than once; so whatever interrupts a surgery, at
whatever moment, the model comes back. Nothing else in the library writes to a model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from .edits import Edit
from .layers.conversion import EMPTY, Fidelity
from .origins import Computed, Grown, Origin, evaluate, is_plain_float
from .outside import Reference

Restore: TypeAlias = Callable[[], object]

_set = object.__setattr__
_MISSING: Any = object()


class Step(Protocol):
    """One primitive write."""

    def snapshot(self) -> Restore:
        """How to restore what this step writes."""

    def apply(self) -> None:
        """Write."""


class Placing(Step, Protocol):
    """A step that puts a layer somewhere, and can tell whether the model is still as it takes it to be."""

    @property
    def target(self) -> Hashable:
        """What it writes to; of two steps with one target the later one counts."""

    def fits(self) -> bool:
        """Whether what it is to overwrite is what it was planned for."""

    def stands(self) -> bool:
        """Whether what it wrote is still there."""


@dataclass(frozen=True, slots=True)
class Retype:
    """The object of `module` takes the class of `new`, whose state it has already."""

    module: nn.Module
    new: nn.Module
    was: type[nn.Module] | None = None  # its class when the plan was made, where another one would be lost

    def snapshot(self) -> Restore:
        return functools.partial(_set, self.module, "__class__", type(self.module))

    def apply(self) -> None:
        _set(self.module, "__class__", type(self.new))

    @property
    def target(self) -> Hashable:
        return id(self.module)

    def fits(self) -> bool:
        return self.module.__dict__ is self.new.__dict__ and self.was in (None, type(self.module))

    def stands(self) -> bool:
        return type(self.module) is type(self.new)


@dataclass(frozen=True, slots=True)
class Become:
    """The object of `module` takes class and state of `new`, so that every reference to it sees the new layer."""

    module: nn.Module
    new: nn.Module
    old: nn.Module

    def snapshot(self) -> Restore:
        state = self.module.__dict__
        return functools.partial(_come_back, self.module, type(self.module), state, state["training"])

    def apply(self) -> None:
        _set(self.module, "__class__", type(self.new))
        _set(self.module, "__dict__", self.new.__dict__)

    @property
    def target(self) -> Hashable:
        return id(self.module)

    def fits(self) -> bool:
        return self.module.__dict__ is self.old.__dict__ and type(self.module) is type(self.old)

    def stands(self) -> bool:
        return self.module.__dict__ is self.new.__dict__


def _come_back(module: nn.Module, kind: type[nn.Module], state: dict[str, Any], mode: bool) -> None:
    """Bring class and state of a layer back, in the mode that the model has by then."""
    now = module.__dict__["training"]
    _set(module, "__class__", kind)
    _set(module, "__dict__", state)
    if now is not mode:
        module.train(now)


@dataclass(frozen=True, slots=True)
class Put:
    """`slots[key]` holds `new`, where `old` was; `slots` are the `_modules` that `owner` has when the plan is made."""

    owner: nn.Module
    slots: MutableMapping[str, nn.Module | None]
    key: str
    old: nn.Module
    new: nn.Module

    def snapshot(self) -> Restore:
        slots, key, old, new, mode = self.slots, self.key, self.old, self.new, self.old.training

        def restore() -> None:
            there, slots[key] = slots[key], old
            if there is new and old.training is mode and new.training is not mode:
                old.train(new.training)

        return restore

    def apply(self) -> None:
        self.slots[self.key] = self.new

    @property
    def target(self) -> Hashable:
        return id(self.slots), self.key

    def fits(self) -> bool:
        return self.owner._modules is self.slots and self.slots.get(self.key) is self.old

    def stands(self) -> bool:
        return self.slots.get(self.key) is self.new


@dataclass(frozen=True, slots=True)
class Add:
    """`slots[key]` holds `new`, where nothing was; `unchanged` tells whether `new` is still what belongs there."""

    owner: nn.Module
    slots: MutableMapping[str, nn.Module | None]
    key: str
    new: nn.Module
    unchanged: Callable[[], bool]

    def snapshot(self) -> Restore:
        slots, key, new = self.slots, self.key, self.new
        return lambda: slots.pop(key) if slots.get(key) is new else None

    def apply(self) -> None:
        self.slots[self.key] = self.new

    @property
    def target(self) -> Hashable:
        return id(self.slots), self.key

    def fits(self) -> bool:
        free = self.key not in self.slots and self.key not in vars(self.owner)
        return self.owner._modules is self.slots and free and self.unchanged()

    def stands(self) -> bool:
        return self.slots.get(self.key) is self.new


@dataclass(frozen=True, slots=True)
class Write:
    """A reference outside `_modules` holds `new`, where the old layer was."""

    reference: Reference
    new: nn.Module

    def snapshot(self) -> Restore:
        write, old = self.reference.write, self.reference.module
        return lambda: write and write(old)

    def apply(self) -> None:
        if self.reference.write is not None:  # those without are refused when planned
            self.reference.write(self.new)


@dataclass(frozen=True, slots=True)
class Assign:
    """Entries of one of a module's dictionaries: its attributes, its parameters, its hooks."""

    mapping: MutableMapping[Any, Any]
    entries: Mapping[Any, Any]

    def snapshot(self) -> Restore:
        mapping, old = self.mapping, {key: self.mapping.get(key, _MISSING) for key in self.entries}

        def restore() -> None:
            mapping.update({key: value for key, value in old.items() if value is not _MISSING})
            for key in [key for key, value in old.items() if value is _MISSING]:
                mapping.pop(key, None)

        return restore

    def apply(self) -> None:
        self.mapping.update(self.entries)


@dataclass(frozen=True, slots=True)
class Drop:
    """Entries taken out of one of a module's dictionaries."""

    mapping: MutableMapping[Any, Any]
    keys: tuple[Any, ...]

    def snapshot(self) -> Restore:
        mapping, old, gone = self.mapping, dict(self.mapping), set(self.keys)

        def restore() -> None:
            now = dict(mapping)
            # In their old order, without those that the user has taken out meanwhile.
            back = {key: value for key, value in old.items() if key in gone or key in now}
            mapping.clear()
            mapping.update({**back, **now})

        return restore

    def apply(self) -> None:
        for key in self.keys:
            self.mapping.pop(key, None)


@dataclass(frozen=True, slots=True)
class Follow:
    """The modules that an edit brings have the mode that the old layer has when the edit is applied."""

    modules: tuple[nn.Module, ...]
    old: nn.Module

    def snapshot(self) -> Restore:
        modes = [(vars(module), module.training) for module in self.modules]

        def restore() -> None:
            for state, mode in modes:
                state["training"] = mode

        return restore

    def apply(self) -> None:
        mode = self.old.training
        for module in self.modules:
            module.__dict__["training"] = mode


@dataclass(frozen=True, slots=True)
class Cast:
    """A tensor that comes new has the dtype and device that the ones in its place have when the edit is applied."""

    tensor: Tensor
    reference: Tensor

    def snapshot(self) -> Restore:
        tensor, old = self.tensor, self.tensor.data
        return lambda: setattr(tensor, "data", old)

    def apply(self) -> None:
        dtype = self.reference.dtype if is_plain_float(self.tensor) else self.tensor.dtype
        if (self.tensor.dtype, self.tensor.device) != (dtype, self.reference.device):
            self.tensor.data = self.tensor.data.to(self.reference.device, dtype)


@dataclass(frozen=True, slots=True)
class Refresh:
    """A tensor computed from the old layer's is computed anew: those may have changed since the plan was made.

    Whether they have can't be seen: a write through `.data` leaves no trace.
    """

    tensor: Tensor
    origin: Computed
    sources: Mapping[str, Tensor]

    def snapshot(self) -> Restore:
        tensor, old, trained = self.tensor, self.tensor.data, self.tensor.requires_grad

        def restore() -> None:
            tensor.data = old
            # A buffer into which a forward has written since may be the result of a computation.
            if tensor.is_leaf:
                tensor.requires_grad_(trained)

        return restore

    def apply(self) -> None:
        first = self.sources[self.origin.sources[0]]
        self.tensor.data = _laid_out_as(self.tensor, evaluate(self.origin, self.sources))
        follows = isinstance(first, nn.Parameter) and not isinstance(self.origin, Grown)
        if follows and isinstance(self.tensor, nn.Parameter):
            self.tensor.requires_grad_(first.requires_grad)


def _laid_out_as(old: Tensor, value: Tensor) -> Tensor:
    """`value` in the memory format of a tensor of its shape."""
    if value.stride() == old.stride():
        return value
    return torch.empty_strided(old.shape, old.stride(), dtype=value.dtype, device=value.device).copy_(value)


def _nothing() -> Mapping[str, Any]:
    return EMPTY


Kind: TypeAlias = Literal["replace", "insert", "remove", "wrap", "prune", "widen", "call", "follow"]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one layer, in all its places: the steps that do it and the account of what they carry.

    Attributes:
        kind: What is done, in the user's word; "call" where a function call becomes a layer, "follow" for what an edit
            entails elsewhere.
        names: The layer's fully-qualified names.
        old: The layer as it was, whatever its object has become since.
        new: The layer as it will be.
        standing: The object that is in the model afterwards: `new`, or the old object where that becomes the new layer.
        steps: What is written where, in this order.
        means: How it is put in place.
        origins: Each tensor of the new layer → where it comes from. Layers that are only moved (as the one inside a
            wrapper) have no entry.
        fidelity: What the conversion promises, or None where nothing was converted.
        error: The relative error predicted, where it is known.
        lost: Tensors of the old layer that nothing carries.
        dropped: Arguments of the old layer that have no counterpart in the new one.
        renamed: Keys of the state dict before → after.
        remarks: What else there is to know.
        warnings: What will probably not do what the user means.
        beside: Other layers whose tensors origins are computed from, by the prefix under which these name them.
        config: The arguments of the constructor's call that made the new layer, where that is all that made it.
        inner: Where in the new layer the old one goes on as it is; empty where it doesn't.
    """

    kind: Kind
    names: tuple[str, ...]
    old: nn.Module
    new: nn.Module
    standing: nn.Module
    steps: tuple[Step, ...]
    means: str
    origins: Mapping[str, Origin] = field(default_factory=_nothing)
    fidelity: Fidelity | None = None
    error: float | None = None
    lost: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=_nothing)
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    beside: Mapping[str, nn.Module] = field(default_factory=_nothing)
    inner: str = ""
    config: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The layer's first name."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Planned:
    """One edit with what it comes to.

    Attributes:
        edit: What was asked for.
        changes: What is done for it, what follows elsewhere at the end.
        skipped: Names of matching layers that are left out, as they lie inside of a replaced one.
        left: Names of matching layers that stay as they are → why.
    """

    edit: Edit
    changes: tuple[Change, ...]
    skipped: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
