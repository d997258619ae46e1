"""What the values of a recipe stand for: targets, classes, arguments of constructors. Nothing is imported by name."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .. import importance
from ..errors import SourceError
from ..layers.arguments import divisor
from ..models import look_up
from ..models.references import close_names
from ..plans import Plan
from ..recipes.naming import is_registered, register
from ..selection import Selection, resolve
from .recipes import Step

Classes = Mapping[str, Any]

_LAYERS: dict[str, type[nn.Module]] = {
    name: thing for name, thing in vars(nn).items() if isinstance(thing, type) and issubclass(thing, nn.Module)
}
_FUNCTIONS = {f"F.{name}": thing for name, thing in vars(functional).items() if callable(thing) and name[0] != "_"}
_FUNCTIONS |= {f"torch.{n}": getattr(torch, n) for n in ("relu", "sigmoid", "tanh", "softmax") if hasattr(torch, n)}
_SCORES = ("l1", "l2", "bn_scale", "random", "taylor")


def classes_of(arguments: Namespace) -> dict[str, Any]:
    """Classes of the user's own, by the names that a recipe may use: `Mine=pkg.mod:Class` is `Mine`.

    They are registered under these names, so that what is saved can be loaded where they are given again. Their code
    is run, once a command.

    Raises:
        SourceError: if there is none of that name.
    """
    known: dict[str, Any] | None = getattr(arguments, "classes_found", None)
    if known is None:
        known = arguments.classes_found = {}
        for text in arguments.classes:
            name, _, reference = text.rpartition("=")
            known[name or reference.rpartition(":")[2]] = _registered(name or reference, look_up(reference))
    return known


def _registered(key: str, thing: Any) -> Any:
    if not callable(thing) or isinstance(thing, nn.Module):
        raise SourceError(f"{key} is no class of layers but a {type(thing).__name__}.", got=thing)
    return thing if is_registered(thing) else register(key, thing)


def class_of(step: Step, name: Any, classes: Classes) -> Any:
    """The class of a new layer: of torch.nn, or one that was given on the command line."""
    if isinstance(name, str):
        plain = name.removeprefix("torch.").removeprefix("nn.")
        if name in classes or plain in _LAYERS:
            return classes.get(name) or _LAYERS[plain]
    near = close_names(str(name), [*classes, *_LAYERS])
    details = [f"closest names: {', '.join(near)}"] if near else []
    own = f"for a class of your own give  --class {name}=pkg.mod:Class"
    step.refuse(
        f"{name!r} is no layer of torch.nn.",
        *details,
        argument="with",
        way_out=f"write  with: {near[0]}, or {own}" if near else own,
    )


def target_of(step: Step, argument: str, value: Any, plan: Plan, classes: Classes) -> Any:
    """What an edit is about: a class, a pattern, a function, a list of them, or a mapping that says more.

    Args:
        step: The edit.
        argument: The target's name in it.
        value: What stands there.
        plan: What has been planned so far: a mapping selects on that.
        classes: The user's own.
    """
    if isinstance(value, str):
        plain = value.removeprefix("torch.").removeprefix("nn.")
        return classes.get(value) or _FUNCTIONS.get(value) or _LAYERS.get(plain) or value
    if isinstance(value, list) and value:
        return tuple(target_of(step, argument, item, plan, classes) for item in value)
    if isinstance(value, dict) and value and all(isinstance(key, str) for key in value):
        return _selected(step, argument, dict(value), plan, classes)
    step.refuse(
        f"{value!r} is no target.",
        "expected a class, a pattern, a list of them, or {type: Conv2d, name: 'layer4.**', kernel_size: 1}",
        argument=argument,
        way_out="- remove: {target: Dropout}",
    )


def _selected(step: Step, argument: str, value: dict[str, Any], plan: Plan, classes: Classes) -> Selection:
    parts = [value.pop(key) for key in ("type", "name") if key in value]
    without = value.pop("except", None)
    targets = tuple(target_of(step, argument, part, plan, classes) for part in parts)
    attributes = {name: argument_of(item) for name, item in value.items()}
    places = resolve(plan.draft, targets, attributes, None, False)
    if without is not None:
        gone = resolve(plan.draft, (target_of(step, argument, without, plan, classes),), {}, None, False)
        places = tuple(place for place in places if place.module not in {other.module for other in gone})
    return Selection(plan.draft.model, places)


def argument_of(value: Any) -> Any:
    """A constructor's argument: a list is a tuple, `{divisor: 32}` and `divisor(32)` are `ts.divisor(32)`."""
    if isinstance(value, list):
        return tuple(argument_of(item) for item in value)
    if isinstance(value, dict) and value.keys() == {"divisor"}:
        return divisor(value["divisor"])
    if isinstance(value, str) and (found := re.fullmatch(r"(?:ts\.)?divisor\((\d+)\)", value)):
        return divisor(int(found[1]))
    return value


def score_of(step: Step, value: Any) -> Any:
    """A way of scoring channels, by name."""
    if value not in _SCORES:
        step.refuse(
            f"{value!r} scores no channels.", f"there are {', '.join(_SCORES)}", argument="by", way_out="write  by: l2"
        )
    return getattr(importance, value)
