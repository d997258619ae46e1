"""The model that a command is about, and its inputs."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.cli.sources import built, tensors_of
from torchsurgery.cli.terminal import Terminal
from torchsurgery.cli.values import Input, input_of


def test_the_model_is_in_eval_and_random_numbers_go_on(nets):
    before = torch.random.get_rng_state()
    source = built("nets.py:small(width=4)", None, [], Terminal())
    assert not source.model.training
    assert source.model[0].out_channels == 4
    assert torch.equal(torch.random.get_rng_state(), before)
    again = built("nets.py:small(width=4)", None, [], Terminal())
    assert all(torch.equal(a, b) for a, b in zip(source.model.parameters(), again.model.parameters(), strict=True))


def test_the_usual_inputs():
    assert built("torchvision:resnet18", None, [], Terminal()).example_inputs.shape == (1, 3, 224, 224)
    assert built("timm:resnet18", None, [], Terminal()).example_inputs.shape == (1, 3, 224, 224)


def test_inputs_are_found_where_a_model_says_enough(nets):
    assert built("nets.py:small", None, [], Terminal()).to_run.shape == (1, 3, 64, 64)
    source = built("nets.py:Pair", None, [], Terminal())
    assert source.example_inputs is None
    with pytest.raises(ts.TraceError, match="no inputs are known that"):
        source.to_run  # noqa: B018


def test_tensors():
    net = nn.Linear(2, 2).to(torch.float64)
    one = tensors_of([Input("", (1, 2), "")], net)
    assert (one.shape, one.dtype) == ((1, 2), torch.float64)
    assert torch.equal(one, tensors_of([Input("", (1, 2), "")], net))
    first, second = tensors_of([input_of("3:int64"), input_of("2:bool")], net)
    assert (first.tolist(), second.tolist()) == ([1, 1, 1], [True, True])
    assert tensors_of([input_of("ids=3:half")], net)["ids"].dtype == torch.float16


@pytest.mark.parametrize("names", [("a", ""), ("", "a"), ("a", "a")])
def test_names_of_inputs(names):
    with pytest.raises(ts.SourceError, match="all positional, or all named"):
        tensors_of([Input(name, (1,), "") for name in names], nn.ReLU())


def test_a_bare_name_is_refused_with_the_candidates(run):
    answer = run("inspect", "resnet18")
    assert answer.code == 2
    assert "there are torchvision:resnet18, timm:resnet18" in answer.err
    assert "closest names: torchvision:resnet" in run("inspect", "resnt18").err


def test_folders_that_are_not_there(run, nets):
    assert "there is no folder nothing/." in run("inspect", "nothing/").err
    assert "there is no folder ./nothing." in run("inspect", "hf:./nothing").err


def test_weights_that_are_none(run, nets):
    with open("w.pt", "w") as file:
        file.write("{}")
    assert "w.pt can't be read: it is no file of tensors" in run("inspect", "nets.py:small", "--weights", "w.pt").err


def test_a_file_in_the_place_of_the_model(run, nets):
    with open("r.yaml", "w") as file:
        file.write("- fold")
    assert "there is no file p.json" in run("apply", "p.json", "-o", "x").err
    assert "r.yaml is a recipe, and doesn't say for which model" in run("apply", "r.yaml", "-o", "x").err
