"""What the verbs of a recipe do: the same as the methods of `Plan`, with the same words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import convert
from ..errors import SelectionError, SurgeryError
from ..factorizing import factorize
from ..freezing import freeze_norms
from ..models.references import close_names
from ..plans import Plan
from .recipes import Step
from .words import Classes, argument_of, class_of, score_of, target_of

Values = dict[str, Any]
Do = Callable[[Plan, Step, Values, Classes], Plan]


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: which arguments it takes, and what it does.

    Attributes:
        do: Appends the edit to a plan.
        takes: Name of each argument → the types that it may have; the first is the one that may stand alone.
        needs: Names of those that must be there.
        further: Whether others are handed to the constructor of a new layer.
    """

    do: Do
    takes: Mapping[str, tuple[type, ...]]
    needs: Sequence[str] = ()
    further: bool = False


def performed(plan: Plan, step: Step, classes: Classes) -> Plan:
    """The plan with a recipe's edit appended.

    Raises:
        RecipeError: if it isn't written as it must be.
        SurgeryError: if it can't be done; it says where it is written.
    """
    verb = VERBS.get(step.verb)
    if verb is None:
        near = close_names(step.verb, VERBS)
        step.refuse(
            f"{step.verb!r} is no verb.",
            f"there are {', '.join(VERBS)}",
            way_out=f"did you mean  {near[0]}" if near else None,
        )
    values = _checked(step, verb)
    try:
        return verb.do(plan, step, values, classes)
    except SurgeryError as error:
        if not hasattr(error, "place"):
            error.place = _place_of(error, step)  # type: ignore[attr-defined]
        raise


def _place_of(error: SurgeryError, step: Step) -> str:
    """The line of the argument that an error is about, as far as it tells; else that of the edit."""
    if isinstance(error, SelectionError):
        return step.places.get("target") or step.places.get("after") or step.places.get("before") or step.place
    first = str(error).partition("\n")[0]
    told = (name for name in step.places if re.search(rf"^{name}\b|'{name}'|\b{name}=", first))
    return step.places[found] if (found := next(told, None)) else step.place


def _checked(step: Step, verb: Verb) -> Values:
    """The arguments by name, each of a type that it may have."""
    first = next(iter(verb.takes), "")
    values = step.value if isinstance(step.value, dict) and step.places else {} if step.value is None else None
    if values is None:
        values = {first: step.value}
    for name, value in values.items():
        if name in verb.takes:
            _refuse_type(step, name, value, verb.takes[name])
        elif not verb.further:
            near = close_names(name, verb.takes)
            step.refuse(
                f"{step.verb} takes no {name}.",
                f"it takes {', '.join(verb.takes) or 'nothing'}",
                argument=name,
                way_out=f"did you mean  {near[0]}" if near else None,
            )
    for name in verb.needs:
        if name not in values:
            near = close_names(name, [given for given in values if given not in verb.takes])
            step.refuse(
                f"{step.verb} needs {name}.",
                f"got {', '.join(values) or 'nothing'}",
                argument=near[0] if near else "",
                way_out=f"write  {name}  for {near[0]}" if near else _example(step.verb),
            )
    return dict(values)


def _refuse_type(step: Step, name: str, value: Any, kinds: tuple[type, ...]) -> None:
    # A bool is an int to Python, but not to who writes it.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join(_IN_WORDS[kind] for kind in kinds)
        step.refuse(f"{name} must be {expected}, got {value!r}.", argument=name, way_out=_example(step.verb))


