"""What comes along from the old layer besides its tensors: hooks and their handles, custom attributes, mode, dtype."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from torch import Tensor, nn

from ..changes import Assign, Cast, Drop, Follow, Step
from ..composites import DropOldKeys, OldCheckpoints
from ..layers.building import skeleton
from ..layers.config import arguments_of
from ..layers.fresh import on_meta
from ..origins import is_plain_float
from ..tree import Draft

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


def has_hooks(module: nn.Module) -> bool:
    """Whether a hook of any kind is registered on `module`."""
    return any(vars(module).get(name) for name in _HOOKS)


def carry_over(
    draft: Draft, old: nn.Module, standing: nn.Module, new: nn.Module, becomes: bool, shared: bool = False
) -> list[Step]:
    """Hooks and custom attributes of `old`, to be set on `new`.

    The dictionaries that hold hooks are carried as objects, since the handles that users keep refer to them.

    Args:
        draft: The model as the edits before this one leave it.
        old: The layer as it is.
        standing: The object that the hooks know as their module.
        new: The layer to come.
        becomes: Whether the object of `old` becomes `new`.
        shared: Whether `new` has come in place of another layer already, whose hooks it has.
    """
    steps: list[Step] = []
    attributes: dict[str, Any] = {}
    state = draft.entries(vars(old))
    for name in _HOOKS:
        theirs, own = state.get(name), vars(new).get(name)
        if theirs is None or (not theirs and (own or shared)):
            continue
        # Also where it is empty: by the time the plan is applied it may not be.
        attributes[name] = theirs
        steps += _sorted_out(theirs, old, standing, new, becomes)
        if own:
            steps.append(Assign(theirs, dict(own)))
    if state.get("_is_full_backward_hook") is not None:
        attributes["_is_full_backward_hook"] = state["_is_full_backward_hook"]
    attributes |= custom_attributes(old, new, state)
    if becomes:
        # Nobody else holds the new layer yet: no step is needed, and a later edit of the plan finds the hooks there.
        vars(new).update(attributes)
        return steps
    return [*steps, Assign(vars(new), attributes)] if attributes else steps


def _sorted_out(
    hooks: dict[int, Any], old: nn.Module, standing: nn.Module, new: nn.Module, becomes: bool
) -> Iterator[Step]:
    """Take out what belongs to the old layer itself; tell load hooks, which are handed their module, of the new one."""
    foreign = not isinstance(new, type(old))
    gone = []
    for key, hook in hooks.items():
        inner = getattr(hook, "hook", hook)
        method_of = getattr(inner, "__self__", None)
        if (
            isinstance(inner, OldCheckpoints | DropOldKeys)
            or _makes_a_tensor(type(inner))
            or (foreign and method_of is not None and (method_of is old or method_of is standing))
        ):
            gone.append(key)
        elif not becomes and isinstance(getattr(hook, "module", None), weakref.ref):
            yield Assign(vars(hook), {"module": weakref.ref(new)})
    if gone:
        yield Drop(hooks, tuple(gone))


def _makes_a_tensor(hook: type) -> bool:
    """Whether a hook computes the old layer's weight from other tensors of it: old-style norms of weights, pruning."""
    makers = ("torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm", "torch.nn.utils.prune")
    return any(base.__module__ in makers for base in hook.__mro__)


_BUILT_WITH: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()


def custom_attributes(old: nn.Module, new: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a user has set on `old` besides what its class sets, unless `new` has an attribute of that name."""
    standard = _standard_attributes(old)
    if standard is None or state.keys() <= standard:
        return {}
    return {name: value for name, value in state.items() if name not in standard and not hasattr(new, name)}


def _standard_attributes(module: nn.Module) -> frozenset[str] | None:
    """The attributes that an instance fresh from the constructor has; None where none can be built to see."""
    kind = type(module)
    if kind not in _BUILT_WITH:
        try:
            _BUILT_WITH[kind] = frozenset(vars(skeleton(kind, on_meta(arguments_of(module)))))
        except Exception:  # of a constructor that wants more than is known, or of this one layer
            return None
    return _BUILT_WITH[kind]


def settle(
    new: nn.Module,
    standing: nn.Module,
    reference: Tensor | None,
    present: AbstractSet[nn.Module],
    carried: AbstractSet[int],
) -> list[Step]:
    """Mode, dtype and device of the place where `new` comes, for those of its modules that aren't in the model yet.

    Args:
        new: The layer to come.
        standing: The object that stands there now.
        reference: A tensor whose dtype and device are right there, or None.
        present: The modules that are in the model already.
        carried: The ids of the tensors that are, and stay what they are.
    """
    fresh = tuple(module for module in new.modules() if module not in present)
    steps: list[Step] = [Follow(fresh, standing)]
    if reference is None:
        return steps
    for module in fresh:
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and id(tensor) not in carried:
                    steps.append(_cast(tensors, key, tensor, reference))
    return steps


def _cast(tensors: dict[str, Any], key: str, tensor: Tensor, reference: Tensor) -> Step:
    if torch._has_compatible_shallow_copy_type(tensor, reference):
        return Cast(tensor, reference)
    # Such as from or to the meta device, where an object can't change what it holds.
    dtype = reference.dtype if is_plain_float(tensor) else tensor.dtype
    moved = tensor.detach().to(reference.device, dtype)
    return Assign(
        tensors, {key: nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved}
    )
