"""Classes whose forward calls layers where it called functions."""

import copy
import pickle
import traceback

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from torchsurgery.calls import rewriting
from torchsurgery.calls.rewriting import Site, original, rewritten, sites_of


class Net(nn.Module):
    def forward(self, x):
        x.relu_()
        for _ in range(2):
            x = F.relu(F.relu(x) - 1)
        return self.further(x)

    def further(self, x):
        return [F.relu(item) for item in x]


FIRST = Site("forward", "F.relu(x)", 0, "first")
IN_PLACE = Site("forward", "x.relu_()", 0, "in_place")
OUTER = Site("forward", "F.relu(F.relu(x) - 1)", 0, "outer")
ITEMS = Site("further", "F.relu(item)", 0, "items")


class Plus(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number, self.calls = number, 0

    def forward(self, x):
        self.calls += 1
        return x + self.number


def net_of(**layers):
    sites = [site for site in (FIRST, IN_PLACE, OUTER, ITEMS) if site.layer in layers]
    net = Net()
    for name, layer in layers.items():
        net.add_module(name, layer)
    net.__class__ = rewritten(Net, sites)
    return net


def test_one_call():
    # x = 0: 0 → +2 → relu(2 - 1) = 1 → +2 → relu(3 - 1) = 2
    net = net_of(first=Plus(2))
    assert net(torch.zeros(1)) == [torch.tensor([2.0])]
    assert net.first.calls == 2, "the same layer each time"


def test_a_call_around_another_one():
    # -1 → relu, in place: 0 → +2 → (2 - 1) + 10 = 11 → +2 → (13 - 1) + 10 = 22
    assert net_of(first=Plus(2), outer=Plus(10))(torch.tensor([-1.0])) == [torch.tensor([22.0])]


def test_what_worked_in_place_is_assigned():
    # The layer answers another tensor, which the forward has to go on with: 3 + 4 = 7, then twice - 1
    x = torch.tensor([3.0])
    assert net_of(in_place=Plus(4))(x) == [torch.tensor([5.0])]
    assert x == 3


def test_a_method_and_a_comprehension():
    assert net_of(items=Plus(-7))(torch.tensor([3.0])) == [torch.tensor(-6.0)]


def test_the_class_is_known_by_its_own_name():
    kind = rewritten(Net, [FIRST])
    assert (kind.__name__, kind.__qualname__, kind.__module__) == ("Net", "Net", __name__)
    assert issubclass(kind, Net)
    assert original(kind) is Net
    assert original(Net) is Net
    assert sites_of(kind) == (FIRST,)
    assert sites_of(Net) == ()


def test_one_class_for_the_same_calls():
    kind = rewritten(Net, [OUTER, FIRST])
    assert rewritten(Net, [FIRST, OUTER]) is kind
    assert rewritten(Net, [FIRST]) is not kind


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    net = net_of(first=Plus(2))
    loaded = pickle.loads(pickle.dumps(net, protocol))
    assert type(loaded) is type(net)
    assert loaded(torch.zeros(1)) == [torch.tensor([2.0])]
    assert loaded.first is not net.first


def test_a_fresh_process_makes_the_class_anew(monkeypatch):
    data = pickle.dumps(net_of(first=Plus(2)))
    monkeypatch.setattr(rewriting, "_CLASSES", {})
    assert pickle.loads(data)(torch.zeros(1)) == [torch.tensor([2.0])]


def test_deepcopy():
    net = net_of(first=Plus(2))
    twin = copy.deepcopy(net)
    assert type(twin) is type(net)
    twin.first.number = 5
    assert net(torch.zeros(1)) == [torch.tensor([2.0])]


def test_torch_save(tmp_path):
    torch.save(net_of(first=Plus(2)), tmp_path / "net.pt")
    assert torch.load(tmp_path / "net.pt", weights_only=False)(torch.zeros(1)) == [torch.tensor([2.0])]


@pytest.mark.parametrize(
    ("site", "why"),
    [
        (Site("forward", "F.relu(y)", 0, "relu"), "it is not there"),
        (Site("forward", "F.relu(x)", 1, "relu"), "it is not there"),
        (Site("backward", "F.relu(x)", 0, "relu"), "there is no such method"),
    ],
)
def test_the_source_has_changed_since(site, why):
    with pytest.raises(ts.RecipeError, match=f"can't be made a layer: {why}") as caught:
        rewritten(Net, [site])
    assert caught.value.expected == site.text


def test_a_traceback_shows_the_line_that_was_written():
    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("here")

    with pytest.raises(ValueError) as caught:
        net_of(outer=Failing(), first=Plus(0))(torch.zeros(1))
    frames = traceback.extract_tb(caught.value.__traceback__)
    frame = next(f for f in frames if f.line == "x = F.relu(F.relu(x) - 1)")
    assert (frame.filename, frame.name) == (__file__, "forward")


def test_torchscript_does_not_compile_the_old_source():
    # It reads the file, where the function is still called.
    class Small(nn.Module):
        def forward(self, x):
            return F.relu(x)

    small = Small()
    small.relu = nn.Tanh()
    small.__class__ = rewritten(Small, [Site("forward", "F.relu(x)", 0, "relu")])
    assert small(torch.ones(1)) == torch.tensor([1.0]).tanh()
    assert torch.jit.script(small)(torch.ones(1)) == torch.tensor([1.0]).tanh()
    with pytest.raises(torch.jit.Error, match="annotated to be ignored and cannot be run"):
        torch.jit.script(nn.Sequential(small))(torch.ones(1))
