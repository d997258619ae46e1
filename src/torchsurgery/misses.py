"""What to tell someone whose selection is empty."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from .calls.places import functions_in, out_of_reach
from .errors import SelectionError
from .forwards import calls_of, function_names
from .layers.functional import method_spelling, spelling_of
from .tree import Draft


def nothing_found(
    draft: Draft,
    targets: tuple[Any, ...],
    attributes: Mapping[str, Any],
    predicate: bool,
    exact: bool,
    without_attributes: Callable[[], Sequence[nn.Module]],
) -> SelectionError:
    """The error for an empty selection: close names, types that are there, functions called instead.

    Args:
        draft: Where was looked.
        targets: What was asked for.
        attributes: The values that attributes were to have.
        predicate: Whether there was one.
        exact: Whether subclasses were left out.
        without_attributes: The layers that fit all else.
    """
    model, spots = type(draft.model).__name__, draft.spots()
    asked = " and ".join(_in_words(t, exact) for t in targets) or "the condition"
    asked += "".join(f", {key}={value!r}" for key, value in attributes.items())
    asked += " under the given predicate" if predicate else ""
    names = [name for s in spots.values() for name in s.names if name]
    details, way_out = [], None
    for pattern in (t for t in targets if isinstance(t, str)):
        close = difflib.get_close_matches(pattern.removeprefix("re:"), names, n=3, cutoff=0.4)
        details += [f"closest names: {', '.join(close)}"] if close else []
        details += ["'*' stands for one name, '**' for any number of them"] if "*" in pattern else []
    for kind in _classes(targets):
        details += _functions_instead(draft, kind)
    for name, use in out_of_reach(draft, functions_in(targets))[:3]:
        details.append(f"{use.function.name}() is used in {use.where}, for {name or 'the model itself'}: {use.why}")
    if _classes(targets) or not details:
        counts = Counter(type(m).__name__ for m in spots if m is not draft.root)
        details.append("types there are: " + ", ".join(f"{name} ×{n}" for name, n in counts.most_common(8)))
    if attributes:
        details += _attributes_there(without_attributes(), attributes)
    if scripted := [name for m, s in spots.items() if _is_scripted(m) for name in s.names[:1]]:
        details.append(f"{scripted[0] or 'the model'} is TorchScript, whose layers have lost their classes")
        way_out = "change the model before it is scripted:  ts.replace(model, …); torch.jit.script(model)"
    elif meant := _class_meant(targets, spots):
        details.insert(0, f"{meant.__name__} is a class, of which there are {_count(meant, spots)}")
        way_out = f"give the class, not its name:  {'nn.' * hasattr(nn, meant.__name__)}{meant.__name__}"
    elif names:
        way_out = f"see what is there with  ts.select(model, {'nn.Module' if not _classes(targets) else repr('**')})"
    return SelectionError(f"{asked} selects no module of {model} ({len(spots)} modules).", *details, way_out=way_out)


def _class_meant(targets: Iterable[Any], modules: Iterable[nn.Module]) -> type[nn.Module] | None:
    """The class of layers that are there, of which a pattern is the name."""
    asked = {target.rpartition(".")[2] for target in targets if isinstance(target, str)}
    return next((type(module) for module in modules if type(module).__name__ in asked), None)


def _count(kind: type[nn.Module], modules: Iterable[nn.Module]) -> int:
    return sum(type(module) is kind for module in modules)


def _is_scripted(module: nn.Module) -> bool:
    return any(base.__module__.startswith("torch.jit") for base in type(module).__mro__)


def _in_words(target: Any, exact: bool) -> str:
    if isinstance(target, type):
        return target.__name__ + (" (exactly)" if exact else "")
    if isinstance(target, tuple):
        return "(" + ", ".join(_in_words(item, exact) for item in target) + ")"
    if hasattr(target, "places"):
        return f"a selection of {len(target)}"
    if (spelling := spelling_of(target)) is not None:
        return f"{spelling.text}()"
    return repr(target) if isinstance(target, str) else type(target).__name__


def _classes(targets: Iterable[Any]) -> list[type[nn.Module]]:
    flat = [item for t in targets for item in (t if isinstance(t, tuple) else (t,))]
    return [item for item in flat if isinstance(item, type)]


def _functions_instead(draft: Draft, kind: type[nn.Module]) -> list[str]:
    named = ((spots.names[0], module) for module, spots in draft.spots().items())
    rows = []
    for function, where in calls_of(named, function_names(kind)).items():
        first = ", ".join(name or "the model itself" for name in where[:3])
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        rows.append(
            f"the model calls it as a function: {function}() in the forward of {first}{more}; no module stands there"
            + _by_its_function(function)
        )
    return rows


def _by_its_function(name: str) -> str:
    """That the function is a target, where it is one."""
    known = spelling_of(getattr(nn.functional, name, None)) or method_spelling(name)
    return (
        f" until its calls are selected:  ts.select(model, {known.text.replace('Tensor', 'torch.Tensor')})"
        if known
        else ""
    )


def _attributes_there(layers: Sequence[nn.Module], attributes: Iterable[str]) -> list[str]:
    """The values that the attributes do have on these layers, or close names for a misspelt one."""
    rows = []
    for key in attributes if layers else ():
        values = Counter(repr(getattr(layer, key)) for layer in layers if hasattr(layer, key))
        if values:
            rows.append(f"{key} is " + ", ".join(f"{value} ×{n}" for value, n in values.most_common(6)))
        else:
            public = [a for a in vars(layers[0]) if not a.startswith("_")]
            close = difflib.get_close_matches(key, public, n=3)
            rows.append(f"none of them has an attribute {key}" + (f"; close: {', '.join(close)}" if close else ""))
    return rows
