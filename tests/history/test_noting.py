"""What is noted before and after a surgery."""

import pytest
from torch import nn

import torchsurgery as ts
from torchsurgery.history.entries import entries


@pytest.fixture
def net():
    return nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.ReLU())


def _last():
    return entries()[-1].record


def test_the_root_of_what_was_done_through_a_wrapper_is_the_model(net):
    ts.insert(nn.DataParallel(net), nn.Dropout(0.1), after="module.1")
    assert _last().root() is net
    assert _last().operations[0].names == ("1",)
    assert _last().moves == ((("1.layer", "1"),),)
    assert set(_last().was.lines) == {"1"}


def test_what_others_have_done_since_is_adopted_by_the_next(net):
    ts.replace(net[0], nn.ReLU, nn.GELU)
    assert _last().adopted == ()
    ts.replace(net, "1", nn.GELU())
    assert [told.operations[0].names for told in _last().adopted] == [("0.1",)]
    ts.replace(net, "1", nn.ReLU())
    assert _last().adopted == ()


def test_what_is_left_of_all_roots_that_share_modules_is_noted(net):
    part, other = net[0], nn.Sequential(nn.ReLU())
    ts.replace(other, "0", nn.GELU())
    ts.replace(part, nn.ReLU, nn.GELU)
    assert list(_last().left) == [part]
    ts.replace(net, "1", nn.GELU())
    assert set(_last().left) == {net, part}


def test_what_was_altered_by_other_means_has_its_name_in_each_root(net):
    ts.replace(net, "1", nn.GELU())
    ts.replace(net[0], nn.ReLU, nn.GELU)
    net[0][1] = nn.Tanh()
    ts.replace(net[0], "0", nn.Linear(4, 4))
    foreign = _last().foreign
    assert foreign[net][0] == "0.1"
    assert foreign[net[0]][0] == "1"


def test_what_cannot_be_told_does_not_stop_a_surgery():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)).eval()
    part = net[0]
    ts.plan(net).fold().apply()
    ts.replace(part, "0", nn.Conv2d(3, 4, 1))
    assert [operation.data["do"] for operation in _last().untold] == ["fold"]
