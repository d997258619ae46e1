"""What the files of a save say: the recipe with its tensors and structures, and the state of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import RecipeError
from ..recipes import Recipe
from ..recipes.recipe import read_recipe
from ..recipes.strict import MOST_BYTES, Field, canonical
from ..recipes.structure import Structure
from . import layouts
from .folder import Transaction
from .layouts import Layout, layout_of
from .opening import Save
from .slots import slots_of
from .tensors import read_tensors, write_tensors

_MOST_LINES = 32 << 20
_MEMBERS = "state about"


@dataclass(frozen=True)
class State:
    """What a model is besides structure and values.

    Attributes:
        frozen: Names of Parameters that aren't trained.
        training: Whether the model is in train mode.
        otherwise: Names of modules that are in the other mode.
        layouts: How tensors lie in memory that don't lie in the order of their axes, by name.
    """

    frozen: frozenset[str] = frozenset()
    training: bool = False
    otherwise: frozenset[str] = frozenset()
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> State:
        """The state of a model."""
        frozen = frozenset(name for name, p in model.named_parameters() if not p.requires_grad)
        otherwise = frozenset(name for name, m in model.named_modules() if m.training is not model.training)
        found = ((name, layout_of(slot.tensor)) for name, slot in slots_of(model).items() if not is_lazy(slot.tensor))
        return cls(frozen, model.training, otherwise, {name: layout for name, layout in found if layout is not None})

    def set_modes(self, model: nn.Module) -> None:
        """Bring every module to its mode."""
        for name, module in model.named_modules():
            module.training = self.training is not (name in self.otherwise)


@dataclass(frozen=True)
class About:
    """Where a save comes from, for those who read it; nothing is done with it."""

    model: str
    reference: str | None
    library: str
    torch: str

    @classmethod
    def of(cls, model: nn.Module, reference: str | None) -> About:
        """What there is to say of a model and its base."""
        try:
            library = version("torchsurgery")
        except PackageNotFoundError:  # a copy of the sources
            library = "unknown"
        return cls(type(model).__name__, reference, library, str(torch.__version__))


@dataclass(frozen=True)
class Contents:
    """A save's recipe, and the model that it was made of; `state` is None where it is a plan."""

    recipe: Recipe
    state: State | None
    about: About


def write_contents(under_way: Transaction, contents: Contents) -> None:
    """Add the files of the recipe.

    Raises:
        RecipeError: if the recipe is longer than what is read again.
    """
    recipe, state = contents.recipe, contents.state
    document: dict[str, Any] = recipe.document()
    document["about"] = vars(contents.about)
    if state is not None:
        document["state"] = {
            "frozen": sorted(state.frozen),
            "training": state.training,
            "otherwise": sorted(state.otherwise),
            # Not known to the first versions, which read whatever does without.
            **({"layouts": layouts.written(state.layouts)} if state.layouts else {}),
        }
    data = canonical(document)
    if len(data) > MOST_BYTES:
        raise RecipeError(
            f"the recipe has {len(data):,} bytes, and may have {MOST_BYTES:,}.",
            expected=MOST_BYTES,
            got=len(data),
            way_out="make fewer edits, each of more layers",
        )
    under_way.add("recipe", "json", lambda sink: sink.write(data))
    under_way.add("structure", "txt", lambda sink: sink.write(_text(recipe).encode()))
    if indices := _indices(recipe):
        under_way.add("indices", "safetensors", lambda sink: write_tensors(sink, indices))


def _indices(recipe: Recipe) -> dict[str, Tensor]:
    return {f"{i}/{name}": t for i, op in enumerate(recipe.operations) for name, t in op.tensors.items()}


def refuse_unreadable(recipe: Recipe) -> None:
    """Raise on what a load would refuse, such as arguments that aren't what a schema says, before it is written.

    Raises:
        RecipeError: naming the field. What isn't registered here is for who loads it to register.
    """
    if not recipe.needs:
        read_recipe(canonical(recipe.document()), "the recipe", _indices(recipe))


def _text(recipe: Recipe) -> str:
    """Both structures; what stands between them is a line without a tab, as no other is."""
    if recipe.base is None or recipe.result is None:
        raise RecipeError("a recipe without its structures can't be saved.", way_out="ts.recipe_of(model)")
    for structure in (recipe.base, recipe.result):
        if Structure.of_text(structure.text).lines != dict(structure.lines):
            raise RecipeError("a module's name has a tab or the end of a line in it, which can't be saved.")
    return f"{recipe.base.text}\n{recipe.result.text}"


def read_contents(save: Save) -> Contents:
    """The recipe of an open save, checked in itself.

    Raises:
        RecipeError: whatever is wrong with it.
    """
    file, indices = save.one("recipe"), save.one("indices")
    assert file is not None  # without it there is no save
    data = save.read("recipe", MOST_BYTES) or b""
    tensors: dict[str, Tensor] = {}
    if indices is not None:
        tensors = read_tensors(save.handles[indices.name], save.where(indices), indices.size, indices.sha256)
    recipe, members = read_recipe(data, save.where(file), tensors, _MEMBERS)
    base, result = _structures(save, members)
    state = _state(members["state"]) if "state" in members else None
    about = _about(members["about"]) if "about" in members else About("model", None, "unknown", "unknown")
    return Contents(replace(recipe, base=base, result=result), state, about)


def _structures(save: Save, members: dict[str, Field]) -> Iterator[Structure]:
    data = save.read("structure", _MOST_LINES) or b""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    before, _, after = text.partition("\n\n")
    for name, lines in (("base", before + "\n"), ("result", after)):
        structure = Structure.of_text(lines)
        if structure.sha256 != members[name].value:
            members[name].refuse("the sha256 of the structure beside it", structure.sha256)
        yield structure


def _state(state: Field) -> State:
    members = state.members("frozen training otherwise", "layouts")
    if not isinstance(members["training"].value, bool):
        members["training"].refuse("true or false")
    names = [frozenset(name.text() for name in members[key].items()) for key in ("frozen", "otherwise")]
    lying = layouts.read(members["layouts"].items()) if "layouts" in members else {}
    return State(names[0], members["training"].value, names[1], lying)


def _about(about: Field) -> About:
    members = about.members("model reference library torch")
    reference = None if members["reference"].value is None else members["reference"].text()
    return About(members["model"].text(), reference, members["library"].text(), members["torch"].text())
