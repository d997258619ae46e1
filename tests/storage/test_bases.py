"""What a recipe is replayed on: a model as its builder makes it, without values."""

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.storage.bases import prepared


def on_meta(model):
    return all(p.is_meta for p in model.parameters())


def test_builders_are_called_for_the_meta_device():
    seen = []

    def build():
        seen.append(torch.ones(1).device.type)
        return nn.Linear(2, 2)

    assert on_meta(prepared(build, False).model)
    assert seen == ["meta"]


def test_one_that_computes_is_called_again_as_it_is():
    seen = []

    def build():
        seen.append(torch.ones(1).sum().item())
        return nn.Linear(2, 2)

    assert on_meta(prepared(build, False).model)
    assert seen == [1.0]


def test_tensors_that_no_file_could_bring_are_made():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = torch.arange(3.0), nn.Linear(2, 2)

    assert prepared(Plain, True).model.table.is_meta  # where the structure is all that is asked for
    fresh = prepared(Plain, False).model
    assert torch.equal(fresh.table, torch.arange(3.0)) and on_meta(fresh)


def test_references():
    assert on_meta(prepared("torchvision:squeezenet1_1", False).model)


def test_a_model_is_used_itself_and_restored():
    net = nn.Linear(2, 2)
    weight = net.weight
    fresh = prepared(net, False)
    assert fresh.model is net and on_meta(net) and fresh.device == torch.device("cpu")
    fresh.restore()
    assert net.weight is weight


def test_random_numbers_and_warnings_stay_where_they_are():
    import warnings

    def build():
        warnings.warn("an old builder", DeprecationWarning, stacklevel=1)
        float(torch.rand(1))
        return nn.Linear(2, 2)

    before = torch.random.get_rng_state()
    prepared(build, False)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_no_base():
    for base in (3, None, [nn.ReLU()]):
        with pytest.raises(ts.RecipeError, match="a builder, a model or a reference"):
            prepared(base, False)
    with pytest.raises(ts.RecipeError, match="gives a int, and no model"):
        prepared(lambda: 3, False)


def test_errors_of_a_builder_are_its_own():
    def build():
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        prepared(build, False)
