"""How a layer is put in place: its object takes the class alone, class and state, or every slot gets the new object."""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from ..changes import Become, Put, Retype, Step, Write
from ..errors import PlanError
from ..outside import Reference
from ..selection import Place
from .guards import guard_sharded, is_graph_or_sharded, label
from .scene import Scene

RETYPE = "the layer takes the new class"
BECOME = "the layer becomes the new one"
PUT = "put in place of the layer"


@dataclass(frozen=True, slots=True)
class Placement:
    """How one layer comes to its place.

    Attributes:
        steps: What is to be written.
        old: The layer as it was, whatever its object becomes.
        standing: The object that is in the model afterwards.
        means: In words, for the plan.
        references: Where else than in `_modules` it is put.
    """

    steps: tuple[Step, ...]
    old: nn.Module
    standing: nn.Module
    means: str
    references: tuple[Reference, ...] = ()


def shell(module: nn.Module, kind: type[nn.Module] | None = None) -> nn.Module:
    """An object that shares the state of `module`: what it was once it has become another, or what it will be."""
    twin = object.__new__(kind or type(module))
    object.__setattr__(twin, "__dict__", module.__dict__)
    return twin


def by_retyping(scene: Scene, place: Place, new: nn.Module) -> Placement:
    """`new` has the very state of the old layer: its object takes the class."""
    standing = scene.draft.standing(place.module)
    return Placement((Retype(standing, new),), shell(place.module), standing, RETYPE)


def by_becoming(scene: Scene, place: Place, new: nn.Module) -> Placement:
    """The object of the old layer takes class and state of `new`, and every reference to it sees the new layer."""
    guard_sharded(scene, place, new)
    standing = scene.draft.standing(place.module)
    _hand_hooks(new, standing)
    old = shell(place.module)
    return Placement((Become(standing, new, old),), old, standing, BECOME)


def _hand_hooks(new: nn.Module, standing: nn.Module) -> None:
    """Load hooks know their module weakly: let it be the object that lives on."""
    hooks: dict[int, Any] = new._load_state_dict_pre_hooks
    for hook in hooks.values():
        known = getattr(hook, "module", None)
        if isinstance(known, weakref.ref) and known() is new:
            hook.module = weakref.ref(standing)


def by_putting(scene: Scene, place: Place, new: nn.Module) -> Placement:
    """`new` is put into every slot that holds the old layer, and into the lists and closures of the model that do.

    Raises:
        PlanError: if the layer is the model itself, or is held where nothing can be written.
    """
    guard_sharded(scene, place, new)
    if "" in place.names:
        raise PlanError(
            f"cannot put an instance in place of {label(place)}: your reference to the model would stay the old.",
            name="",
            way_out="assign it yourself:  model = new, or give a class or a factory",
        )
    standing = scene.draft.standing(place.module)
    slots = scene.draft.slots(scene.draft.spots()[place.module])
    outside = _outside(scene, place)
    steps: list[Step] = [Put(owner, owner._modules, key, standing, new) for owner, key in slots]
    steps += [Write(reference, new) for reference in outside]
    return Placement(tuple(steps), place.module, new, PUT, outside)


def stand_ins(scene: Scene, new: nn.Module) -> list[Step]:
    """Where a fresh layer holds one that an earlier edit has planned: put the object there that becomes it."""
    return [
        Put(module, module._modules, key, child, scene.draft.standing(child))
        for module in new.modules()
        if module not in scene.present
        for key, child in module._modules.items()
        if child is not None and scene.draft.standing(child) is not child
    ]


def can_become(scene: Scene, place: Place, kind: type[nn.Module]) -> bool:
    """Whether the object of the old layer can take class `kind`."""
    standing = scene.draft.standing(place.module)
    return (
        "forward" not in vars(standing)
        and "parametrizations" not in standing._modules
        and not is_graph_or_sharded(type(standing))  # type: ignore[arg-type]  # classes are hashable
        and _same_layout(type(standing), kind)  # type: ignore[arg-type]  # classes are hashable
    )


@lru_cache(maxsize=4096)
def _same_layout(old: type, new: type) -> bool:
    if "__del__" in dir(new):  # it would run for an object that lives on
        return False
    try:
        object.__setattr__(object.__new__(old), "__class__", new)
    except TypeError:
        return False
    return True


def is_held(new: nn.Module) -> bool:
    """Whether something else than the caller's variable refers to a fresh module: its user, a hook, a child."""
    if _count_references(new) > _UNHELD:
        return True
    # torch.compile, once it was used, keeps a weak reference to every module that is constructed.
    known = weakref.getweakrefcount(new)
    return known > 0 and known > weakref.getweakrefcount(nn.Identity())


def _count_references(thing: object) -> int:
    return sys.getrefcount(thing)


def _count_as_is_held_does(thing: object) -> int:
    return _count_references(thing)


def _unheld() -> int:
    new = nn.Identity()
    return _count_as_is_held_does(new)


# What is counted of an object that one variable holds; each call on the way to it adds one or two, depending on Python.
_UNHELD = _unheld()


def _outside(scene: Scene, place: Place) -> tuple[Reference, ...]:
    """Where else the layer is held, but for what lies in the layer itself."""
    standing = scene.draft.standing(place.module)
    found = scene.held_outside.get(standing, [])
    if found:
        within = {scene.draft.standing(module) for module in place.module.modules()}
        if any(scene.draft.standing(reference.holder) in within for reference in found):
            # What two modules share was found in the first of them alone: look again, at the others.
            spots = scene.draft.spots().items()
            others = ((at.names[0], module) for module, at in spots if scene.draft.standing(module) not in within)
            found = scene.references(others, {standing})
    for reference in found:
        if reference.write is None:
            raise PlanError(
                f"{label(place)} is also held by {reference.path}, where nothing can be put in its place.",
                name=place.name,
                got=reference.path,
                way_out="hold it in a list or in nn.ModuleList, or give a class instead of an instance",
            )
    return tuple(found)
