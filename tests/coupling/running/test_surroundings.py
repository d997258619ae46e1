"""What a forward keeps outside of its modules is as it was after a trace."""

import functools
from collections import deque
from typing import ClassVar

import pytest
import torch
from torch import nn

import torchsurgery as ts

KEPT = {}
LAST = None


@functools.lru_cache
def table(length, width):
    return torch.arange(1.0, length + 1)[:, None].expand(length, width) * 2


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        y = self.a(x)
        return self.b(y * self.scale(len(y)))


class ByFunction(Net):
    def scale(self, length):
        return table(length, 1)


class ByGlobal(Net):
    def scale(self, length):
        global LAST
        if length not in KEPT:
            KEPT[length] = LAST = torch.ones(length, 1)
        return KEPT[length]


class ByClass(Net):
    seen: ClassVar[deque] = deque()
    last = None

    def scale(self, length):
        type(self).last = torch.ones(length, 1)
        self.seen.append(self.last)
        return self.last


class Helper:
    def __init__(self):
        self.cache, self.last = {}, None

    def __call__(self, length):
        if length not in self.cache:
            self.cache[length] = self.last = torch.ones(length, 1)
        return self.cache[length]


class ByHelper(Net):
    def __init__(self):
        super().__init__()
        self.helpers = ({"one": Helper()}, [Helper()])

    def scale(self, length):
        return self.helpers[0]["one"](length) * self.helpers[1][0](length)


@pytest.mark.parametrize("kind", [ByFunction, ByGlobal, ByClass, ByHelper])
def test_no_stand_in_is_left_in_a_cache(kind):
    table.cache_clear()
    KEPT.clear()
    net, x = kind(), torch.randn(4, 6)
    assert len(ts.trace(net, x).group("a")) == 8
    assert not table.cache_info().currsize
    assert not KEPT
    assert LAST is None
    assert not ByClass.seen
    assert ByClass.last is None
    if kind is ByHelper:
        assert [vars(h) for h in (net.helpers[0]["one"], net.helpers[1][0])] == [{"cache": {}, "last": None}] * 2
    done = ts.prune(net, "a", 0.5, example_inputs=x)
    net(x).sum().backward()
    done.undo()
    net(x).sum().backward()
    globals().update(LAST=None)
    ByClass.seen.clear()
    ByClass.last = None


def test_what_was_in_a_cache_stays():
    net, x = ByHelper(), torch.randn(4, 6)
    net(x)
    ByGlobal()(x)
    before, kept = net.helpers[0]["one"].cache[4], KEPT[4]
    ts.trace(net, torch.randn(5, 6))
    ts.trace(ByGlobal(), torch.randn(5, 6))
    assert list(net.helpers[0]["one"].cache) == [4]
    assert net.helpers[0]["one"].cache[4] is before
    assert list(KEPT) == [4]
    assert KEPT[4] is kept
    globals().update(LAST=None)
