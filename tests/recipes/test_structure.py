"""What a model is made of, line by line: what counts as the same, and where two differ first."""

import copy

import pytest
import torch
import torchvision
from torch import nn

import torchsurgery as ts
from torchsurgery.recipes.structure import Structure, structure_of


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


def test_lines():
    model = net()
    model.register_buffer("scratch", torch.zeros(2, dtype=torch.int32), persistent=False)
    model.tied = nn.Linear(2, 2, bias=False)
    model.also = nn.Linear(2, 2, bias=False)
    model.also.weight = model.tied.weight
    model.again = model[2]
    lines = structure_of(model).lines
    assert lines["0"].startswith("nn.Conv2d(in_channels=3, out_channels=4, kernel_size=(3, 3)")
    assert lines["1.running_mean"] == "buffer (4) float"
    assert lines["1.num_batches_tracked"] == "buffer () int64"
    assert lines["scratch"] == "unsaved buffer (2) int32"
    assert lines["also.weight"] == "parameter (2, 2) float, tied to tied.weight"
    assert structure_of(model, ties=False) == structure_of(model).untied != structure_of(model)
    assert lines["again"] == "is 2"
    assert lines[""] == "nn.Sequential() of 0, 1, 2, tied, also, again"


def test_what_does_not_count():
    model, other = net(), net()
    same = structure_of(model)
    assert same == structure_of(other)  # other values
    assert same == structure_of(copy.deepcopy(model))
    assert same == structure_of(other.bfloat16().eval().requires_grad_(False))
    assert same == structure_of(other.to("meta"))
    other(torch.empty(1, 3, 4, 4, device="meta", dtype=torch.bfloat16))
    other.register_forward_hook(lambda *_: None)
    assert same == structure_of(other)
    assert same.sha256 == structure_of(other).sha256


CHANGES = {
    "an argument": lambda m: setattr(m[0], "padding", (0, 0)),
    "a class": lambda m: m.__setitem__(2, nn.GELU()),
    "a subclass": lambda m: setattr(m[2], "__class__", type("FusedReLU", (nn.ReLU,), {})),
    "a parameter": lambda m: m[0].register_parameter("bias", None),
    "a shape": lambda m: setattr(m[1], "weight", nn.Parameter(torch.ones(5))),
    "a kind": lambda m: m[1]._buffers.update(weight=m[1]._parameters.pop("weight")),
    "persistence": lambda m: m[1]._non_persistent_buffers_set.add("running_mean"),
    "an integer dtype": lambda m: m[1]._buffers.update(num_batches_tracked=torch.zeros((), dtype=torch.int32)),
    "a tie": lambda m: setattr(m[1], "bias", m[1].weight),
    "one more": lambda m: m.append(nn.ReLU()),
    "one less": lambda m: m.pop(2),
    "the order": lambda m: m._modules.update({"0": m._modules.pop("0")}),
    "an eps": lambda m: setattr(m[1], "eps", 1e-3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_counts(name):
    model, other = net(), net()
    CHANGES[name](other)
    one, two = structure_of(model), structure_of(other)
    assert one != two and one.sha256 != two.sha256
    path, expected, got = one.difference(two)
    assert expected != got
    assert path.split(".")[0] in ("", "0", "1", "2", "3")


def test_the_first_difference():
    one, two = structure_of(torchvision.models.resnet18()), structure_of(torchvision.models.resnet34())
    assert one.difference(one) is None
    assert one.difference(two) == ("layer1.2", None, "BasicBlock()")
    assert two.difference(one)[0] == "layer1.2"


def test_configurations_of_heads_count_where_no_shape_tells():
    import transformers

    def bert(heads):
        sizes = dict(vocab_size=8, hidden_size=24, num_hidden_layers=1, intermediate_size=8)
        return transformers.BertModel(transformers.BertConfig(**sizes, num_attention_heads=heads))

    path, expected, got = structure_of(bert(4)).difference(structure_of(bert(6)))
    assert "num_attention_heads=4" in expected and "num_attention_heads=6" in got and "attention" in path


def test_calls_that_became_layers_count():
    model = torchvision.models.densenet121()
    before = structure_of(model)
    ts.calls_to_layers(model, nn.functional.relu)
    assert structure_of(model).lines[""] != before.lines[""]
    assert "calling relu for F.relu" in structure_of(model).lines[""]


def test_text_there_and_back():
    structure = structure_of(torchvision.models.resnet18())
    assert Structure.of_text(structure.text) == structure
    assert Structure.of_text(structure.text).sha256 == structure.sha256


def test_layers_without_a_shape_yet():
    assert structure_of(nn.Sequential(nn.LazyLinear(3))).lines["0.weight"] == "parameter without a shape yet"
