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


def test_a_part_that_was_altered_as_a_model_of_its_own(tmp_path):
    """Loaded on its builder the whole would be another one: that is said before it is saved."""

    def build():
        return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))

    def altering():
        model = build()
        ts.replace(model[1], nn.ReLU, nn.GELU)
        return model

    model = altering()
    with pytest.raises(ts.RecipeError, match=r"^1 was altered as a model of its own") as caught:
        ts.save(model, tmp_path / "slim")
    assert caught.value.name == "1"
    ts.save(model[1], tmp_path / "part")
    ts.save(model, tmp_path / "slim", base=altering)
    assert isinstance(ts.load(tmp_path / "slim", base=altering)[1][0], nn.GELU)


def test_a_copy_that_is_saved_without_a_recipe(tmp_path):
    import copy

    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    done = ts.replace(net, nn.ReLU, nn.GELU)
    twin = copy.deepcopy(net)
    with pytest.raises(ts.RecipeError, match="this Sequential looks like a copy of one that was altered"):
        ts.save(twin, tmp_path / "slim")
    ts.save(twin, tmp_path / "slim", recipe=ts.recipe_of(net))
    done.undo()
    ts.save(copy.deepcopy(net), tmp_path / "plain")


def test_a_wrapper_around_an_altered_model_is_not_saved_for_it(tmp_path):
    average = nn.DataParallel(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    ts.replace(average.module, nn.ReLU, nn.GELU)
    with pytest.raises(ts.RecipeError, match=r"^module was altered as a model of its own"):
        ts.save(average, tmp_path / "slim")
