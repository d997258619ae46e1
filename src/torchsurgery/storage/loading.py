"""Folder → model or plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..layers.building import tensors_of
from ..origins import Grown, Initialised
from ..plans import Plan, plan
from ..plans.replaying import refuse_other
from ..progress import work
from ..recipes import Recipe
from ..recipes.structure import structure_of
from .bases import Base, prepared, replayed
from .contents import Contents, State, read_contents
from .given import device_of, folder_of
from .opening import Save, Written, opened
from .slots import fill, slots_of
from .tensors import Slot, read_header, read_tensors

_META = torch.device("meta")


def load(
    folder: str | Path,
    base: Base | None = None,
    *,
    device: str | torch.device | None = None,
    verify: bool = True,
) -> nn.Module:
    """The model that was saved in a folder: its recipe replayed on the base, its weights read.

    Nothing of the files is run: layers are those of torch.nn, of this library and what you have registered with
    `ts.register`. The structure is compared before the first operation and after the last one, and the names, shapes
    and dtypes of all tensors before any is read.

    Args:
        folder: What `ts.save` has written.
        base: The model before it was altered: a builder, a reference such as "torchvision:resnet18", or a model, which
            is then changed in place; its weights don't matter.
        device: Where its tensors go; on "meta" only the structure is built, and no weights are read.
        verify: Whether every byte of the weights is compared with what was saved.

    Returns:
        The model, in the mode in which it was saved. It can be altered further, and saved again.

    Raises:
        RecipeError: if the files are damaged or not to be trusted, the base is another one, or a class isn't
            registered. A model given as base is then as it was.

    Example:
        >>> import tempfile
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> done = ts.replace(net, nn.ReLU, nn.GELU)
        >>> folder = tempfile.mkdtemp()
        >>> ts.save(net, folder)
        >>> ts.load(folder, base=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU()))[1]
        GELU(approximate='none')
    """
    where = device_of(device)
    with opened(folder_of(folder, 'ts.load("slim", base=build_model)')) as save:
        contents = read_contents(save)
        state = contents.state
        if state is None:
            raise _is_plan(save)
        _refuse_no_base(save, contents, base)
        fresh = prepared(base, structure_only=where == _META)
        try:
            with _named(save.folder), _rebuilt(contents.recipe, fresh.model) as model:
                files = (*save.files.get("weights", ()), *save.files.get("buffers", ()))
                _refuse_other_tensors(save, files, model)
                _refuse_unknown(state, model)
                if where != _META:
                    read = dict(_read(save, files, verify))
                    fill(model, read, state.frozen, where or fresh.device or "cpu", state.layouts)
                state.set_modes(model)
        except BaseException:
            fresh.restore()
            raise
    return model


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Say in an error about which save it is, where it doesn't."""
    try:
        yield
    except RecipeError as error:
        first, *rest = str(error).split("\n")
        if str(folder) in first:
            raise
        details = [line.strip() for line in rest if line.strip() != error.way_out]
        known = {"name": error.name, "expected": error.expected, "got": error.got, "way_out": error.way_out}
        raise RecipeError(f"{folder}: {first}", *details, **known) from error


@contextmanager
def _rebuilt(recipe: Recipe, base: nn.Module) -> Iterator[nn.Module]:
    """The base as the recipe leaves it; taken back where what follows fails."""
    done = replayed(base, recipe).apply(check=False)
    try:
        assert recipe.result is not None
        refuse_other(recipe.result, structure_of(base), type(base).__name__, "the model that was saved")
        yield base
    except BaseException:
        done.undo()
        raise


def _refuse_no_base(save: Save, contents: Contents, base: Base | None) -> None:
    if base is None:
        known = contents.about.reference
        raise RecipeError(
            f"{save.folder} is an altered {contents.about.model}, and is built from the model as it was before.",
            *([f"it was saved with  base={known!r}"] if known else []),
            expected=known,
            way_out=f"ts.load({str(save.folder)!r}, base={repr(known) if known else 'build_model'})",
        )


def _is_plan(save: Save) -> RecipeError:
    return RecipeError(
        f"{save.folder} holds a plan, and no model.",
        way_out=f"ts.load_plan({str(save.folder)!r}, model).apply()",
    )


