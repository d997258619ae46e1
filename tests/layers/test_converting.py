import random
import time

import numpy as np
import pytest
import torch
from holding import converted
from torch import nn
from torch.nn.utils import parametrizations, prune

from torchsurgery.errors import ConfigError
from torchsurgery.layers.assembling import build
from torchsurgery.layers.building import signature_of
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert, like


class FusedReLU(nn.Module):
    def __init__(self, p=0.1, inplace=False):
        super().__init__()
        self.p, self.inplace, self.drop = p, inplace, nn.Dropout(p)

    def forward(self, x):
        return self.drop(torch.relu(x))


class Named(nn.Linear):
    """Nothing of its own."""


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Scaled(nn.Linear):
    def __init__(self, in_features, out_features, scale=1.0, bias=True):
        super().__init__(in_features, out_features, bias)
        self.scale = scale


class Forwarding(nn.Linear):
    def __init__(self, *args, scale=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale


class Slotted(nn.Linear):
    __slots__ = ("note",)


# --- user classes, unregistered


def test_a_class_with_a_signature_like_torchs():
    found, new = converted(nn.ReLU(inplace=True), FusedReLU)
    assert found.config == {"inplace": True} and new.inplace and new.p == 0.1
    assert found.fidelity is Fidelity.APPROXIMATE and found.error is None
    assert found.remarks == ("FusedReLU has a forward of its own",)


# --- subclasses


def test_a_subclass_without_a_constructor_adopts():
    old = nn.Linear(2, 3)
    found, new = converted(old, Doubled)
    assert found.adopts and found.fidelity is Fidelity.APPROXIMATE and type(new) is Doubled
    assert vars(new).keys() == vars(old).keys() and new.weight is old.weight and new.bias is old.bias
    assert new._parameters is not old._parameters and new._buffers is not old._buffers
    assert convert(old, Named).fidelity is Fidelity.EXACT and convert(old, nn.Linear).adopts


def test_adopting_takes_no_hooks_along():
    old = nn.Linear(2, 3)
    old.register_forward_hook(lambda *_: None)
    new = like(old, Named)
    assert not new._forward_hooks and len(old._forward_hooks) == 1
    new.register_forward_hook(lambda *_: None)
    new.tag = "new"
    assert len(old._forward_hooks) == 1 and not hasattr(old, "tag")


@pytest.mark.parametrize("new", [Scaled, Forwarding, Slotted, FusedReLU])
def test_others_are_built(new):
    assert not convert(nn.Linear(2, 3) if new is not FusedReLU else nn.ReLU(), new).adopts


def test_overrides_are_no_adoption():
    old = nn.Linear(2, 3)
    found, new = converted(old, Scaled, scale=3.0)
    assert not found.adopts and new.scale == 3.0 and new.weight is old.weight
    assert found.fidelity is Fidelity.EXACT


def test_arguments_behind_kwargs_are_those_of_the_base():
    assert signature_of(Forwarding).required == ("in_features", "out_features")
    old = nn.Linear(2, 3, bias=False)
    new = like(old, Forwarding, scale=2.0)
    assert new.weight is old.weight and new.bias is None and new.scale == 2.0


def test_a_users_class_keeps_its_own_arguments():
    old = Scaled(2, 3, scale=5.0)
    found, new = converted(old, Scaled, bias=False)
    assert new.scale == 5.0 and new.bias is None and found.lost == ("bias",)


def test_a_subclass_with_a_forward_of_its_own_is_not_its_base():
    class Activated(nn.BatchNorm2d):
        def forward(self, x):
            return torch.relu(super().forward(x))

    old = Activated(4)
    with pytest.raises(ConfigError, match="forward of its own"):
        convert(old, nn.GroupNorm, {"num_groups": 2})
    accepted = convert(old, nn.GroupNorm, {"num_groups": 2}, accept_subclass=True)
    assert accepted.config["num_channels"] == 4
    assert type(build(convert(old, Activated, {"eps": 1e-3}), old)) is Activated


# --- refusals
@pytest.mark.parametrize("new", [nn.functional.relu, "ReLU", nn.ReLU(), int, None])
def test_only_classes_of_layers(new):
    with pytest.raises(ConfigError, match="must be an nn"):
        convert(nn.ReLU(), new)


def lazy():
    return nn.LazyLinear(3)


def parametrized():
    return parametrizations.weight_norm(nn.Linear(2, 3))


def pruned():
    return prune.l1_unstructured(nn.Linear(2, 3), "weight", 0.5)


def normed():
    return torch.nn.utils.weight_norm(nn.Linear(2, 3))


def spectral():
    return torch.nn.utils.spectral_norm(nn.Linear(2, 3))


def scripted():
    return torch.jit.script(nn.Linear(2, 3))


def compiled():
    return torch.compile(nn.Linear(2, 3))


@pytest.mark.parametrize("make", [lazy, parametrized, pruned, normed, spectral, scripted, compiled])
def test_layers_that_are_more_than_their_class(make):
    old = make()
    with pytest.raises(ConfigError, match="can't be converted") as refusal:
        convert(old, nn.Conv1d)
    assert refusal.value.way_out
    with pytest.raises(ConfigError):
        convert(old, type(old), {"bias": True})


def test_a_parametrized_layer_is_not_adopted():
    old = parametrized()
    with pytest.raises(ConfigError, match="remove_parametrizations"):
        convert(old, type(old))


def test_lazy_classes_have_no_sizes():
    with pytest.raises(ConfigError, match="use the class that it becomes: Linear"):
        convert(nn.Linear(2, 3), nn.LazyLinear)


def test_a_constructor_that_raises():
    class Fails(nn.Module):
        def __init__(self, inplace):
            raise OSError("no such file")

    with pytest.raises(ConfigError, match="OSError: no such file") as refusal:
        convert(nn.ReLU(), Fails)
    assert isinstance(refusal.value.__cause__, OSError)


def test_arguments_that_left_no_trace_are_not_guessed():
    class Forgets(nn.Module):
        def __init__(self, width):
            super().__init__()

        def forward(self, x):
            return x

    class Wants(nn.Module):
        def __init__(self, width, p=0.1):
            super().__init__()

    with pytest.raises(ConfigError, match="cannot recover"):
        convert(Forgets(3), Wants)
    assert convert(Forgets(3), Wants, {"width": 3}).config == {"width": 3}


# --- nothing is touched


def everything(layer):
    tensors = [*layer.parameters(), *layer.buffers()]
    return vars(layer).copy(), [(id(t), t._version, t.requires_grad, t.clone()) for t in tensors]


@pytest.mark.parametrize(
    ("old", "new", "overrides"),
    [
        (nn.BatchNorm2d(8), nn.GroupNorm, {"num_groups": 2}),
        (nn.Conv2d(2, 4, 3), nn.Conv2d, {"kernel_size": 5}),
        (nn.Conv2d(2, 4, 3), nn.Conv2d, {"in_channels": 3}),
        (nn.Linear(2, 3), nn.Conv2d, {}),
        (nn.Linear(2, 3), Doubled, {}),
        (nn.PReLU(), nn.LeakyReLU, {}),
    ],
)
def test_the_old_layer_and_the_random_state_stay(old, new, overrides):
    hook = old.register_forward_hook(lambda *_: None)
    before, tensors = everything(old)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    found = convert(old, new, overrides)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    build(found, old)
    after, now = everything(old)
    assert before == after and hook.id in old._forward_hooks
    for one, other in zip(tensors, now, strict=True):
        assert one[:3] == other[:3] and torch.equal(one[3], other[3])


def test_a_constructor_that_draws_random_numbers_leaves_no_trace():
    class Random(nn.Module):
        def __init__(self, in_features):
            super().__init__()
            self.note = random.random() + np.random.rand() + torch.rand(1, device="cpu").item()

    old = nn.Linear(2, 3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    convert(old, Random)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_adopting_is_fast():
    old = nn.Linear(2, 2)
    convert(old, Doubled)
    start = time.perf_counter()
    for _ in range(2000):
        convert(old, Doubled)
    assert (time.perf_counter() - start) / 2000 < 20e-6
