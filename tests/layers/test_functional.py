"""Functions and the layers that do the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchsurgery.layers import functional
from torchsurgery.layers.functional import layer_arguments, method_spelling, refusal_of, spelling_of

# What a call of each function is made with, besides its input; () where its defaults do.
ARGUMENTS = {
    "threshold": (0.1, 2.0),
    "pixel_shuffle": (2,),
    "pixel_unshuffle": (2,),
    "channel_shuffle": (2,),
    "fold": ((4, 4), (2, 2)),
    "unfold": ((2, 2),),
    "interpolate": ((3, 5),),
    **{name: (1,) for name in ("softmax", "log_softmax", "softmin", "glu")},
    **{f"{kind}_pool{n}d": (2,) for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)},
    **{f"lp_pool{n}d": (2.0, 2) for n in (1, 2, 3)},
}
SHAPES = {1: (2, 4, 6), 2: (2, 4, 4, 6), 3: (2, 4, 4, 4, 6)}
SPELLINGS = sorted(functional._BY_CALLEE.values(), key=lambda spelling: spelling.text)


def shape_for(name):
    if name == "fold":
        return (1, 8, 9)
    return SHAPES[int(name[-2])] if name[-1] == "d" and name[-2] in "123" else SHAPES[2]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.text)
def test_the_layer_does_what_the_function_does(spelling):
    """With the function's own defaults: where the layer's differ, the table has to say so."""
    function, values = spelling.function, ARGUMENTS.get(spelling.function.name, ())
    x = torch.randn(shape_for(function.name))
    arguments = {**spelling.fixed, **dict(zip(spelling.parameters, values, strict=False))}
    if refusal_of(function, arguments):
        pytest.skip("in place, which the layer can't")
    layer = function.layer(**layer_arguments(function, arguments)).eval()
    mode = {"training": False} if "training" in spelling.parameters and spelling.text.startswith("F.") else {}
    rest = (0.5, False) if spelling.text.startswith("torch.") and "dropout" in spelling.text else values
    assert torch.equal(layer(x.clone()), spelling.callee(x.clone(), *rest, **mode))


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.text)
def test_every_parameter_is_the_layers_or_says_when_it_is_nothing(spelling):
    layer = set(functional.signature_of(spelling.function.layer).names)
    neutral = set(spelling.function.neutral) | {"dtype", "inplace"}
    assert set(spelling.parameters) <= layer | neutral


@pytest.mark.parametrize(
    ("callee", "name", "fixed"),
    [
        (F.relu, "relu", {}),
        (torch.relu, "relu", {}),
        (torch.relu_, "relu", {"inplace": True}),
        (F.leaky_relu_, "leaky_relu", {"inplace": True}),
        (Tensor.softmax, "softmax", {}),
        (torch.flatten, "flatten", {"start_dim": 0}),
    ],
    ids=["F.relu", "torch.relu", "torch.relu_", "F.leaky_relu_", "Tensor.softmax", "torch.flatten"],
)
def test_spellings(callee, name, fixed):
    spelling = spelling_of(callee)
    assert spelling.function.name == name
    assert spelling.fixed == fixed


@pytest.mark.parametrize("thing", [torch.cat, F.linear, nn.ReLU, "relu", None, [F.relu]], ids=range(6))
def test_no_spelling(thing):
    assert spelling_of(thing) is None


def test_methods():
    assert method_spelling("relu_").fixed == {"inplace": True}
    assert method_spelling("max_pool2d") is None


def test_what_the_layer_does_not_have():
    softmax = spelling_of(F.softmax).function
    assert refusal_of(softmax, {"dim": 1, "dtype": None, "_stacklevel": 3}) is None
    assert refusal_of(softmax, {"dim": 1, "dtype": "float"}) == "nn.Softmax has no dtype, which is 'float'"
    assert refusal_of(spelling_of(torch.tanh_).function, {"inplace": True}) == "nn.Tanh has no inplace, which is True"
