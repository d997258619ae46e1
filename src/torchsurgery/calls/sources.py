"""A Python function as the tree that it was written as, and a new function from a changed tree.

The new one has the globals, the closure, the defaults, the decorators and the line numbers of the old one. That the
source is what runs is not taken for granted: the file is compiled as it is, and compared with the function's code.
"""

from __future__ import annotations
import __future__

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any, TypeAlias

from ..errors import SurgeryError

_FUTURES = 0
for _name in __future__.all_feature_names:
    _FUTURES |= getattr(__future__, _name).compiler_flag


class Unreadable(SurgeryError):
    """A function has no source that could be rewritten; the message says why."""


@dataclass(frozen=True, eq=False)
class Source:
    """A function with its tree.

    Attributes:
        wrappers: The functions that decorators have put around it, the outermost first.
        function: What runs inside of them.
        node: Its definition, with the line numbers of the file. Not to be changed.
        inside: The name of the class that the definition stands in, for names that begin with two underscores.
    """

    wrappers: tuple[FunctionType, ...]
    function: FunctionType
    node: ast.FunctionDef
    inside: str | None


def read(function: FunctionType) -> Source:
    """The source of a function.

    Raises:
        Unreadable: if there is none, or it isn't what runs.
    """
    *wrappers, inner = _unwrapped(function)
    node, inside, code = _definition(inner)
    if not _same(code, inner.__code__):
        raise Unreadable("its source is no longer, or not all of, what runs")
    return Source(tuple(wrappers), inner, node, inside)


def changed(source: Source, node: ast.FunctionDef) -> FunctionType:
    """The function with `node` for its definition, in the same decorators."""
    old = source.function
    code = _compiled(source, node)
    cells = dict(zip(old.__code__.co_freevars, old.__closure__ or (), strict=True))
    new = _twin(old, code, tuple(cells[name] for name in code.co_freevars))
    for wrapper in reversed(source.wrappers):
        new, old = _rewrapped(wrapper, old, new), wrapper
    return new


# --- decorators


def _unwrapped(function: FunctionType) -> list[FunctionType]:
    """The function, and what is inside of it as `functools.wraps` tells, to the innermost."""
    chain = [function]
    while (inner := vars(chain[-1]).get("__wrapped__")) is not None:
        if not isinstance(inner, FunctionType) or not any(_holds(cell, inner) for cell in chain[-1].__closure__ or ()):
            raise Unreadable("a decorator has put something around it that can't be put around another function")
        chain.append(inner)
    return chain


def _holds(cell: CellType, thing: object) -> bool:
    try:
        return cell.cell_contents is thing
    except ValueError:  # not filled
        return False


def _rewrapped(wrapper: FunctionType, old: FunctionType, new: FunctionType) -> FunctionType:
    """The wrapper around `new`, where it was around `old`."""
    cells = tuple(CellType(new) if _holds(cell, old) else cell for cell in wrapper.__closure__ or ())
    twin = _twin(wrapper, wrapper.__code__, cells)
    vars(twin).update({name: new for name, value in vars(wrapper).items() if value is old})
    return twin


def _twin(function: FunctionType, code: CodeType, cells: tuple[CellType, ...]) -> FunctionType:
    """Another function that differs in code and closure alone."""
    twin = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, cells)
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__qualname__, twin.__module__, twin.__doc__ = function.__qualname__, function.__module__, function.__doc__
    twin.__annotations__ = dict(function.__annotations__)
    vars(twin).update(vars(function))
    return twin


# --- from the file to the tree


_Definition: TypeAlias = tuple[ast.FunctionDef, "str | None", CodeType]


def _definition(function: FunctionType) -> _Definition:
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        parsed = _parsed("".join(lines), code.co_flags & _FUTURES)
    except (OSError, TypeError, SyntaxError, IndexError) as err:
        raise Unreadable("it has no source that can be read") from err
    found = parsed.get((code.co_name, code.co_firstlineno))
    if found is None:
        raise Unreadable("it is a lambda" if code.co_name == "<lambda>" else "its file has changed since it was loaded")
    return found


@lru_cache(maxsize=64)
def _parsed(text: str, flags: int) -> dict[tuple[str, int], _Definition]:
    """Every function of a file by name and first line, with the name of the class that it stands in, and its code."""
    tree, found = ast.parse(text), dict[tuple[str, int], _Definition]()
    # All of the file: the compiler knows which names are modules that it imports.
    codes = {
        (c.co_name, c.co_firstlineno): c for c in codes_within(compile(tree, "<>", "exec", flags, dont_inherit=True))
    }

    def visit(node: ast.AST, inside: str | None) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                if (child.name, first) in codes:
                    found[child.name, first] = child, inside, codes[child.name, first]
            visit(child, child.name if isinstance(child, ast.ClassDef) else inside)

    visit(tree, None)
    return found


def codes_within(code: CodeType) -> Iterator[CodeType]:
    """The codes of the functions and comprehensions that are defined inside of another one."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_within(constant)


# --- from the tree to code


def _compiled(source: Source, node: ast.FunctionDef) -> CodeType:
    """The code of a definition where it stands: in a class of that name, with the names of its closure around it."""
    code = source.function.__code__
    around = ast.parse(f"def around({', '.join(_bound(code, source.inside))}):\n class {source.inside or 'X'}: pass")
    outer: ast.FunctionDef = around.body[0]  # type: ignore[assignment]
    plain = ast.copy_location(ast.FunctionDef(**{**dict(ast.iter_fields(node)), "decorator_list": []}), node)
    if source.inside is None:
        outer.body = [plain]
    else:
        outer.body[0].body = [plain]  # type: ignore[attr-defined]
    flags = code.co_flags & _FUTURES
    new = _found(compile(around, code.co_filename, "exec", flags=flags, dont_inherit=True), node.name, source.inside)
    # Since Python 3.11 a traceback shows this name.
    named: dict[str, Any] = {"co_qualname": code.co_qualname} if hasattr(code, "co_qualname") else {}
    return new.replace(**named)


def _bound(code: CodeType, inside: str | None) -> list[str]:
    return [name for name in code.co_freevars if not (name == "__class__" and inside)]


def _found(module: CodeType, name: str, inside: str | None) -> CodeType:
    code = module
    for step in filter(None, ("around", inside, name)):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == step)
    return code


def _same(new: CodeType, old: CodeType) -> bool:
    """Whether two codes do the same by the same names."""
    names = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount")
    return (
        all(getattr(new, name) == getattr(old, name) for name in names)
        and len(new.co_consts) == len(old.co_consts)
        and all(map(_same_constant, new.co_consts, old.co_consts))
    )


def _same_constant(new: object, old: object) -> bool:
    if isinstance(new, CodeType) and isinstance(old, CodeType):
        return _same(new, old)
    return type(new) is type(old) and (new == old or new != new)
