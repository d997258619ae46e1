"""What comes along from the old layer besides its tensors: hooks and their handles, custom attributes, mode, dtype."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import Tensor, nn

from ..changes import Assign, Cast, Follow, Step
from ..errors import PlanError
from ..layers.conversion import build, convert
from .scene import is_plain_float

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def carry_over(old: nn.Module, standing: nn.Module, new: nn.Module, becomes: bool) -> list[Step]:
    """Hooks and custom attributes of `old`, to be set on `new`.

    The dictionaries that hold hooks are carried as objects, since the handles that users keep refer to them.

    Args:
        old: The layer as it is.
        standing: The object that the hooks know as their module.
        new: The layer to come.
        becomes: Whether the object of `old` becomes `new`.
    """
    steps: list[Step] = []
    attributes: dict[str, Any] = {}
    for name in _HOOKS:
        theirs, own = vars(old).get(name), vars(new).get(name)
        if not theirs and not (becomes and not own):
            continue
        kept = _kept_hooks(theirs or {}, old, standing, new, becomes)
        if kept is None:
            kept = theirs
        if own and kept is not None:
            steps.append(Assign(kept, dict(own)))
        attributes[name] = kept
    if vars(old).get("_is_full_backward_hook") is not None:
        attributes["_is_full_backward_hook"] = vars(old)["_is_full_backward_hook"]
    attributes |= custom_attributes(old, new)
    return [*steps, Assign(vars(new), attributes)] if attributes else steps


def _kept_hooks(
    hooks: Mapping[int, Any], old: nn.Module, standing: nn.Module, new: nn.Module, becomes: bool
) -> dict[int, Any] | None:
    """The hooks without those that are methods of the old layer's class; None where all of them stay as they are."""
    foreign = not isinstance(new, type(old))
    kept = {}
    changed = False
    for key, hook in hooks.items():
        bound = getattr(getattr(hook, "hook", hook), "__self__", None)
        if foreign and bound is not None and (bound is old or bound is standing):
            changed = True
            continue
        if not becomes and isinstance(getattr(hook, "module", None), weakref.ref):
            # A load hook that is handed its module would be handed the old one.
            hook = copy.copy(hook)
            hook.module, changed = weakref.ref(new), True
        kept[key] = hook
    return OrderedDict(kept) if changed else None


_BUILT_WITH: weakref.WeakKeyDictionary[type, frozenset[str] | None] = weakref.WeakKeyDictionary()


def custom_attributes(old: nn.Module, new: nn.Module) -> dict[str, Any]:
    """What a user has set on `old` besides what its class sets, unless `new` has an attribute of that name."""
    standard = _standard_attributes(old)
    if standard is None or vars(old).keys() <= standard:
        return {}
    extra = vars(old).keys() - standard
    return {name: vars(old)[name] for name in vars(old) if name in extra and not hasattr(new, name)}


def _standard_attributes(module: nn.Module) -> frozenset[str] | None:
    """The attributes that an instance fresh from the constructor has; None where none can be built to see."""
    kind = type(module)
    if kind not in _BUILT_WITH:
        try:
            _BUILT_WITH[kind] = frozenset(vars(build(convert(module, kind, {}), module)))
        except PlanError:
            _BUILT_WITH[kind] = None
    return _BUILT_WITH[kind]


def settle(
    new: nn.Module, standing: nn.Module, reference: Tensor | None, present: AbstractSet[nn.Module]
) -> list[Step]:
    """Mode, dtype and device of the place where `new` comes, for those of its modules that aren't in the model yet.

    Args:
        new: The layer to come.
        standing: The object that stands there now.
        reference: A tensor whose dtype and device are right there, or None.
        present: The modules that are in the model already.
    """
    fresh = tuple(module for module in new.modules() if module not in present)
    steps: list[Step] = [Follow(fresh, standing)]
    if reference is None:
        return steps
    for module in fresh:
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and (cast := _cast(tensors, key, tensor, reference)) is not None:
                    steps.append(cast)
    return steps


def _cast(tensors: dict[str, Any], key: str, tensor: Tensor, reference: Tensor) -> Step | None:
    dtype = reference.dtype if is_plain_float(tensor) else tensor.dtype
    if tensor.dtype == dtype and tensor.device == reference.device:
        return None
    if torch._has_compatible_shallow_copy_type(tensor, reference):
        return Cast(tensor, reference.device, dtype)
    # Such as from or to the meta device, where an object can't change what it holds.
    moved = tensor.detach().to(reference.device, dtype)
    return Assign(
        tensors, {key: nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved}
    )
