"""What is noted of modules and tensors, and the lines that are written of it later."""

import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.lines import ModuleNote, TensorNote, tensor_notes
from torchsurgery.recipes.structure import Parts, structure_of


class Window(nn.Module):
    """A layer of a user's, with what torch's layers don't have."""

    def __init__(self, sizes, scale=1.0, inner=None):
        super().__init__()
        self.sizes, self.scale, self.inner = sizes, scale, inner
        self.num_heads, self.calls = 4, 3


def test_arguments_but_for_defaults():
    assert ModuleNote.of(nn.Linear(2, 3)).line() == "nn.Linear(in_features=2, out_features=3)"
    assert ModuleNote.of(nn.ReLU(inplace=True)).line() == "nn.ReLU(inplace=True)"
    assert ModuleNote.of(Window([1, 2])).line() == "Window(sizes=[1, 2], num_heads=4)"
    assert ModuleNote.of(Window((1, True), 2)).line() == "Window(sizes=(1, True), scale=2, num_heads=4)"


def test_what_is_no_plain_value_is_not_told():
    assert ModuleNote.of(Window(torch.ones(2), inner=nn.ReLU())).line() == "Window(num_heads=4)"
    assert ModuleNote.of(Window(list(range(64)))).line() == "Window(num_heads=4)"
    assert ModuleNote.of(Window([[1]])).line() == "Window(num_heads=4)"


def test_the_order_of_parts_where_it_is_not_that_of_numbers():
    assert ModuleNote.of(nn.Sequential(nn.ReLU(), nn.Tanh())).line() == "nn.Sequential()"
    assert ModuleNote.of(nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})).line() == "nn.ModuleDict() of b, a"


def test_a_module_of_another_class():
    assert ModuleNote.of(nn.ReLU(), nn.Hardswish).line() == "nn.Hardswish()"


def test_a_note_stays_what_it_was():
    layer = Window([1, 2])
    note = ModuleNote.of(layer)
    layer.sizes.append(3)
    layer.num_heads, layer.scale = 8, 7.0
    layer.more = nn.ReLU()
    assert note.line() == "Window(sizes=[1, 2], num_heads=4)"


def test_tensors():
    norm = nn.BatchNorm1d(3)
    norm.register_buffer("scratch", torch.zeros(2, dtype=torch.bool), persistent=False)
    assert {name: note.line() for name, _, note in tensor_notes(norm.half())} == {
        "weight": "parameter (3) float",
        "bias": "parameter (3) float",
        "running_mean": "buffer (3) float",
        "running_var": "buffer (3) float",
        "num_batches_tracked": "buffer () int64",
        "scratch": "unsaved buffer (2) bool",
    }
    assert list(tensor_notes(nn.BatchNorm1d(3, affine=False, track_running_stats=False))) == []
    (note, _) = [note for _, _, note in tensor_notes(nn.LazyLinear(3))]
    assert note.line() == "parameter without a shape yet"
    assert TensorNote("buffer", torch.Size([2]), torch.float8_e5m2).line() == "buffer (2) float8_e5m2"


def test_parts_are_those_of_before():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 4), nn.ReLU()), nn.Linear(4, 2))
    net[1].again = net[0][0]
    before = structure_of(net).lines
    noted = [
        Parts(net, {"0"}),
        Parts(net, {"0.0", "0", "1"}),
        Parts(net, {"1.again"}),
        Parts(net, {""}),
        Parts(net, ()),
    ]
    ts.prune(net, "0.0", 0.5, example_inputs=torch.ones(1, 2))
    of_first = {name: before[name] for name in ("0", "0.0", "0.0.weight", "0.0.bias", "0.1")}
    of_last = {name: before[name] for name in ("1", "1.weight", "1.bias", "1.again")}
    assert noted[0].lines == {"0": of_first}
    assert noted[1].lines == {"0": of_first, "1": of_last}
    assert noted[2].lines == {"1.again": {"1.again": "is 0.0"}}
    assert noted[3].lines == {"": before}
    assert noted[4].lines == {}
