"""What `torchsurgery` offers: nothing by accident, nothing without a word about it."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import torchsurgery as ts

INIT = Path(ts.__file__)
STUB = ast.parse(INIT.with_suffix(".pyi").read_text(encoding="utf-8"))


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


def test_the_stub_names_each_once_and_does_nothing_else():
    docstring, *imports = STUB.body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    names = [alias for node in imports for alias in node.names]
    assert all(alias.asname == alias.name for alias in names), "as itself, so that type checkers take it for public"
    assert sorted(alias.name for alias in names) == sorted(ts.__all__) == sorted(set(ts.__all__))


def test_the_names_are_what_the_stub_says():
    for node in STUB.body[1:]:
        module = importlib.import_module(f"torchsurgery.{node.module}" if node.module else "torchsurgery")
        for alias in node.names:
            assert getattr(ts, alias.name) is getattr(module, alias.name)


def test_dir_and_star_know_them():
    scope = {}
    exec("from torchsurgery import *", scope)
    assert set(ts.__all__) <= scope.keys()
    assert set(ts.__all__) <= set(dir(ts))


def test_what_is_not_there():
    with pytest.raises(AttributeError, match="no_such_name"):
        ts.no_such_name  # noqa: B018


def test_nothing_large_is_imported_before_a_name_is_asked_for():
    code = "import sys, torchsurgery; print(sorted({'torch', 'numpy', 'rich', 'yaml'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


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
