"""Which layers feed which: hand-made models whose every wire is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sameness import portrait
from torchsurgery.errors import TraceError
from torchsurgery.flow import follow
from torchsurgery.inputs import followed

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def run(model, *inputs, **options):
    return follow(model.eval(), inputs or (X,), {}, **options)


def module(**children):
    """A module with these children, whose forward is the given function of itself and its input."""
    forward = children.pop("forward")
    made = type("Made", (nn.Module,), {"forward": forward})()
    for name, child in children.items():
        setattr(made, name, child)
    return made


def call(flow, name):
    return next(node for node in flow.nodes if node.kind == "layer" and node.name == name)


def words(sources):
    return {source.node.name: [step.name for step in source.operations] for source in sources}


def test_a_chain():
    flow = run(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)))
    assert [(node.kind, node.name) for node in flow.nodes] == [
        ("input", "input"),
        ("layer", "0"),
        ("layer", "1"),
        ("layer", "2"),
        ("output", "output"),
    ]
    assert [node.inputs for node in flow.nodes[1:]] == [(node,) for node in flow.nodes[:-1]]
    assert call(flow, "0").shapes == ((2, 4, 6, 6),)


def test_operations_between_layers():
    def forward(self, x):
        x = F.relu(self.conv(x))
        return self.fc(F.pad(x.flatten(1), (1, 1)))

    flow = run(module(conv=nn.Conv2d(3, 1, 1), fc=nn.Linear(66, 2), forward=forward))
    assert words(flow.sources(call(flow, "fc"))) == {"conv": ["relu", "view", "constant_pad_nd"]}
    assert words(flow.sinks(call(flow, "conv"))) == {"fc": ["relu", "view", "constant_pad_nd"]}
    assert [node.name for node in flow.consumers(call(flow, "conv"))] == ["relu"]


def test_branches_meet_again():
    def forward(self, x):
        y = self.a(x)
        return torch.cat([self.b(y) + y, x], 1)

    flow = run(module(a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1), forward=forward))
    assert words(flow.sources(flow.outputs[0])) == {"x": ["cat"], "a": ["add", "cat"], "b": ["add", "cat"]}
    assert {node.name for node in flow.consumers(call(flow, "a"))} == {"b", "add"}


def test_a_layer_called_twice_is_two_calls():
    def forward(self, x):
        return self.conv(self.conv(x))

    model = module(conv=nn.Conv2d(3, 3, 1), forward=forward)
    flow = run(model)
    first, second = flow.calls(model.conv)
    assert second.inputs == (first,)
    assert flow.readers[id(model.conv.weight)] == (first, second)


@pytest.mark.parametrize("hand_on", [nn.Identity(), nn.Dropout(0.5), nn.Dropout(0.5, inplace=True)])
def test_what_hands_on_its_input_is_nothing_between(hand_on):
    flow = run(nn.Sequential(nn.Conv2d(3, 4, 1), hand_on, nn.BatchNorm2d(4)))
    assert call(flow, "1").passes
    assert flow.consumers(call(flow, "0")) == (call(flow, "2"),)
    assert flow.giver(call(flow, "2").inputs[0]) is call(flow, "0")
    assert words(flow.sources(call(flow, "2"))) == {"0": []}


def test_an_inplace_layer_is_between():
    flow = run(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(4)))
    assert call(flow, "2").inputs == (call(flow, "1"),)


def test_an_inplace_operation_on_an_alias_is_between():
    def forward(self, x):
        y = self.a(x)
        y.view(-1).relu_()
        return self.b(y)

    flow = run(module(a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1), forward=forward))
    names = [source.node.name for source in flow.sources(call(flow, "b"))]
    (alias,) = call(flow, "b").inputs
    assert names == ["a"]
    assert [node.name for node in alias.inputs] == ["a", "relu"]


def test_a_hook_that_changes_the_output_is_between():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[0].register_forward_hook(lambda layer, given, answer: answer * 2)
    flow = run(model)
    assert words(flow.sources(call(flow, "1"))) == {"0": ["mul"]}


def test_parameters_and_constants_are_sources():
    def forward(self, x):
        return self.fc(x * self.scale + torch.ones(4))

    model = module(fc=nn.Linear(4, 2), scale=nn.Parameter(torch.ones(4)), forward=forward)
    flow = run(model, torch.randn(2, 4))
    found = flow.sources(call(flow, "fc"))
    assert {source.node.kind: source.node.name for source in found} == {"input": "x", "parameter": "scale"}


def test_a_weight_read_by_another_is_seen():
    def forward(self, ids):
        return F.linear(self.embedding(ids), self.embedding.weight)

    model = module(embedding=nn.Embedding(5, 3), forward=forward)
    flow = run(model, torch.tensor([[1, 2]]))
    first, *others = flow.readers[id(model.embedding.weight)]
    assert (first.name, {node.kind for node in others}) == ("embedding", {"operation"})


def test_what_is_kept_in_a_module_is_an_output():
    def forward(self, x):
        self.__dict__["seen"] = y = self.conv(x)
        return F.relu(y)

    model = module(conv=nn.Conv2d(3, 3, 1), forward=forward)
    before = portrait(model.eval())
    flow = run(model)
    assert [node.name for node in flow.outputs] == ["output", "seen"]
    assert portrait(model) == before


def test_outputs_have_their_paths():
    def forward(self, x):
        return {"a": self.conv(x), "b": [x, x.sum()]}

    flow = run(module(conv=nn.Conv2d(3, 3, 1), forward=forward))
    assert [node.name for node in flow.outputs] == ["output.a", "output.b[0]", "output.b[1]"]


def test_layers_that_are_not_called_are_named():
    def forward(self, x):
        return F.conv2d(x, self.conv.weight)

    flow = run(module(conv=nn.Conv2d(3, 3, 1, bias=False), forward=forward))
    assert flow.uncalled == ("conv",)


def test_a_model_that_is_one_layer():
    flow = run(nn.Linear(4, 2), torch.randn(1, 4))
    assert [node.kind for node in flow.nodes] == ["input", "layer", "output"]


def test_on_meta():
    flow = run(nn.Sequential(nn.Linear(4, 2, device="meta"), nn.ReLU()), torch.randn(1, 4))
    assert [node.name for node in flow.nodes] == ["input", "0", "1", "output"]


def test_modes(resnet18):
    model = nn.Sequential(nn.Dropout(0.5)).train()
    assert not follow(model, (X,), {}, train=True).nodes[1].passes
    assert follow(model, (X,), {}).nodes[1].passes
    assert model.training


@pytest.mark.parametrize("train", [False, True])
def test_the_model_is_left_as_it_was(resnet18, train):
    resnet18.train(train)
    before = portrait(resnet18)
    flow = follow(resnet18, (torch.randn(2, 3, 64, 64, generator=torch.Generator()),), {}, train=train)
    assert portrait(resnet18) == before
    assert len([node for node in flow.nodes if node.kind == "layer"]) == 20 + 20 + 17 + 3


def test_a_failing_run_names_the_module_and_leaves_the_model(resnet18):
    before = portrait(resnet18)
    with pytest.raises(
        TraceError, match=r"ResNet can't be run on inputs \(2, 4, 8, 8\), in conv1 \(Conv2d\)"
    ) as caught:
        followed(resnet18, torch.zeros(2, 4, 8, 8))
    assert portrait(resnet18) == before
    assert caught.value.name == "conv1"
    assert "example_inputs" in caught.value.way_out
