"""Scored all at once, channels get what each family gets by itself."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import torchsurgery as ts
from torchsurgery.coupling.solving.joining import joined
from torchsurgery.importance import Sources, scores_of
from torchsurgery.importance.totals import totals_of
from torchsurgery.tree import Draft

IMAGE = torch.zeros(1, 3, 64, 64)
MODELS = {
    "residuals": lambda: torchvision.models.resnet18(),
    "dense": lambda: torchvision.models.densenet121(),
    "groups": lambda: torchvision.models.regnet_x_400mf(),
    "shuffled": lambda: torchvision.models.shufflenet_v2_x0_5(),
    "heads": lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2),
    "depthwise": lambda: timm.create_model("mobilenetv3_small_050"),
}


def by_slices(by):
    """The same importance, as one that nobody knows."""
    return lambda slices: by(slices)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("by", [ts.importance.l1, ts.importance.l2])
def test_as_family_by_family(name, by):
    model = MODELS[name]().eval()
    coupling = ts.trace(model, IMAGE)
    families = coupling.families.lists
    at_once = scores_of(Sources(coupling, Draft(model).tensors()), families, by)
    one_by_one = scores_of(Sources(coupling, Draft(model).tensors()), families, by_slices(by))
    assert [len(scores) for scores in at_once] == [len(members) for members in families]
    np.testing.assert_allclose(joined(at_once), joined(one_by_one), rtol=1e-4, atol=1e-6)


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def test_only_weights_that_the_channels_reach_into_are_read(net):
    coupling = ts.trace(net, torch.zeros(1, 3))
    sources = Sources(coupling, Draft(net).tensors())
    members = coupling.classes.primes_of(coupling.classes.of(coupling.axis("0")))
    found = totals_of(sources, members, 1)
    wanted = net[0].weight.abs().sum(1) + net[0].bias.abs() + net[2].weight.abs().sum(0)
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-5)
    assert {name: list(axes) for (name, _), axes in sources.sums.items()} == {
        "0.weight": [0],
        "0.bias": [0],
        "2.weight": [1],
    }


def test_what_has_no_values_counts_nothing(net):
    coupling = ts.trace(net, torch.zeros(1, 3))
    sources = Sources(coupling, Draft(net.to("meta")).tensors())
    assert not totals_of(sources, joined(coupling.families.lists), 2).any()


def test_half_and_double_precision_beside_each_other(net):
    net[0].double()
    net[0].register_forward_pre_hook(lambda layer, args: (args[0].double(),))
    net[0].register_forward_hook(lambda layer, args, answer: answer.float())
    coupling = ts.trace(net, torch.zeros(1, 3))
    found = totals_of(Sources(coupling, Draft(net).tensors()), joined(coupling.families.lists), 2)
    assert found.dtype == np.float64
    assert (found > 0).all()


def test_weights_that_are_no_numbers_name_their_layer(net):
    with torch.no_grad():
        net[2].weight[1, 2] = float("nan")
    with pytest.raises(ts.CouplingError, match=r"numbers for 0\.weight that are none"):
        ts.prune(net, amount=0.5, example_inputs=torch.zeros(1, 3))
