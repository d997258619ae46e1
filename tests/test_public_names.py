"""What `torchsurgery` offers: nothing by accident, nothing without a word about it."""

import ast
import inspect
from pathlib import Path

import pytest

import torchsurgery as ts

INIT = ast.parse(Path(ts.__file__).read_text(encoding="utf-8"))


def objects():
    return [(name, getattr(ts, name)) for name in ts.__all__]


FUNCTIONS = [(name, thing) for name, thing in objects() if inspect.isfunction(thing)]
CLASSES = [(name, thing) for name, thing in objects() if inspect.isclass(thing)]
METHODS = [
    (f"{name}.{attribute}", member)
    for name, thing in CLASSES
    for attribute, member in vars(thing).items()
    if not attribute.startswith("_") and inspect.isfunction(member)
]


def named(pairs):
    return pytest.mark.parametrize(("name", "thing"), pairs, ids=[name for name, _ in pairs])


def test_all_is_what_is_imported():
    imported = [
        alias.asname
        for node in INIT.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    assert sorted(ts.__all__) == sorted(imported)
    assert len(set(imported)) == len(imported)


def test_init_does_nothing_else():
    for node in INIT.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        dunder = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("__")
        assert docstring or dunder or isinstance(node, ast.ImportFrom), ast.unparse(node)
        if isinstance(node, ast.ImportFrom):
            assert all(alias.asname == alias.name for alias in node.names), ast.unparse(node)


@named(objects())
def test_has_a_docstring_of_its_own(name, thing):
    inherited = inspect.isclass(thing) and "__doc__" not in vars(thing)
    assert thing.__doc__, f"{name} has no docstring"
    assert not inherited, f"{name} has only its base's docstring"
    # what @dataclass writes in place of one
    assert not (inspect.isclass(thing) and thing.__doc__.startswith(f"{thing.__name__}(")), name


@named(METHODS)
def test_method_has_a_docstring(name, thing):
    assert inspect.getdoc(thing), f"{name} has no docstring"


@named(FUNCTIONS)
def test_function_has_an_example(name, thing):
    doc = inspect.getdoc(thing)
    assert "Example:" in doc, f"{name} shows no example"
    assert ">>>" in doc, f"the example of {name} doesn't run"


@named(FUNCTIONS + METHODS)
def test_annotations_are_complete(name, thing):
    signature = inspect.signature(thing)
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")]
    assert not bare, f"{name}: no annotation for {', '.join(bare)}"
    assert signature.return_annotation is not signature.empty, f"{name}: no return annotation"


def test_errors_have_one_base():
    errors = [thing for _, thing in CLASSES if issubclass(thing, Exception)]
    assert ts.SurgeryError in errors
    assert all(issubclass(error, ts.SurgeryError) for error in errors)
