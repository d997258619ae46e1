"""Calls in forwards."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchsurgery.calls.finding import find

alias = F.relu


def helper(x):
    return F.relu(x)


class Spelled(nn.Module):
    def forward(self, x):
        x = F.relu(x, inplace=True)
        x = nn.functional.relu(input=x)
        x = torch.relu(x)
        x = alias(x)
        x = x.relu()
        x = self.more(x).relu_()
        return [torch.nn.functional.relu(item) for item in x]

    def more(self, x):
        return torch.relu_(x)

    def never_called(self, x):
        return F.relu(x)


def texts(kind):
    return [call.text for call in find(kind).calls]


def test_every_spelling_and_the_methods_on_the_way():
    assert texts(Spelled) == [
        "F.relu(x, inplace=True)",
        "nn.functional.relu(input=x)",
        "torch.relu(x)",
        "alias(x)",
        "x.relu()",
        "self.more(x).relu_()",
        "torch.nn.functional.relu(item)",
        "torch.relu_(x)",
    ]
    first, *_, last = find(Spelled).calls
    assert (first.number, first.among, first.method, first.where) == (1, 8, "forward", f"{__file__}:21")
    assert (last.number, last.among, last.method) == (8, 8, "more")


class NoCalls(nn.Module):
    """What looks like a call of the function."""

    relu = nn.ReLU()

    def forward(self, x, layers, F):
        x = self.relu(x)
        x = layers.relu(x)  # takes an argument that a tensor's relu doesn't
        return F.relu(x)  # a parameter, and no module of that name

    @staticmethod
    def softmax(x):
        return x


def test_what_is_no_call():
    assert texts(NoCalls) == []


class Same(nn.Module):
    def forward(self, x):
        return F.relu(x) + F.relu(x), F.relu(-x)


def test_calls_of_one_text_are_told_apart():
    assert [(call.text, call.which, call.number) for call in find(Same).calls] == [
        ("F.relu(x)", 0, 1),
        ("F.relu(x)", 1, 2),
        ("F.relu(-x)", 0, 3),
    ]


class Refused(nn.Module):
    def forward(self, x, *parts, **options):
        F.relu(x)
        F.relu(*parts)
        F.relu(x, **options)
        x.relu_()
        self.buffer.relu_()
        (lambda: x.relu_())()
        return self.nested(x)

    def nested(self, x):
        def inner(self):
            return F.relu(self)

        return inner(x)

    @staticmethod
    def of_no_one():
        return F.relu(torch.ones(1))


def test_what_can_not_become_a_layer():
    assert {call.text: call.why for call in find(Refused).calls} == {
        "F.relu(x)": "its answer is not used: it is called for what it does to its input",
        "F.relu(*parts)": "its arguments can't be told apart",
        "F.relu(x, **options)": "its arguments can't be told apart",
        "x.relu_()": None,
        "self.buffer.relu_()": "its answer is not used: it is called for what it does to its input",
        "F.relu(self)": "self is not, or not always, the module there",
    }


class Above(nn.Module):
    def forward(self, x):
        return F.relu(x)


class Below(Above):
    def forward(self, x):
        return super().forward(x)


class Inherits(Above):
    pass


class Elsewhere(nn.Module):
    def forward(self, x):
        return functools.reduce(torch.add, map(F.relu, helper(x)))


def hiding(function):
    held = [function]

    @functools.wraps(function)
    def wrapper(*args):
        return held[0](*args).relu()

    return wrapper


class Hidden(nn.Module):
    @hiding
    def forward(self, x):
        return F.relu(x)


@pytest.mark.parametrize(
    ("kind", "where", "why"),
    [
        (Below, ["Above.forward"], "it is reached through super()"),
        (
            Hidden,
            ["Hidden.forward"],
            "a decorator has put something around it that can't be put around another function",
        ),
    ],
)
def test_out_of_reach(kind, where, why):
    assert texts(kind) == []
    assert [use.where for use in find(kind).elsewhere] == where
    assert {use.why for use in find(kind).elsewhere} == {why}


def test_passed_on_and_helpers():
    passed, helped = find(Elsewhere).elsewhere
    assert passed.why == "it is not called there, but passed on"
    assert (helped.where, helped.why) == ("helper", "it is a function outside of the class")


def test_an_inherited_forward():
    assert texts(Inherits) == ["F.relu(x)"]


def test_layers_of_torch_are_not_looked_into():
    assert texts(nn.ReLU) == []
    assert texts(type("Mine", (nn.ReLU,), {})) == []


class Children(nn.Module):
    def forward(self, x):
        self.seen = x
        for child in self.children():
            x = child(x)
        return x


def test_what_the_forward_does_with_its_module():
    assert find(Children).written == {"seen"}
    assert find(Children).over_children
    assert not find(Spelled).over_children