def _refuse_other_tensors(save: Save, files: tuple[Written, ...], model: nn.Module) -> None:
    """Raise if the files don't hold the model's tensors, all of them and no others."""
    wanted = slots_of(model)
    found: dict[str, Slot] = {}
    for file in files:
        handle = save.handles[file.name]
        slots, _ = read_header(handle, save.where(file), file.size)
        handle.seek(0)
        for name, slot in slots.items():
            there = wanted.get(name)
            if there is None or name in found:
                what = "twice" if name in found else "and the model has no such tensor"
                raise RecipeError(f"{save.where(file)}: {name} is there, {what}.", name=name, got=name)
            other_shape = there.saved and slot.shape != tuple(there.tensor.shape)
            if other_shape or not _is_alike(slot.dtype, there.tensor.dtype):
                raise RecipeError(
                    f"{save.where(file)}: {name} is not what the model has there.",
                    f"expected {_in_words(there.tensor.shape, there.tensor.dtype)}",
                    f"got {_in_words(slot.shape, slot.dtype)}",
                    name=name,
                    expected=tuple(there.tensor.shape),
                    got=slot.shape,
                    way_out="give the base that was altered:  base=",
                )
        found |= slots
    if missing := [name for name in wanted if name not in found]:
        raise RecipeError(
            f"{save.folder}: {missing[0]} is missing, with {len(missing) - 1} more tensors.",
            name=missing[0],
            expected=missing,
            way_out="get the folder again from where it came, or save again",
        )


def _refuse_unknown(state: State, model: nn.Module) -> None:
    """Raise if the state is about something that the model doesn't have."""
    tensors = {
        *dict(model.named_parameters(remove_duplicate=False)),
        *dict(model.named_buffers(remove_duplicate=False)),
    }
    modules = set(dict(model.named_modules(remove_duplicate=False)))
    for found, known in ((state.frozen, tensors), (state.layouts, tensors), (state.otherwise, modules)):
        if unknown := next((name for name in found if name not in known), None):
            raise RecipeError(
                f"the state of {unknown} is told, and {type(model).__name__} has none.",
                name=unknown,
                got=unknown,
                way_out="get the folder again from where it came, or save again",
            )


def _is_alike(one: torch.dtype, other: torch.dtype) -> bool:
    """Whether both hold floating-point numbers, which may be of another width, or they are the same."""
    return one == other or (one.is_floating_point and other.is_floating_point)


def _in_words(shape: Any, dtype: torch.dtype) -> str:
    return f"{tuple(shape)} of {str(dtype).removeprefix('torch.')}"


def _read(save: Save, files: tuple[Written, ...], verify: bool) -> Iterator[tuple[str, Tensor]]:
    with work("reading", sum(file.size for file in files), "B") as advance:
        for file in files:
            sha256 = file.sha256 if verify else None
            yield from read_tensors(save.handles[file.name], save.where(file), file.size, sha256, advance).items()


def load_plan(folder: str | Path, model: nn.Module) -> Plan:
    """The plan that was saved in a folder, for the model that it was made for or one of the same structure.

    It does what was reviewed: the same layers in the same places, with the same values where they were drawn.

    Args:
        folder: What `ts.save(plan, folder)` has written.
        model: What the plan is for. It is not touched until the plan is applied.

    Raises:
        RecipeError: if the files are damaged or not to be trusted, or the model is another one.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> ts.save(ts.plan(model).replace("fc", nn.Linear(512, 10)), folder)
        >>> plan = ts.load_plan(folder, model)
        >>> plan
        Plan: 1 edit, 0 follow-ups · 1 of 68 modules · params 11,689,512 → 11,181,642
    """
    folder = folder_of(folder, 'ts.load_plan("planned", model)')
    with opened(folder) as save:
        contents = read_contents(save)
        if contents.state is not None:
            raise RecipeError(
                f"{folder} holds a model, and no plan.", way_out=f"ts.load({str(folder)!r}, base=build_model)"
            )
        file = save.one("values")
        values: dict[str, Tensor] = {}
        if file is not None:
            values = read_tensors(save.handles[file.name], save.where(file), file.size, file.sha256)
    recipe = contents.recipe
    with _named(folder):
        made = plan(model).replay(Recipe((), recipe.base))
        for number, operation in enumerate(recipe.operations):
            before = len(made.planned)
            made = made.replay(Recipe((operation,)))
            _put_values(made, before, number, values)
        with made.in_force() as altered:
            assert recipe.result is not None
            refuse_other(recipe.result, structure_of(altered), type(altered).__name__, "what the plan was to leave")
    return made


def _put_values(made: Plan, before: int, number: int, values: Mapping[str, Tensor]) -> None:
    for planned in made.planned[before:]:
        for change in planned.changes:
            for name, tensor in tensors_of(change.new).items():
                value, origin = values.get(f"{number}/{change.name}/{name}"), change.origins.get(name)
                if value is None or not isinstance(origin, Initialised | Grown) or tensor.is_meta:
                    continue
                if value.shape != tensor.shape:
                    raise RecipeError(f"the value of {change.name}.{name} has another shape.", name=change.name)
                if isinstance(origin, Grown):
                    origin.drawn[:] = [value]  # what is computed of it is computed anew when the plan is applied
                else:
                    tensor.data = value.to(tensor.device, tensor.dtype)
