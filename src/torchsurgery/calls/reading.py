"""What the forward of a class reads from its layers besides calling them: `self.qkv.weight`, `self.conv.out_channels`.

Who reads a layer's weight goes past whatever is put around it, and fails where that has no such attribute. It is read
off the bytecode, since that is there for every forward and costs little.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType

from torch import nn

from ..layers.building import once_per_class
from .finding import OVER_CHILDREN
from .rewriting import original
from .sources import codes_within


@dataclass(frozen=True, slots=True)
class Reading:
    """How one class uses one of its layers.

    Attributes:
        attributes: What it reads of it.
        only: Whether that is all: the layer is neither called nor handed on.
    """

    attributes: frozenset[str]
    only: bool


@once_per_class
def readings(kind: type[nn.Module]) -> Mapping[str, Reading]:
    """The names of layers that the forward of a class, or a method that it calls, reads attributes of."""
    read: dict[str, set[str]] = {}
    used: set[str] = set()
    for function in _reached(kind, "forward"):
        for name, attribute in _loads(function.__code__):
            if attribute is None:
                used.add(name)
            else:
                read.setdefault(name, set()).add(attribute)
    through_all = not used.isdisjoint(OVER_CHILDREN)
    return {name: Reading(frozenset(found), name not in used and not through_all) for name, found in read.items()}


def reads_only(kind: type[nn.Module]) -> bool:
    """Whether a class has layers that it reads and does not call."""
    return any(reading.only for reading in readings(kind).values())


def never_called(ancestors: Iterable[tuple[nn.Module, str]]) -> str | None:
    """Why a layer is never called, or None; `ancestors` are those above it, nearest first, with its name below each."""
    for parent, name in ancestors:
        reading = readings(type(parent)).get(name)
        if reading is None or not reading.only:
            return None
        what = " and ".join(f"{name}.{attribute}" for attribute in sorted(reading.attributes, reverse=True))
        return f"never called: {original(type(parent)).__name__} reads {what} itself"
    return None


@once_per_class
def dropped(kind: type[nn.Module]) -> frozenset[str]:
    """The names of layers whose answer the forward of a class drops, since they work in place: `self.relu(x)`."""
    return frozenset(name for function in _reached(kind, "forward") for name in _statements(function.__code__))


def drops_answers(kind: type[nn.Module]) -> bool:
    """Whether a class calls a layer, or a method, for what it does to its arguments."""
    return bool(dropped(kind))


def _reached(kind: type, name: str) -> Iterator[FunctionType]:
    """A method of a class, and those of its own that it calls, with what `super()` may stand for there."""
    todo, seen = [name], set[str]()
    while todo:
        if (method := todo.pop()) in seen:
            continue
        seen.add(method)
        for function in _definitions(kind, method):
            yield function
            todo += [called for called, _ in _loads(function.__code__)]


def _definitions(kind: type, name: str) -> Iterator[FunctionType]:
    for base in kind.__mro__:
        function = inspect.unwrap(vars(base)[name]) if isinstance(vars(base).get(name), FunctionType) else None
        if base is nn.Module or not isinstance(function, FunctionType):
            continue
        yield function
        if "super" not in function.__code__.co_names:
            return


def _loads(code: CodeType) -> Iterator[tuple[str, str | None]]:
    """(`a`, "b") for each `self.a.b` in a code, (`a`, None) for each `self.a` that is used in another way."""
    me = code.co_varnames[0] if code.co_argcount else None
    for part in (code, *codes_within(code)):
        steps = [step for step in dis.get_instructions(part) if step.opname not in ("CACHE", "PUSH_NULL", "NOP")]
        for first, second, third in zip(steps, steps[1:], steps[2:], strict=False):
            if _loaded(first) == me and second.opname in _ATTRIBUTE:
                yield str(second.argval), str(third.argval) if _is_plain(second) and _is_plain(third) else None


def _statements(code: CodeType) -> Iterator[str]:
    """`a` for each statement in a code that is a call of `self.a` or of something inside of it, and nothing else."""
    me = code.co_varnames[0] if code.co_argcount else None
    for part in (code, *codes_within(code)):
        steps = [step for step in dis.get_instructions(part) if step.opname not in _SILENT]
        begin = 0
        for place, step in enumerate(steps[:-1]):
            called = step.opname.startswith("CALL") and steps[place + 1].opname == "POP_TOP"
            if called and _loaded(steps[begin]) == me and steps[begin + 1].opname in _ATTRIBUTE:
                yield str(steps[begin + 1].argval)
            if step.opname.startswith(_ENDS):
                begin = place + 1


_SILENT = ("CACHE", "PUSH_NULL", "NOP", "PRECALL", "RESUME", "COPY_FREE_VARS", "MAKE_CELL")
_ENDS = ("POP_TOP", "STORE_", "RETURN", "POP_JUMP", "JUMP", "FOR_ITER", "RESUME", "UNPACK")
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")


def _is_plain(step: dis.Instruction) -> bool:
    """Whether an attribute is read, and not called as a method (which is a LOAD_ATTR, too, since Python 3.12)."""
    return step.opname == "LOAD_ATTR" and "NULL" not in step.argrepr


def _loaded(step: dis.Instruction) -> str | None:
    """The local name that an instruction has put on top last."""
    if "LOAD_FAST" not in step.opname and step.opname != "LOAD_DEREF":  # since Python 3.13 two steps may be one
        return None
    return str(step.argval[-1] if isinstance(step.argval, tuple) else step.argval)
