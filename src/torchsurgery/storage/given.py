"""What users give, looked at before anything is done: a mistake is one message that says what to give."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import RecipeError
from ..recipes import Recipe


def folder_of(given: Any, call: str) -> Path:
    """The path of a folder that is there, or could be; `call` is how it is given.

    Raises:
        RecipeError: if it is no path, or none that the system takes.
    """
    try:
        path = Path(given)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # which takes what can be a name at all
    except TypeError:
        raise RecipeError(
            f"a folder is a text or a path, got {type(given).__name__}.", got=given, way_out=call
        ) from None
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{given} can't be a folder here: {getattr(error, 'strerror', None) or error}.", got=given, way_out=call
        ) from error
    return path


def refuse_bad_size(shard_size: Any) -> None:
    """Raise if files can't be of such a size."""
    if isinstance(shard_size, bool) or not isinstance(shard_size, int) or shard_size < 1:
        raise RecipeError(
            f"shard_size is a number of bytes, got {shard_size!r}.", got=shard_size, way_out="shard_size=5_000_000_000"
        )


def refuse_no_recipe(recipe: Any) -> None:
    """Raise if something else was given for a recipe."""
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"a recipe was expected, got {type(recipe).__name__}.",
            got=recipe,
            way_out="give surgery.recipe or ts.recipe_of(model); a saved plan is read by  ts.load_plan(folder, model)",
        )


def refuse_no_optimizer(optimizer: Any) -> None:
    """Raise if something else was given for an optimizer."""
    if inspect.isclass(optimizer) or not isinstance(getattr(optimizer, "param_groups", None), list):
        raise RecipeError(
            f"optimizer= is one optimizer, got {_kind(optimizer)}.",
            got=optimizer,
            way_out="optimizer=torch.optim.AdamW(model.parameters()); others go into state=, as  second.state_dict()",
        )


def refuse_no_state(state: Any) -> None:
    """Raise if something else was given for the state of training."""
    if not isinstance(state, Mapping):
        raise RecipeError(f"state= is a dictionary, got {_kind(state)}.", got=state, way_out="state={'epoch': 3}")


def device_of(given: Any) -> torch.device | None:
    """A device that tensors can be put on.

    Raises:
        RecipeError: if there is none of this name here.
    """
    if given is None:
        return None
    try:
        device = torch.device(given)
        torch.empty(0, device=device)
    except Exception as error:  # of whatever kind a backend that is missing raises
        raise RecipeError(
            f"device={given!r} can't be used here: {str(error).partition(chr(10))[0]}"[:300],
            got=given,
            way_out='device="cpu", or leave it out',
        ) from error
    return device


def _kind(given: Any) -> str:
    return f"the class {given.__name__}" if inspect.isclass(given) else type(given).__name__
