"""The calls of known functions in the forward of a class and in the methods that it calls; and those out of reach."""

from __future__ import annotations

import ast
import builtins
import inspect
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from ..layers.functional import Function, Spelling, method_spelling, spelling_of
from .sources import Source, Unreadable, read

# A forward that goes through its own children would come upon the new layers, too.
OVER_CHILDREN = frozenset({"children", "named_children", "modules", "named_modules", "_modules"})
_UNKNOWN = object()


@dataclass(frozen=True, eq=False)
class Call:
    """One call in the code of a class.

    Attributes:
        spelling: What is called, and how it is written.
        method: The method that the call stands in, and `me` its word for self.
        text: The call's source, and `which`, its place among calls of the same text in the method, from 0.
        number: Its place among the calls of its function in the class, from 1, of `among`.
        where: File and line.
        given: Its arguments after the input.
        local: The names that the method binds itself, and `space`, what all others stand for.
        answers: Whether its answer is used; else it is called for what it does to its input.
        why: Why it can't become a layer, whatever the arguments are; or None.
        of_tensor: Whether it is a tensor's method that is called, `x.relu()`.
        receiver: Of a method called on an attribute of self, `self.weight.relu()`, that attribute.
    """

    spelling: Spelling
    method: str
    me: str
    text: str
    where: str
    given: Mapping[str, ast.expr]
    local: frozenset[str]
    space: Mapping[str, Any]
    answers: bool = True
    why: str | None = None
    of_tensor: bool = False
    receiver: ast.expr | None = None
    which: int = 0
    number: int = 1
    among: int = 1


@dataclass(frozen=True)
class Elsewhere:
    """A use of a function that can't become a layer, as it is no call in a method of the class."""

    function: Function
    where: str
    why: str


@dataclass(eq=False)
class Findings:
    """What there is in the code of one class.

    Attributes:
        calls: In the order of the methods as they are reached, and of lines.
        elsewhere: What is out of reach.
        written: Attributes of self that the forward itself assigns.
        over_children: Whether it goes through its own children.
    """

    calls: list[Call] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    over_children: bool = False


_FINDINGS: weakref.WeakKeyDictionary[type, Findings] = weakref.WeakKeyDictionary()


def find(kind: type[nn.Module]) -> Findings:
    """All calls in the forward of a class; each class is read once."""
    if kind not in _FINDINGS:
        _FINDINGS[kind] = _numbered(_Reader(kind).read())
    return _FINDINGS[kind]


def method_of(kind: type, name: str) -> FunctionType | None:
    """A method of a class as it is written there, if it is a plain function of the user's."""
    found = inspect.getattr_static(kind, name, None)
    return found if isinstance(found, FunctionType) and not of_torch(found) else None


def of_torch(function: FunctionType) -> bool:
    """Whether torch itself brings a function: its layers are made of functions, and none of those is looked for."""
    return (function.__module__ or "").split(".")[0] == "torch"


def calls_in(source: Source) -> list[ast.Call]:
    """All calls of a function in the order in which they end: the inner one of two goes before the outer."""
    calls = [node for node in ast.walk(source.node) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda node: (node.end_lineno, node.end_col_offset))


def _numbered(findings: Findings) -> Findings:
    among, seen = Counter(call.spelling.function for call in findings.calls), Counter[Function]()
    for i, call in enumerate(findings.calls):
        function = call.spelling.function
        seen[function] += 1
        findings.calls[i] = replace(call, number=seen[function], among=among[function])
    return findings


