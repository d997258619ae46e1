"""Functions as trees, and functions from changed trees."""

import ast
import copy
import functools
import traceback

import pytest
import torch

from torchsurgery.calls.sources import Unreadable, changed, read

FACTOR = 3


def tripled(function):
    @functools.wraps(function)
    def wrapper(*args):
        return 3 * function(*args)

    wrapper.inner = function
    return wrapper


def hidden(function):
    """A decorator that tells of the function, but holds it in a list."""
    held = [function]

    @functools.wraps(function)
    def wrapper(*args):
        return held[0](*args)

    return wrapper


def of_closure(bonus):
    class Inside:
        def forward(self, x):
            return abs(x) + bonus

    return Inside


class Base:
    def twice(self, x):
        return 2 * x


class Thing(Base):
    __secret = 5

    def plain(self, x):
        return abs(x) * FACTOR

    def with_defaults(self, x, y=4, *, z=7):
        return abs(x) + y + z

    def of_super(self, x):
        return abs(super().twice(x))

    def private(self, x):
        return abs(x) + self.__secret

    @tripled
    @tripled
    def decorated(self, x):
        return abs(x)

    @torch.no_grad()
    def without_gradient(self, x):
        return abs(x), torch.is_grad_enabled()

    @hidden
    def hidden(self, x):
        return abs(x)

    def failing(self, x):
        return 1 / abs(x - x)

    lambda_ = lambda self, x: abs(x)  # noqa: E731


class Negated(ast.NodeTransformer):
    """`abs(x)` → `(-abs(x))`."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if getattr(node.func, "id", "") != "abs":
            return node
        return ast.copy_location(ast.UnaryOp(ast.copy_location(ast.USub(), node), node), node)


def negated(function):
    source = read(function)
    return changed(source, Negated().visit(copy.deepcopy(source.node)))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("plain", 6, -6),
        ("with_defaults", 13, 9),
        ("of_super", 4, -4),
        ("private", 7, 3),
        ("decorated", 18, -18),
        ("without_gradient", (2, False), (-2, False)),
    ],
)
def test_a_changed_function(name, before, after):
    """With globals, defaults, closure, the class for super(), private names and decorators of the old one."""
    function = vars(Thing)[name]
    assert function(Thing(), 2) == before
    assert negated(function)(Thing(), 2) == after
    assert function(Thing(), 2) == before


def test_a_closure():
    inside = of_closure(10)
    assert negated(inside.forward)(inside(), 2) == 8


def test_what_a_wrapper_says_of_the_function_inside():
    twin = negated(Thing.decorated)
    assert twin.inner is twin.__wrapped__
    assert twin.inner(Thing(), 2) == -6


def test_name_and_place_are_kept():
    new = negated(Thing.failing)
    assert (new.__name__, new.__qualname__, new.__module__) == ("failing", "Thing.failing", __name__)
    with pytest.raises(ZeroDivisionError) as caught:
        new(Thing(), 1)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "return 1 / abs(x - x)"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (Thing.hidden, "a decorator has put something around it"),
        (Thing.lambda_, "it is a lambda"),
        (eval("lambda self, x: x"), "it has no source that can be read"),
    ],
    ids=["decorator", "lambda", "eval"],
)
def test_unreadable(function, why):
    with pytest.raises(Unreadable, match=why):
        read(function)


def test_the_source_is_not_what_runs(tmp_path, monkeypatch):
    """A file that was edited after it was loaded."""
    path = tmp_path / "edited.py"
    path.write_text("def forward(self, x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import edited

    assert read(edited.forward).node.name == "forward"
    path.write_text("def forward(self, x):\n    return x + 2\n")
    with pytest.raises(Unreadable, match="its source is no longer, or not all of, what runs"):
        read(edited.forward)
    path.write_text("# new\ndef forward(self, x):\n    return x + 1\n")
    with pytest.raises(Unreadable, match="its file has changed since it was loaded"):
        read(edited.forward)
