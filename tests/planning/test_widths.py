"""Whether a layer that is given takes what it will be given."""

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.planning.widths import changes_width


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2))


@pytest.mark.parametrize("new", [nn.Linear(5, 8), lambda old: nn.Linear(5, 8)], ids=["instance", "factory"])
def test_another_width_than_it_is_given_is_refused(net, new):
    with pytest.raises(ts.PlanError) as caught:
        ts.plan(net).replace("2", new)
    error = caught.value
    assert str(error).splitlines()[0] == "the new Linear for 2 (Linear) takes 5 channels, but is given 8."
    assert (error.name, error.expected, error.got) == ("2", 8, 5)


def test_the_first_layer_takes_what_the_user_feeds(net):
    ts.replace(net, "0", nn.Linear(3, 8))
    assert net[0].in_features == 3


def test_after_a_change_of_width_in_the_same_plan(net):
    plan = ts.plan(net).replace("0", nn.Linear(4, 16)).replace("2", nn.Linear(16, 8))
    assert [change.new.in_features for change in plan.changes] == [4, 16]


def test_after_a_change_of_width_by_an_earlier_surgery(net):
    done = ts.plan(net).replace("0", nn.Linear(4, 16)).apply(check=False)
    ts.replace(net, "2", nn.Linear(16, 8)).undo()
    done.undo()
    with pytest.raises(ts.PlanError, match="takes 16"):
        ts.replace(net, "2", nn.Linear(16, 8))


def test_what_tells_no_width_is_taken_at_its_word(net):
    ts.replace(net, "2", nn.Identity())
    ts.replace(net, "1", nn.Linear(8, 8))
    assert isinstance(net[1], nn.Linear)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (nn.Linear(4, 8), nn.Linear(3, 8), False),
        (nn.Linear(4, 8), nn.Linear(4, 9), True),
        (nn.BatchNorm2d(8), nn.GroupNorm(2, 8), False),
        (nn.Conv2d(3, 8, 1), nn.Conv2d(3, 16, 1), True),
        (nn.ReLU(), nn.GELU(), False),
    ],
)
def test_a_change_of_width_is_of_the_answer(old, new, changes):
    assert changes_width(old, new) is changes
