"""From what a command names to a plan: the model, and the edits of its recipe one by one."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ..errors import RecipeError
from ..plans import Plan, plan
from ..progress import each
from .planfile import is_plan_file, read_plan
from .recipes import Step, read_file, read_text
from .sources import Source, source_of
from .terminal import Terminal
from .verbs import performed
from .words import classes_of


def steps_of(arguments: Namespace) -> list[Step]:
    """The edits that a command names: its recipe's, then those of `-e`.

    Raises:
        RecipeError: if there are none, or they aren't written as they must be.
    """
    steps = read_file(arguments.recipe) if arguments.recipe else []
    for i, text in enumerate(arguments.edit, 1):
        steps += read_text(text, f"edit {i}" if len(arguments.edit) > 1 else "the edit")
    if not steps:
        _refuse_file(arguments)
        raise RecipeError(
            "no edits are given.",
            way_out="give a recipe, or  -e 'replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 8}'",
        )
    return steps


def _refuse_file(arguments: Namespace) -> None:
    """Raise where a file stands in the place of the model: one that isn't there, or a recipe."""
    name, command = arguments.model, arguments.command
    if not name.endswith((".json", ".yaml", ".yml")):
        return
    if not Path(name).is_file():
        raise RecipeError(f"there is no file {name}.", got=name, way_out=f"save a plan:  torchsurgery plan … -o {name}")
    raise RecipeError(
        f"{name} is a recipe, and doesn't say for which model.",
        got=name,
        way_out=f"name the model before it:  torchsurgery {command} torchvision:resnet18 {name}",
    )


def planned(source: Source, steps: list[Step], arguments: Namespace, terminal: Terminal) -> Plan:
    """The plan that the edits come to.

    Raises:
        SurgeryError: if one can't be made; it says which.
    """
    classes = classes_of(arguments)
    made = plan(source.model, source.example_inputs)
    for step in each(steps, "planning"):
        made = performed(made, step, classes)
    return made


def source_and_plan(arguments: Namespace, terminal: Terminal) -> tuple[Source, Plan]:
    """The model that a command names and the plan for it: of a saved plan, or of its edits.

    Raises:
        SurgeryError: if there is no such model, or an edit can't be made.
    """
    if is_plan_file(arguments):
        return read_plan(arguments, terminal)
    steps = steps_of(arguments)
    source = source_of(arguments, terminal)
    return source, planned(source, steps, arguments, terminal)
