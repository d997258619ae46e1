"""Model or plan → folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import RecipeError
from ..history import recipe_from, recipe_of, refuse_unknown_past
from ..layers.building import tensors_of
from ..origins import Grown, Initialised, Origin
from ..plans import Plan
from ..plans.replaying import refuse_other
from ..progress import work
from ..recipes import Recipe
from ..recipes.structure import structure_of
from ..tree import refuse_no_model, unwrapped
from . import moments
from .bases import Base, prepared, replayed
from .contents import About, Contents, State, refuse_unreadable, write_contents
from .folder import Transaction, refuse_foreign, transaction
from .given import folder_of, refuse_bad_size, refuse_no_recipe
from .slots import Slot, refuse_unsavable, slots_of
from .tensors import write_tensors

_SHARD = 5_000_000_000


def save(
    model: nn.Module | Plan,
    folder: str | Path,
    *,
    base: Base | None = None,
    recipe: Recipe | None = None,
    optimizer: Any = None,
    state: Mapping[str, Any] | None = None,
    shard_size: int = _SHARD,
) -> None:
    """Save an altered model as a recipe and weights, without pickle; `ts.load` builds it again from its base.

    The folder gets all of it or nothing: whatever interrupts this, a save that was there before is whole. Weights
    lie in safetensors files, in the dtype that they have.

    Args:
        model: A model that this library has altered, in this process or before it was loaded with `ts.load`. Or a
            plan: then what it is going to do is saved, with the values of its new tensors.
        folder: A new folder, an empty one, or an earlier save, which is replaced.
        base: What the recipe will be replayed on: a builder, a reference such as "torchvision:resnet18", or a model as
            it was before. With it, it is proven now that the model can be built again.
        recipe: What has altered the model, where it isn't known here, as for a copy: `ts.recipe_of(original)`.
        optimizer: One whose state is saved beside, by the names of its Parameters; see `ts.load_training`.
        state: What else training needs: numbers, text, tensors, lists and dictionaries of them.
        shard_size: Files of weights get no larger than so many bytes, where no tensor is.

    Raises:
        RecipeError: if the model was altered by other means as well, or has something that can't be saved; naming it.
            Or if the folder holds something else, or can't be written to.
        SelectionError: if it is neither a model nor a plan.

    Example:
        >>> import tempfile, torchvision
        >>> done = ts.replace(model, nn.BatchNorm2d, nn.GroupNorm, num_groups=8)
        >>> folder = tempfile.mkdtemp()
        >>> ts.save(model, folder, base="torchvision:resnet18")
        >>> same = ts.load(folder, base="torchvision:resnet18")
        >>> torch.equal(same(x), model(x))
        True
    """
    folder = folder_of(folder, 'ts.save(model, "slim")')
    refuse_bad_size(shard_size)
    if isinstance(model, Plan):
        _refuse_beside_a_plan(recipe=recipe, optimizer=optimizer, state=state)
        refuse_foreign(folder)
        _save_plan(model, folder, base)
        return
    refuse_no_model(model)
    refuse_foreign(folder)
    model = unwrapped(model)
    if recipe is None and base is None:
        refuse_unknown_past(model)
    own = recipe is None
    recipe = recipe_of(model) if recipe is None else _of_this(recipe, model)
    slots = slots_of(model)
    refuse_unsavable(model, slots)
    refuse_unreadable(recipe)
    if base is not None:
        recipe = _proven(recipe, base, model if own else None)
    contents = Contents(recipe, State.of(model), About.of(model, base if isinstance(base, str) else None))
    of_training = moments.written(model, optimizer, state)
    with transaction(folder) as under_way:
        write_contents(under_way, contents)
        index = _write_weights(under_way, slots, shard_size)
        moments.write(under_way, of_training)
        under_way.commit(index)


def _refuse_beside_a_plan(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise RecipeError(
                f"a plan is saved without {name}=, which belongs to a model.",
                got=value,
                way_out="apply it, and save the model:  plan.apply(), ts.save(model, …)",
            )


def _of_this(recipe: Recipe, model: nn.Module) -> Recipe:
    refuse_no_recipe(recipe)
    now = structure_of(model)
    if recipe.result is not None:
        refuse_other(recipe.result, now, type(model).__name__, "what the recipe leaves")
    return replace(recipe, result=now)


def _proven(recipe: Recipe, base: Base, model: nn.Module | None = None) -> Recipe:
    """The recipe, if it leads from this base to the model; where a builder alters parts itself, what was done since."""
    fresh = prepared(base, structure_only=True)
    try:
        if model is not None:
            recipe = recipe_from(model, recipe, structure_of(fresh.model, ties=False))
        with replayed(fresh.model, recipe).in_force() as rebuilt:
            assert recipe.result is not None
            refuse_other(recipe.result, structure_of(rebuilt), type(rebuilt).__name__, "the model when it is rebuilt")
        return recipe
    finally:
        fresh.restore()


def _save_plan(given: Plan, folder: Path, base: Base | None) -> None:
    recipe = given.recipe
    with given.in_force() as altered:
        recipe = replace(recipe, result=structure_of(altered))
    refuse_unreadable(recipe)
    if base is not None:
        _proven(recipe, base)
    about = About.of(given.draft.model, base if isinstance(base, str) else None)
    values = dict(_values(given))
    with transaction(folder) as under_way:
        write_contents(under_way, Contents(recipe, None, about))
        if values:
            under_way.add("values", "safetensors", lambda sink: write_tensors(sink, values))
        under_way.commit(None)


def _values(given: Plan) -> Iterator[tuple[str, Tensor]]:
    """What was drawn for the plan: "operation/layer/tensor" → its value."""
    seen: set[int] = set()
    for number, planned in enumerate(given.planned):
        for change in planned.changes:
            for name, tensor in tensors_of(change.new).items():
                drawn = _drawn(change.origins.get(name), tensor)
                if drawn is not None and not drawn.is_meta and id(drawn) not in seen:
                    seen.add(id(drawn))
                    yield f"{number}/{change.name}/{name}", drawn


def _drawn(origin: Origin | None, tensor: Tensor) -> Tensor | None:
    """What of a new tensor was drawn: all, or what stands beside the entries of old ones."""
    if isinstance(origin, Grown):
        return origin.drawn[0] if origin.drawn else None
    return tensor if isinstance(origin, Initialised) else None


def _write_weights(under_way: Transaction, slots: Mapping[str, Slot], shard_size: int) -> bytes:
    """Write all tensors; answers the index that other tools find them by."""
    where: dict[str, str] = {}
    size = sum(slot.tensor.numel() * slot.tensor.element_size() for slot in slots.values() if slot.saved)
    with work("writing", size, "B") as advance:
        for shard in _shards({n: s.tensor for n, s in slots.items() if s.saved}, shard_size):
            add = partial(write_tensors, tensors=shard, advance=advance)
            file = under_way.add("weights", "safetensors", add)
            where.update(dict.fromkeys(shard, file.name))
    if unsaved := {name: slot.tensor for name, slot in slots.items() if not slot.saved}:
        under_way.add("buffers", "safetensors", lambda sink: write_tensors(sink, unsaved))
    return json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=1, sort_keys=True).encode()


def _shards(tensors: Mapping[str, Tensor], shard_size: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        own = tensor.numel() * tensor.element_size()
        if shard and size + own > shard_size:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += own
    yield shard