class _Reader:
    """Goes from the forward to the methods that it names, and to the functions outside of the class."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.kind, self.findings = kind, Findings()

    def read(self) -> Findings:
        todo, seen = ["forward"], {"forward"}
        while todo:
            name = todo.pop(0)
            function = method_of(self.kind, name)
            if function is None:
                continue
            for further in self._method(name, function):
                if further not in seen:
                    seen.add(further)
                    todo.append(further)
        return self.findings

    def _method(self, name: str, function: FunctionType) -> list[str]:
        """Note what a method calls; answers the names of the attributes of self that it speaks of."""
        try:
            source = read(function)
        except Unreadable as err:
            self._without_source(function, str(err))
            return [n for n in function.__code__.co_names if n != "forward"]
        method = Method(source)
        self.findings.calls += method.calls(name)
        self.findings.written |= method.written
        self.findings.over_children |= method.over_children
        self._passed_on(method)
        self._outside(method)
        return method.attributes

    def _without_source(self, function: FunctionType, why: str) -> None:
        for name in function.__code__.co_names:
            spelling = method_spelling(name)
            if spelling is not None:
                where = f"{self.kind.__name__}.{function.__name__}"
                self.findings.elsewhere.append(Elsewhere(spelling.function, where, why))

    def _passed_on(self, method: Method) -> None:
        for spelling, line in method.passed_on:
            self.findings.elsewhere.append(Elsewhere(spelling.function, line, "it is not called there, but passed on"))

    def _outside(self, method: Method) -> None:
        """Functions that the method names, and methods that it reaches through super()."""
        for name in method.beyond:
            for base in self.kind.__mro__[1:]:
                above = vars(base).get(name)
                if isinstance(above, FunctionType) and not of_torch(above):
                    self._helper(above, "it is reached through super()")
        for helper in method.helpers:
            self._helper(helper, "it is a function outside of the class")

    def _helper(self, helper: FunctionType, why: str) -> None:
        try:
            inside = Method(read(helper))
        except Unreadable:
            return
        found = dict.fromkeys(call.spelling.function for call in inside.calls(helper.__name__))
        self.findings.elsewhere += [Elsewhere(function, helper.__qualname__, why) for function in found]


class Method:
    """One function, read: its calls of known functions, and the names that lead on."""

    def __init__(self, source: Source) -> None:
        self.source, self.attributes = source, list[str]()
        arguments = source.node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        self.me = positional[0].arg if positional else ""
        self.bound = Counter(_bound_names(source.node))
        self.written, self.beyond, self.helpers = set[str](), list[str](), list[FunctionType]()
        self.over_children = False
        self.passed_on: list[tuple[Spelling, str]] = []
        self._called = {id(call.func) for call in calls_in(source)}
        self._unused = {id(s.value): s for s in ast.walk(source.node) if isinstance(s, ast.Expr)}
        self._survey()

    def calls(self, name: str) -> Iterator[Call]:
        """The calls of known functions."""
        texts = Counter[str]()
        for node in calls_in(self.source):
            text = ast.unparse(node)
            spelling, receiver = self._spelling(node.func)
            if spelling is not None and (found := self._call(node, name, text, spelling, receiver)) is not None:
                yield replace(found, which=texts[text])
            texts[text] += 1

    def resolve(self, node: ast.AST) -> Any:
        """What a name or a dotted name stands for outside of the function; `_UNKNOWN` for all else."""
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            known = isinstance(base, ModuleType | type)
            return getattr(base, node.attr, _UNKNOWN) if known else _UNKNOWN
        if not isinstance(node, ast.Name) or self.bound[node.id]:
            return _UNKNOWN
        function = self.source.function
        names = function.__code__.co_freevars
        if node.id in names:
            return _content((function.__closure__ or ())[names.index(node.id)])
        return function.__globals__.get(node.id, vars(builtins).get(node.id, _UNKNOWN))

    # --- one call

    def _spelling(self, callee: ast.expr) -> tuple[Spelling | None, ast.expr | None]:
        """What is called; and of a tensor's method, the tensor."""
        known = self.resolve(callee)
        if known is not _UNKNOWN:
            return spelling_of(known), None
        if isinstance(callee, ast.Attribute) and not self._is_me(callee.value):
            return (
                (method_spelling(callee.attr), callee.value) if self.resolve(callee.value) is _UNKNOWN else (None, None)
            )
        return None, None

    def _is_me(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self.me

    def _call(self, node: ast.Call, name: str, text: str, spelling: Spelling, receiver: ast.expr | None) -> Call | None:
        tensor, given = _split(node, spelling, receiver)
        if given is None and receiver is not None:
            return None  # some other object with a method of that name
        of_self = receiver if receiver is not None and _root(receiver) == self.me else None
        used = id(node) not in self._unused
        why = self._refusal(node, spelling, tensor, given, used)
        names, space = frozenset(self.bound), self.source.function.__globals__
        where, given = self._where(node), given or {}
        return Call(spelling, name, self.me, text, where, given, names, space, used, why, receiver is not None, of_self)

    def _refusal(
        self, node: ast.Call, spelling: Spelling, tensor: ast.expr | None, given: Any, used: bool
    ) -> str | None:
        if not self.me or self.bound[self.me] > 1:
            return f"{self.me or 'self'} is not, or not always, the module there"
        if tensor is None or given is None:
            return "its arguments can't be told apart"
        in_place = spelling.fixed.get("inplace") or getattr(given.get("inplace"), "value", False) is True
        if not used and not (in_place and isinstance(tensor, ast.Name) and self._is_own(tensor.id, node)):
            return "its answer is not used: it is called for what it does to its input"
        return None

    def _is_own(self, name: str, node: ast.Call) -> bool:
        """Whether a name is a variable of this very function, and the call is no part of one inside."""
        inner = (n for n in ast.walk(self.source.node) if n is not self.source.node and isinstance(n, _SCOPES))
        return self.bound[name] > 0 and not any(node is n for scope in inner for n in ast.walk(scope))

    def _where(self, node: ast.expr) -> str:
        return f"{self.source.function.__code__.co_filename}:{node.lineno}"

    # --- what leads on

    def _survey(self) -> None:
        for node in ast.walk(self.source.node):
            if isinstance(node, ast.Attribute):
                self._attribute(node)
            if isinstance(node, ast.Name | ast.Attribute) and id(node) not in self._called:
                spelling = spelling_of(self.resolve(node))
                self.passed_on += [(spelling, self._where(node))] if spelling else []
            if isinstance(node, ast.Name) and isinstance(helper := self.resolve(node), FunctionType):
                self.helpers += [helper] if not of_torch(helper) and spelling_of(helper) is None else []

    def _attribute(self, node: ast.Attribute) -> None:
        if self._is_me(node.value):
            self.attributes.append(node.attr)
            self.over_children |= node.attr in OVER_CHILDREN
            if not isinstance(node.ctx, ast.Load):
                self.written.add(node.attr)
        elif (
            isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id == "super"
        ):
            self.beyond.append(node.attr)


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def _bound_names(node: ast.FunctionDef) -> Iterator[str]:
    """Every name that is bound in a function, or in one inside of it; its parameters among them."""
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and not isinstance(child.ctx, ast.Load):
            yield child.id
        elif isinstance(child, ast.arg):
            yield child.arg
        elif isinstance(child, ast.alias):
            yield (child.asname or child.name).split(".")[0]
        elif isinstance(child, ast.FunctionDef | ast.ClassDef) and child is not node:
            yield child.name


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _split(
    node: ast.Call, spelling: Spelling, receiver: ast.expr | None
) -> tuple[ast.expr | None, dict[str, ast.expr] | None]:
    """The call's input and its other arguments by name; None for these where they don't fit the function."""
    names: list[str | None] = [None, *spelling.parameters]
    positional = ([receiver] if receiver is not None else []) + list(node.args)
    if len(positional) > len(names) or any(isinstance(argument, ast.Starred) for argument in node.args):
        return None, None
    given: dict[str | None, ast.expr] = dict(zip(names, positional, strict=False))
    for keyword in node.keywords:
        name = None if keyword.arg == "input" else keyword.arg
        if keyword.arg is None or name not in names or name in given:
            return given.get(None), None
        given[name] = keyword.value
    tensor = given.pop(None, None)
    return tensor, {name: value for name, value in given.items() if name is not None}


def input_of(node: ast.Call, call: Call) -> ast.expr:
    """What a call is made on."""
    receiver = node.func.value if call.of_tensor and isinstance(node.func, ast.Attribute) else None
    tensor, _ = _split(node, call.spelling, receiver)
    if tensor is None:
        raise Unreadable(f"{call.text} is called without an input")
    return tensor


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNKNOWN
