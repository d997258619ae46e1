"""What a recipe is replayed on: a model as its builder makes it, with its tensors on the meta device."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from ..errors import RecipeError
from ..models import build
from ..plans import Plan, plan
from ..randomness import random_state_kept
from ..recipes import Recipe
from ..tree import unwrapped
from .slots import Emptied, slots_of, strays

Base: TypeAlias = "nn.Module | Callable[[], nn.Module] | str | os.PathLike[str]"


def replayed(fresh: nn.Module, recipe: Recipe) -> Plan:
    """The plan of a recipe for a model on the meta device; no new layer takes room either."""
    with torch.device("meta"):
        return plan(fresh).replay(recipe, weights=False)


@dataclass
class Prepared:
    """A base without values.

    Attributes:
        model: The model.
        device: Where its tensors were, or None where it was built for this.
        emptied: What was in it, if it is the user's own.
    """

    model: nn.Module
    device: torch.device | None = None
    emptied: Emptied | None = None

    def restore(self) -> None:
        """Give the user's model back what was in it."""
        if self.emptied is not None:
            self.emptied.restore()


def prepared(base: Base | None, structure_only: bool) -> Prepared:
    """A base, with its tensors on the meta device.

    A builder is called for the meta device, where it takes no time and no room. Where it doesn't run there, or leaves
    something without values that no file could bring, it is called as it is.

    Args:
        base: A model, which is used itself; a builder; or a reference.
        structure_only: Whether values will never be needed.

    Raises:
        RecipeError: if it is none of these.
    """
    if isinstance(base, nn.Module):
        model = unwrapped(base)
        first = next((slot.tensor.device for slot in slots_of(model).values()), None)
        return Prepared(model, first, Emptied(model))
    builder = _builder(base)
    with random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built = _on_meta(builder)
        if built is None or (not structure_only and any(True for _ in strays(built))):
            built = _model(builder())
            Emptied(built)
    return Prepared(built)


def _on_meta(builder: Callable[[], Any]) -> nn.Module | None:
    try:
        with torch.device("meta"):
            model = _model(builder())
    except RecipeError:
        raise
    except Exception:  # of a builder that computes with its tensors
        return None
    Emptied(model)  # what the builder has put elsewhere by name
    return model


def _builder(base: Any) -> Callable[[], Any]:
    if isinstance(base, str | os.PathLike):
        return lambda: build(os.fspath(base))
    if not callable(base):
        raise RecipeError(
            f"base= is a builder, a model or a reference, got {type(base).__name__}.",
            got=base,
            way_out='base="torchvision:resnet18", or  base=build_model',
        )
    _refuse_arguments(base)
    builder: Callable[[], Any] = base
    return builder


def _refuse_arguments(builder: Callable[..., Any]) -> None:
    """Raise if a builder can't be called without arguments."""
    try:
        inspect.signature(builder).bind()
    except ValueError:  # of what tells no signature
        return
    except TypeError as error:
        name = getattr(builder, "__name__", type(builder).__name__)
        raise RecipeError(
            f"the base's builder {name} is called without arguments: {error}.",
            got=builder,
            way_out=f"base=lambda: {name.strip('<>')}(…)",
        ) from None


def _model(found: Any) -> nn.Module:
    if not isinstance(found, nn.Module):
        raise RecipeError(f"the base's builder gives a {type(found).__name__}, and no model.", got=found)
    return unwrapped(found)
