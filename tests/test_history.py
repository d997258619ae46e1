"""What was done to which model: noted by weak references, nothing on the model."""

import gc
import weakref

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery import history


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


def test_nothing_is_known_of_an_untouched_model(net):
    assert history.altered(net) == []
    assert not history.widths_changed(net)


def test_the_layers_that_surgeries_brought_in_order_each_once(net):
    history.remember(net, [net[2], net[0]])
    history.remember(net, [net[0], net[1]])
    assert history.altered(net) == [net[2], net[0], net[1]]


def test_a_note_is_taken_back(net):
    entry = history.remember(net, [net[0]], widths_changed=True)
    assert history.widths_changed(net)
    history.forget(net, entry)
    history.forget(net, entry)
    assert history.altered(net) == []
    assert not history.widths_changed(net)


def test_the_last_surgery_is_known(net):
    first, second = history.remember(net, []), history.remember(net, [])
    assert history.is_last(net, second)
    assert not history.is_last(net, first)
    history.forget(net, second)
    assert history.is_last(net, first)
    assert not history.is_last(net, second)


def test_neither_model_nor_layers_are_kept_alive(net):
    layer = nn.ReLU()
    alive = weakref.ref(layer)
    history.remember(net, [layer])
    del layer
    gc.collect()
    assert alive() is None
    assert history.altered(net) == []


def test_a_model_can_go_after_its_surgery():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    alive = weakref.ref(net)
    done = ts.replace(net, nn.ReLU, nn.GELU)
    del net, done
    gc.collect()
    assert alive() is None


def test_surgery_and_undo_keep_the_books(net):
    done = ts.replace(net, nn.ReLU, nn.GELU)
    assert history.altered(net) == [net[1]]
    done.undo()
    assert history.altered(net) == []


def test_only_a_change_of_width_is_noted_as_one(net):
    ts.replace(net, "0", nn.Linear(2, 3))
    assert not history.widths_changed(net)
    ts.plan(net).replace("0", nn.Linear(2, 5)).replace("2", nn.Linear(5, 2)).apply()
    assert history.widths_changed(net)
