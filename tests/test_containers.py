"""Containers hold again what they held, the same objects in the same order, whatever was done to them."""

from collections import OrderedDict, defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchsurgery.containers import CONTAINERS, Contents, refill

MADE = {
    list: lambda items: list(items),
    deque: lambda items: deque(items, maxlen=4),
    set: lambda items: {id(item) for item in items},
    dict: lambda items: dict(enumerate(items)),
    OrderedDict: lambda items: OrderedDict(enumerate(items)),
    defaultdict: lambda items: defaultdict(list, enumerate(items)),
}


def told(container):
    """What it holds, by identity, in order; that of a set has none."""
    if isinstance(container, set):
        return set(container)
    return [*map(id, container)], [id(v) for v in container.values()] if isinstance(container, dict) else None


def changed(container):
    """In every way that leaves something else behind."""
    yield "filled", lambda: container.update({-7: 1}) if hasattr(container, "update") else container.append(-7)
    yield "emptied", container.clear
    if isinstance(container, dict):
        yield "replaced", lambda: container.update({0: object()})
        yield "turned", lambda: container.update({0: container.pop(0)})
    elif not isinstance(container, set):
        yield "replaced", lambda: container.__setitem__(0, object())
        yield "turned", container.reverse


def test_each_kind_is_tried():
    assert MADE.keys() == CONTAINERS


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_put_back_after_each_change(kind):
    items = [object(), object(), object()]
    container = MADE[kind](items)
    before, contents = told(container), Contents([container])
    for what, change in changed(container):
        change()
        assert told(container) != before, what
        contents.put_back()
        assert told(container) == before and type(container) is kind, what


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
def test_an_empty_one_is_emptied(kind):
    container = MADE[kind]([])
    contents = Contents([container])
    assert contents.empty and not contents.full
    next(changed(container))[1]()
    assert container
    contents.put_back()
    assert not container


def test_values_are_told_apart_by_identity():
    # Equal is not the same: a tensor can't even be asked.
    one, other = [1], [1]
    held = [one]
    contents = Contents([held])
    held[0] = other
    contents.put_back()
    assert held[0] is one


def test_nothing_is_missing_meanwhile():
    lengths = []

    class Seen(dict):
        def __delitem__(self, key):
            lengths.append(len(self))
            super().__delitem__(key)

    held = Seen(a=1, x=3)
    refill(held, {"a": 1, "b": 2})
    assert held == {"a": 1, "b": 2} and lengths == [3]


@given(st.dictionaries(st.integers(0, 9), st.integers()), st.dictionaries(st.integers(0, 9), st.integers()))
def test_any_dictionary_in_its_order(before, after):
    held = dict(after)
    refill(held, before)
    assert list(held.items()) == list(before.items())
