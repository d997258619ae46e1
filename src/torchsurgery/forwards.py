"""What the forwards of a model call as functions, so that "no such layer" can say where the work is done instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType

from torch import nn

# torch.nn names whose function isn't simply the class name in lower case or snake case.
_FUNCTION_OF = {
    "BatchNorm1d": "batch_norm",
    "BatchNorm2d": "batch_norm",
    "BatchNorm3d": "batch_norm",
    "Conv1d": "conv1d",
    "MultiheadAttention": "scaled_dot_product_attention",
    "MaxPool2d": "max_pool2d",
    "AvgPool2d": "avg_pool2d",
    "AdaptiveAvgPool2d": "adaptive_avg_pool2d",
    "Upsample": "interpolate",
    "CrossEntropyLoss": "cross_entropy",
}


def function_names(kind: type[nn.Module]) -> frozenset[str]:
    """The names under which a forward may call what the layer class `kind` does: ReLU → relu, relu_."""
    name = kind.__name__
    snake = "".join(
        f"_{c.lower()}" if c.isupper() and i and not name[i - 1].isupper() else c.lower() for i, c in enumerate(name)
    )
    stem = _FUNCTION_OF.get(name)
    return frozenset({stem} if stem else {name.lower(), snake, name.lower() + "_"})


def calls_of(modules: Iterable[tuple[str, nn.Module]], names: frozenset[str]) -> dict[str, list[str]]:
    """Which modules' forwards mention one of `names` as a global or an attribute (`F.relu`, `torch.relu`, `x.relu`).

    Returns:
        The function's name → the fully-qualified names of the modules whose own forward mentions it.
    """
    mentioned: dict[type, frozenset[str]] = {}
    found: dict[str, list[str]] = {}
    for name, module in modules:
        kind = type(module)
        if kind not in mentioned:
            mentioned[kind] = names & frozenset(_names_in_forward(kind))
        for function in mentioned[kind]:
            found.setdefault(function, []).append(name)
    return found


def _names_in_forward(kind: type[nn.Module]) -> Iterator[str]:
    """Global and attribute names in `kind`'s forward, and in the methods which it names."""
    # The layers of torch.nn are themselves made of functions; what a user looks for is his own forward.
    if kind.__module__.startswith("torch.nn."):
        return
    todo, seen = ["forward"], set[str]()
    while todo:
        method = getattr(kind, todo.pop(), None)
        if not isinstance(method, FunctionType) or method.__qualname__ in seen:
            continue
        seen.add(method.__qualname__)
        for name in _names_in(method.__code__):
            yield name
            todo.append(name)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
