"""Which rule an operation has: those of the library, and those that users add by `rule`.

An operation without a rule freezes all that comes near it, under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import torch

from ...errors import TraceError
from .call import Call

Rule: TypeAlias = Callable[[Call], None]
_R = TypeVar("_R", bound=Rule)

RULES: dict[str, Rule] = {}
USER_RULES: dict[str, Rule] = {}


def serves(names: str) -> Callable[[_R], _R]:
    """Registers a rule for operations of PyTorch, by their names without namespace, separated by blanks."""

    def register(function: _R) -> _R:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return register


def rule(operation: Any) -> Callable[[_R], _R]:
    """Tell the trace what an operation of your own does with the axes of its tensors.

    Args:
        operation: Its qualified name, "mylib::myop", or the operation itself, `torch.ops.mylib.myop`.

    Returns:
        A decorator for the rule: a function of a `Call`, which states the axes of the results (`call.give`) and what
        hangs together (`call.tie`, `call.freeze`).

    Raises:
        TraceError: if it names no operation.

    Example:
        >>> @ts.rule("mylib::scale_rows")
        ... def scale_rows(call):
        ...     x, scale = call.args
        ...     call.tie(call.axes(x)[0], call.axes(scale)[0])
        ...     call.give(call.out, call.axes(x))
    """
    name = operation if isinstance(operation, str) else _qualified_name(operation)
    if name is None or name.count("::") != 1:
        raise TraceError(
            f"a rule is for an operation, got {operation!r}.",
            got=operation,
            way_out='give its qualified name:  @ts.rule("mylib::myop")',
        )

    def register(function: _R) -> _R:
        USER_RULES[name] = function
        return function

    return register


def _qualified_name(operation: Any) -> str | None:
    if isinstance(operation, torch._ops.OpOverload):
        return operation._schema.name
    name = getattr(operation, "_qualified_op_name", None)
    return name if isinstance(name, str) else None


def rule_for(op: Any) -> tuple[str, Rule | None]:
    """The name under which an operation is known, and its rule if it has one."""
    qualified = op._schema.name
    namespace, _, name = qualified.partition("::")
    if qualified in USER_RULES:
        return name, USER_RULES[qualified]
    if namespace not in ("aten", "prims"):
        return name, None
    for known in _spellings(name):
        if known in RULES:
            return known, RULES[known]
    if torch.Tag.pointwise in (*op.tags, *_tags_of_twin(op, name)):
        return name, RULES["_elementwise"]
    if torch.Tag.reduction in op.tags and not is_composite(op):
        return name, RULES["_reduction"]
    return name, None


def _spellings(name: str) -> Iterable[str]:
    yield name
    if name.endswith("_") and not name.endswith("__"):
        yield name[:-1]
    if name.startswith("_unsafe_"):
        yield name.removeprefix("_unsafe_")
    if name.endswith("_copy"):
        yield name.removesuffix("_copy")


def _tags_of_twin(op: Any, name: str) -> Iterable[torch.Tag]:
    """The tags of what an operation in place does with a new tensor: some, such as `abs_`, have none of their own."""
    twin = getattr(torch.ops.aten, name.removesuffix("_"), None)
    return getattr(getattr(twin, op._overloadname, None), "tags", ())


def is_composite(op: Any) -> bool:
    """Whether an operation is made of others, which can be followed in its place."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), key))
