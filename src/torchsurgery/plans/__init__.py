"""Edits on a draft of a model, and the changes that they come to. Making a plan touches no model.

base       what every plan is: edits, and the changes that they come to
averages   the same edits for an averaged copy of the model
applying   from a plan to what is done · showing  what is printed
layers     replace, insert, remove, wrap · structure  fold, set both ends, prune
replaying  the plan as a recipe, and a plan from one
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..tree import refuse_no_model
from .layers import LayerVerbs
from .replaying import Replaying
from .showing import Showing
from .structure import StructureVerbs


class Plan(LayerVerbs, StructureVerbs, Replaying, Showing):
    """What will be done to a model, in order, each with what it carries and how it is put in place.

    A plan is a value: its verbs answer a longer plan and leave this one as it is. Later edits see the model as the
    earlier ones will have left it. The model itself is only changed by `apply`.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plan = ts.plan(net).replace(nn.ReLU, nn.SiLU).insert(nn.Dropout(0.1), after=nn.SiLU)
        >>> plan
        Plan: 2 edits, 0 follow-ups · 1 of 4 modules · params 58 → 58
        >>> net[1]
        ReLU()
    """


def plan(model: nn.Module, example_inputs: Any = None) -> Plan:
    """An empty plan for `model`; its verbs make it longer.

    Args:
        model: Any module; it is not touched until the plan is applied.
        example_inputs: What the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.

    Raises:
        SelectionError: if the model is no nn.Module.

    Example:
        >>> ts.plan(nn.Sequential(nn.ReLU())).replace(nn.ReLU, nn.GELU)
        Plan: 1 edit, 0 follow-ups · 1 of 2 modules · params 0 → 0
    """
    refuse_no_model(model)
    return Plan(model, example_inputs=example_inputs)