_IN_WORDS = {
    int: "a whole number",
    float: "a share such as 0.25",
    str: "a word",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


def _example(verb: str) -> str:
    return f"for example  - {_EXAMPLES[verb]}"


# --- what each of them does


def _replace(plan: Plan, step: Step, values: Values, classes: Classes) -> Plan:
    target = target_of(step, "target", values.pop("target"), plan, classes)
    new = class_of(step, values.pop("with"), classes)
    options = {name: values.pop(name) for name in ("share", "carry") if name in values}
    return plan.replace(target, new, **options, **_arguments(values))


def _insert(plan: Plan, step: Step, values: Values, classes: Classes) -> Plan:
    new = class_of(step, values.pop("with"), classes)
    options = {
        where: target_of(step, where, values.pop(where), plan, classes)
        for where in ("after", "before")
        if where in values
    }
    share = values.pop("share", False)
    return plan.insert(new, **options, share=share, **_arguments(values))


def _wrap(plan: Plan, step: Step, values: Values, classes: Classes) -> Plan:
    target = target_of(step, "target", values.pop("target"), plan, classes)
    return plan.wrap(target, class_of(step, values.pop("with"), classes), **_arguments(values))


def _on_target(do: Callable[..., Plan]) -> Do:
    """A verb that takes a target and options, all as they are written."""

    def perform(plan: Plan, step: Step, values: Values, classes: Classes) -> Plan:
        given = [target_of(step, "target", values.pop("target"), plan, classes)] if "target" in values else []
        return do(plan, *given, **_options(plan, step, values, classes))

    return perform


def _plain(do: Callable[..., Plan], alone: str) -> Do:
    """A verb whose first argument is given by its place."""

    def perform(plan: Plan, step: Step, values: Values, classes: Classes) -> Plan:
        return do(plan, values.pop(alone), **_options(plan, step, values, classes))

    return perform


def _options(plan: Plan, step: Step, values: Values, classes: Classes) -> Values:
    if "ignore" in values:
        values["ignore"] = target_of(step, "ignore", values["ignore"], plan, classes)
    if "by" in values:
        values["by"] = score_of(step, values["by"])
    return values


def _arguments(values: Values) -> Values:
    return {name: argument_of(value) for name, value in values.items()}


_TARGET = (str, list, dict)
_AMOUNT = (int, float)

VERBS: dict[str, Verb] = {
    "replace": Verb(
        _replace, {"target": _TARGET, "with": (str,), "share": (bool,), "carry": (bool,)}, ("target", "with"), True
    ),
    "insert": Verb(_insert, {"with": (str,), "after": _TARGET, "before": _TARGET, "share": (bool,)}, ("with",), True),
    "remove": Verb(_on_target(Plan.remove), {"target": _TARGET}, ("target",)),
    "wrap": Verb(_wrap, {"target": _TARGET, "with": (str,)}, ("target", "with"), True),
    "prune": Verb(
        _on_target(Plan.prune),
        {
            "target": _TARGET,
            "amount": _AMOUNT,
            "channels": (list,),
            "by": (str,),
            "ignore": _TARGET,
            "round_to": (int,),
            "heads": (bool,),
            "min_width": _AMOUNT,
            "ranked": (bool,),
            "params": _AMOUNT,
            "macs": _AMOUNT,
        },
    ),
    "widen": Verb(
        _on_target(Plan.widen),
        {
            "target": _TARGET,
            "width": _AMOUNT,
            "tokens": (int,),
            "heads": (bool,),
            "noise": (float,),
            "approximate": (bool,),
        },
        ("target",),
    ),
    "fold": Verb(_on_target(Plan.fold), {"layer_norms": (bool,)}),
    "set_inputs": Verb(_plain(Plan.set_inputs, "channels"), {"channels": (int,), "fill": (str,)}, ("channels",)),
    "set_outputs": Verb(_plain(Plan.set_outputs, "number"), {"number": (int,), "keep": (list,)}, ("number",)),
    "calls_to_layers": Verb(_on_target(Plan.calls_to_layers), {"target": _TARGET}, ("target",)),
    "convert_dims": Verb(
        _plain(convert.dims, "dims"),
        {"dims": (int,), "mode": (str,), "kernel": (int,), "strided": (bool,), "ignore": _TARGET},
        ("dims",),
    ),
    "factorize": Verb(
        _on_target(factorize), {"target": _TARGET, "rank": (int,), "energy": (float,), "separated": (bool,)}
    ),
    "freeze_norms": Verb(_on_target(freeze_norms), {"target": _TARGET, "statistics_only": (bool,)}),
}

_EXAMPLES = {
    "replace": "replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 8}",
    "insert": "insert: {with: Dropout, p: 0.1, after: ReLU}",
    "remove": "remove: Dropout",
    "wrap": "wrap: {target: Linear, with: Mine}        and  --class Mine=pkg.mod:Class",
    "prune": 'prune: {target: "layer*.*.conv1", amount: 0.25}',
    "widen": "widen: {target: layer1.0.conv1, width: 96}",
    "fold": "fold",
    "set_inputs": "set_inputs: 4",
    "set_outputs": "set_outputs: 10",
    "calls_to_layers": "calls_to_layers: F.relu",
    "convert_dims": "convert_dims: 3",
    "factorize": "factorize: {energy: 0.9}",
    "freeze_norms": "freeze_norms",
}
