"""One surgery as data."""

import weakref

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.history.entries import entries
from torchsurgery.history.records import Told
from torchsurgery.recipes.moving import View
from torchsurgery.recipes.structure import structure_of


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def _told(number=0):
    return Told.own(number, entries()[-1].record)


def test_the_structure_before_is_read_off_the_one_after(net):
    before = structure_of(net)
    done = ts.insert(net, nn.Dropout(0.1), after="1")
    assert _told().lines_before(structure_of(net)) == before
    done.undo()
    ts.replace(net, nn.ReLU, nn.GELU)
    assert _told().lines_before(structure_of(net)) == before


def test_what_only_took_another_class_is_settled_once(net):
    class Rectified(nn.ReLU):
        pass

    before = structure_of(net)
    ts.replace(net, nn.ReLU, Rectified)
    record = entries()[-1].record
    assert record.classes == {"1": nn.ReLU}
    after, lines = structure_of(net), record.lines()
    record.settle()
    assert record.classes == {}
    assert record.lines() == lines == {"1": "nn.ReLU()"}
    assert _told().lines_before(after) == before


def test_told_of_a_model_that_has_the_part_in_two_places(net):
    whole = nn.Sequential(net, nn.Tanh(), net)
    before = structure_of(whole)
    ts.insert(net, nn.Dropout(0.1), after="1")
    told = _told(3).seen(View({"": ("0", "2")}))
    assert told.number == 3
    assert told.operations[0].names == ("0.1",)
    assert told.moves == ((("0.1.layer", "0.1"),),)
    assert told.name("1.after") == "0.1.after"
    assert told.lines_before(structure_of(whole)) == before


def test_told_through_two_roots(net):
    ts.replace(net, "1", nn.GELU())
    told = _told().seen(View({"": ("a",)})).seen(View({"": ("b",)}))
    assert told.operations[0].names == ("b.a.1",)
    assert told.name("0") == "b.a.0"
    assert _told().seen(View({"0": ("",)})).operations == ()
    assert _told().seen(View({"0": ("",)})).name("1") is None


def test_neither_root_nor_layers_are_kept_alive(net):
    ts.replace(net, "1", nn.GELU())
    record, gone = entries()[-1].record, weakref.ref(net)
    del net
    assert record.root() is gone()
