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
    history.forget(entry)
    history.forget(entry)
    assert history.altered(net) == []
    assert not history.widths_changed(net)


def test_the_last_surgery_is_known(net):
    first, second = history.remember(net, []), history.remember(net, [])
    assert history.later(second) is None
    assert history.later(first) is second
    history.forget(second)
    assert history.later(first) is None


def test_what_was_done_to_a_part_comes_after_what_was_done_to_the_whole(net):
    whole = nn.Sequential(net, nn.ReLU())
    first, second = history.remember(whole, [whole[1]]), history.remember(net, [net[0]])
    assert history.later(first) is second
    third = history.remember(whole, [])
    assert history.later(second) is third
    assert history.altered(whole) == [whole[1], net[0]]
    assert history.altered(net) == [net[0]]


def test_models_that_share_nothing_have_each_an_order_of_their_own(net):
    first = history.remember(net, [net[0]])
    history.remember(nn.Sequential(nn.ReLU()), [], widths_changed=True)
    assert history.later(first) is None
    assert not history.widths_changed(net)


def test_two_models_with_a_common_part_concern_each_other_where_it_was_changed(net):
    one, other = nn.Sequential(net, nn.ReLU()), nn.Sequential(net, nn.Tanh())
    first, head = history.remember(one, [net[0]]), history.remember(other, [other[1]])
    assert history.later(first) is head  # its model has what the first one has changed
    history.forget(head)
    own = history.remember(one, [one[1]])
    assert history.later(first) is own
    beside = history.remember(nn.Sequential(other[1]), [other[1]])
    assert history.later(own) is None
    assert history.later(beside) is None
    adjusted = history.remember(other, [], following=[net[2]], widths_changed=True)
    assert history.later(own) is adjusted
    assert history.widths_changed(net)


def test_a_note_stays_as_long_as_something_that_it_changed(net):
    whole = nn.Sequential(net)
    entry = history.remember(whole, [net[0]])
    del whole
    gc.collect()
    history.remember(nn.ReLU(), [])
    assert history.altered(net) == [net[0]]
    assert not entry.is_gone()
    del net[0]
    gc.collect()
    assert entry.is_gone()


def test_only_what_was_done_on_the_model_itself_can_be_taken_back_for_it(net):
    done = ts.replace(net, nn.ReLU, nn.GELU)
    assert history.in_force(net) == [done]
    assert history.in_force(nn.Sequential(net)) == [None]
    del done
    assert history.in_force(net) == [None]


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


def test_what_was_only_cut_is_told_from_what_was_brought():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU())
    history.remember(net, [net[0], net[1]], cut=[net[0], net[1]])
    assert history.only_cut(net) == {net[0], net[1]}
    entry = history.remember(net, [net[1], net[2]])
    assert history.only_cut(net) == {net[0]}
    history.forget(entry)
    assert history.only_cut(net) == {net[0], net[1]}
