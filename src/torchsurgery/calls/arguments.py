"""What the arguments of a call are on one module: numbers written there, attributes of self, constants of the file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..layers.functional import layer_arguments, refusal_of
from .finding import Call, Findings

_PLAIN = (bool, int, float, str, type(None))
_ALLOWED = (
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.UnaryOp,
    ast.BinOp,
    ast.Attribute,
    ast.Name,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
)


class Inexpressible(Exception):
    """A call's argument is no value that a layer could be built with; the message says which and why."""


def layer_for(call: Call, module: nn.Module, findings: Findings) -> nn.Module:
    """The layer that does what `call` does on `module`.

    Raises:
        Inexpressible: if no layer does.
    """
    if call.why is not None:
        raise Inexpressible(call.why)
    arguments = {**call.spelling.fixed, **_values(call, module, findings)}
    function = call.spelling.function
    if function.has_training:
        _refuse_other_mode(call)
        arguments.pop("training", None)
    if refusal := refusal_of(function, arguments):
        raise Inexpressible(refusal)
    try:
        return function.layer(**layer_arguments(function, arguments))
    except (TypeError, ValueError) as err:
        raise Inexpressible(f"nn.{function.layer.__name__} refuses its arguments: {err}") from err


def attributes_read(call: Call) -> dict[str, ast.expr]:
    """The arguments of a call that are read from self, but for its mode."""
    return {
        name: node
        for name, node in call.given.items()
        if name != "training" and any(isinstance(n, ast.Name) and n.id == call.me for n in ast.walk(node))
    }


def value_of(node: ast.expr, call: Call, module: nn.Module) -> Any:
    """What an argument is on `module` now.

    Raises:
        Inexpressible: if it can't be told without running the forward.
    """
    text = ast.unparse(node)
    for part in ast.walk(node):
        if not isinstance(part, _ALLOWED):
            raise Inexpressible(f"{text} is worked out while it runs")
        if isinstance(part, ast.Attribute) and part.attr == "training":
            raise Inexpressible(f"{text} depends on the mode")
    try:
        value = eval(compile(ast.Expression(node), "<argument>", "eval"), {}, _Names(call, module))
    except Exception as err:
        raise Inexpressible(f"{text} is worked out while it runs") from err
    if not _is_plain(value):
        raise Inexpressible(f"{text} is a {type(value).__name__}")
    return value


def is_call_on_tensor(call: Call, module: nn.Module) -> bool:
    """Whether what looks like a method of a tensor that self has is one."""
    if call.receiver is None:
        return True
    thing: Any = module
    for name in ast.unparse(call.receiver).split(".")[1:]:
        thing = getattr(thing, name, None)
    return isinstance(thing, Tensor)


def _values(call: Call, module: nn.Module, findings: Findings) -> dict[str, Any]:
    for name, node in attributes_read(call).items():
        if assigned := {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)} & findings.written:
            raise Inexpressible(f"its {name} is self.{min(assigned)}, which the forward itself assigns")
    values = {}
    for name, node in call.given.items():
        if name != "training":
            try:
                values[name] = value_of(node, call, module)
            except Inexpressible as err:
                raise Inexpressible(f"its {name}={err}") from err
    return values


def _refuse_other_mode(call: Call) -> None:
    node = call.given.get("training")
    said = ast.unparse(node) if node is not None else f"{call.spelling.function.neutral['training']} by default"
    if said != f"{call.me}.training":
        raise Inexpressible(f"its training={said}, where nn.{call.spelling.function.layer.__name__} has self.training")


class _Names(Mapping[str, Any]):
    """What the names in an argument stand for: self, and plain constants of the file."""

    def __init__(self, call: Call, module: nn.Module) -> None:
        self.call, self.module = call, module

    def __getitem__(self, name: str) -> Any:
        if name == self.call.me:
            return self.module
        if name in self.call.local or not _is_plain(self.call.space.get(name, self)):
            raise KeyError(name)
        return self.call.space[name]

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
