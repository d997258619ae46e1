"""From a recipe to a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import RecipeError, SurgeryError
from ..recipes import Operation, Recipe
from ..recipes.replaying import edits_of
from ..recipes.structure import Structure, structure_of
from .base import Planning

if TYPE_CHECKING:
    from typing_extensions import Self


class Replaying(Planning):
    """What a recipe says, laid over the model at hand; and the recipe of a plan."""

    @property
    def recipe(self) -> Recipe:
        """The plan as data; see `Recipe`.

        Example:
            >>> print(ts.plan(model).remove("layer4.1").recipe)
            Recipe of 1 operation
              remove layer4.1
        """
        return Recipe(self.operations, structure_of(self.draft.model, ties=False))

    def replay(self, recipe: Recipe, *, weights: bool = True) -> Self:
        """Do again what a recipe says.

        Args:
            recipe: `surgery.recipe`, `plan.recipe`, or what was read from a file.
            weights: Whether the weights of old layers are carried by the conversions that were asked for. Without, the
                layers are made as they were recorded, and wait for weights from a file.

        Returns:
            This plan with the edits of the recipe appended. No model is touched.

        Raises:
            RecipeError: if the model isn't the one that the recipe was made for; names the first layer or tensor that
                differs.

        Example:
            >>> import torchvision
            >>> recipe = ts.replace(model, nn.ReLU, nn.SiLU).recipe
            >>> ts.plan(torchvision.models.resnet18()).replay(recipe).apply()
            Surgery on ResNet: 9 layers replaced · params 11,689,512 → 11,689,512 · undo() takes it back
        """
        if not isinstance(recipe, Recipe):
            raise RecipeError(
                f"a recipe is replayed, got {type(recipe).__name__}.",
                got=recipe,
                way_out="surgery.recipe, or ts.recipe_of(model); what was saved is read by  ts.load or ts.load_plan",
            )
        if not self.planned and recipe.base is not None:
            refuse_other(recipe.base, structure_of(self.draft.model, ties=False), type(self.draft.model).__name__)
        plan = self
        for number, operation in enumerate(recipe.operations):
            plan = plan._replayed(operation, number, weights)
        return plan

    def _replayed(self, operation: Operation, number: int, weights: bool) -> Self:
        plan = self
        try:
            for edit in edits_of(operation, self.draft, weights):
                plan = plan.then(edit)
        except Exception as error:
            # Whatever a layer's constructor raises on arguments that a file gives.
            first, *rest = str(error).split("\n")
            known = error if isinstance(error, SurgeryError) else None
            kind = "" if known else f"{type(error).__name__}: "
            raise RecipeError(
                f"operation {number} of the recipe, {operation}, can't be done here: {kind}{first}"[:600],
                *(line.strip()[:600] for line in rest[:6]),
                name=known.name if known else None,
                expected=known.expected if known else None,
                got=known.got if known else error,
            ) from error
        return plan


def refuse_other(
    expected: Structure, found: Structure, model: str, what: str = "the base that the recipe was made for"
) -> None:
    """Raise if a model has another structure than it must have."""
    difference = expected.difference(found)
    if difference is None:
        return
    name, there, here = difference
    raise RecipeError(
        f"this {model} is not {what}: it differs at {name or 'the model itself'}.",
        f"expected {there or 'nothing'}",
        f"got      {here or 'nothing'}",
        name=name,
        expected=there,
        got=here,
        way_out="give the model as it was before it was altered:  base=",
    )
