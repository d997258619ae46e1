"""What one edit sees of the model."""

import pytest
import torch
from torch import nn

from torchsurgery.layers.building import tensors_of
from torchsurgery.origins import is_plain_float
from torchsurgery.planning.scene import Scene, floating_tensor
from torchsurgery.selection import Place
from torchsurgery.tree import Draft


def scene(model, *names):
    places = tuple(Place(model.get_submodule(name), (name,)) for name in names)
    return Scene(Draft(model), places, False)


def dtype_at(model, name):
    where = scene(model, name)
    reference = where.reference(where.places[0])
    return None if reference is None else reference.dtype


@pytest.fixture
def mixed():
    """A float32 head, a bf16 block with activations in it and one block without any tensor."""
    block = nn.Sequential(nn.ReLU(), nn.Linear(2, 2).bfloat16(), nn.Sequential(nn.ReLU()))
    return nn.Sequential(nn.Linear(2, 2), block, nn.Sequential(nn.Sequential(nn.ReLU())))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("0", torch.float32),
        ("1.1", torch.bfloat16),
        ("1.0", torch.bfloat16),
        ("1.2.0", torch.bfloat16),
        ("2.0.0", torch.float32),
    ],
    ids=["its own", "its own bf16", "beside it", "nearest around", "anywhere"],
)
def test_the_nearest_tensor_tells_dtype_and_device(mixed, name, dtype):
    assert dtype_at(mixed, name) is dtype


def test_a_model_without_tensors_tells_none():
    assert dtype_at(nn.Sequential(nn.ReLU()), "0") is None
    assert dtype_at(nn.ReLU(), "") is None


def test_integers_and_storage_formats_do_not_tell():
    module = nn.Module()
    module.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    module.register_buffer("stored", torch.zeros(1).to(torch.float8_e4m3fn))
    assert floating_tensor(module) is None
    module.register_buffer("scale", torch.zeros(1, dtype=torch.float64))
    assert floating_tensor(module).dtype is torch.float64
    assert not is_plain_float(module.stored)


def test_holders_name_every_place_of_a_parameter():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    holders = scene(net).holders
    assert holders[id(net[0].weight)] == ["0.weight", "1.weight"]
    assert holders[id(net[0].bias)] == ["0.bias"]


def test_present_are_the_modules_and_who_stands_for_them():
    net = nn.Sequential(nn.ReLU())
    draft, new, old = Draft(net), nn.GELU(), net[0]
    spots = draft.spots()[old]
    draft.become(old, new)
    draft.put([(spots, new)])
    assert Scene(draft, (), False).present == {net, new, old}


def test_tensors_by_name_shared_ones_under_each():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, affine=False))
    net.add_module("again", net[0])
    assert list(tensors_of(net)) == [
        "0.weight",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "again.weight",
    ]
    assert tensors_of(net)["again.weight"] is net[0].weight
