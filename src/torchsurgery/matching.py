"""Whether a layer is what is asked for: by its class, its names, the function that it stands for, its attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn

from .calls.places import pending
from .calls.rewriting import original
from .errors import SelectionError
from .layers.functional import Spelling
from .patterns import compile_pattern
from .tree import Spots

# A matcher answers False, True, or the class by which the module was asked for.
Matcher: TypeAlias = Callable[[nn.Module, Spots], "bool | type[nn.Module]"]


def by_type(kind: type, exact: bool) -> Matcher:
    """Layers of a class, and unless it is to be exact of its subclasses."""
    if not issubclass(kind, nn.Module):
        raise SelectionError(
            f"{kind.__module__}.{kind.__qualname__} is not a class of layers: it doesn't derive from nn.Module.",
            got=kind,
            way_out="select by a layer class, for example  ts.select(model, nn.Conv2d)",
        )
    if exact:
        return lambda module, spots: kind if original(type(module)) is kind else False
    return lambda module, spots: kind if isinstance(module, kind) else False


def by_pattern(pattern: str) -> Matcher:
    """Layers with a name that a pattern fits."""
    match = compile_pattern(pattern).fullmatch
    return lambda module, spots: any(match(name) is not None for name in spots.names)


def by_function(wanted: Spelling, exact: bool) -> Matcher:
    """Calls of a function, and unless it is to be exact however they are written."""

    def match(module: nn.Module, spots: Spots) -> bool:
        there = pending(module)
        spelling = there.call.spelling if there is not None else None
        if spelling is None or spelling.function is not wanted.function:
            return False
        return spelling.callee is wanted.callee or not exact

    return match


def by_any(matchers: list[Matcher]) -> Matcher:
    """Layers that one of several matchers fits."""

    def match(module: nn.Module, spots: Spots) -> bool | type[nn.Module]:
        answers = [answer for matcher in matchers if (answer := matcher(module, spots))]
        classes = [answer for answer in answers if isinstance(answer, type)]
        # Of a class and its subclass in one tuple, the nearer one is what was asked for.
        return max(classes, key=lambda kind: len(kind.__mro__)) if classes else bool(answers)

    return match


def has(module: nn.Module, key: str, value: Any) -> bool:
    """Whether an attribute of `module` equals `value`, by the conventions that `select` documents."""
    missing = object()
    there = getattr(module, key, missing)
    if there is missing:
        return False
    if isinstance(value, bool) and (there is None or isinstance(there, Tensor | nn.Module)):
        return (there is not None) is value
    if isinstance(there, Tensor):
        return there is value
    if isinstance(there, tuple | list) and not isinstance(value, tuple | list | str):
        return len(there) > 0 and all(item == value for item in there)
    if isinstance(there, tuple | list) and isinstance(value, tuple | list):
        return tuple(there) == tuple(value)
    return type(there) is type(value) and there == value if isinstance(value, bool) else bool(there == value)
