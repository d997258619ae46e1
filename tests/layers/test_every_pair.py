"""Every layer of `cases`, with each argument off its default, as every class that there is a rule for: exact is exact.

Pairs that are called otherwise than the old layer, such as over another number of axes, have tests of their own.
"""

import copy
import inspect

import pytest
import torch
from cases import CASES
from torch import nn
from torch.utils._pytree import tree_leaves

import torchsurgery as ts
from torchsurgery.layers.assembling import build
from torchsurgery.layers.conversion import Fidelity
from torchsurgery.layers.converting import convert
from torchsurgery.layers.recurrent import CELLS, LAYERS
from torchsurgery.layers.registry import targets_of

MODES = {Fidelity.EXACT: (True, False), Fidelity.EXACT_IN_EVAL: (False,)}
# Given where the new class asks for them.
FURTHER = {"num_groups": 4, "in_channels": 4, "rank": 30}
NAMES = [name for name, case in CASES.items() if case.inputs and not name.startswith("Lazy")]


def axes_of(cls):
    return int(cls.__name__[-2]) if cls.__name__[-1] == "d" and cls.__name__[-2].isdigit() else None


def called_otherwise(old, new):
    both = {axes_of(old), axes_of(new)} - {None}
    sequences = {old in LAYERS, new in LAYERS} == {old in CELLS, new in CELLS} == {True, False}
    shapes = old in (nn.Linear, nn.SyncBatchNorm, nn.Upsample, nn.GroupNorm) and axes_of(new) not in (None, 2)
    return len(both) > 1 or sequences or shapes or (old is nn.Linear and axes_of(new))


def layers(name):
    """A layer in double precision for each of the case's arguments, with numbers in it unlike fresh ones."""
    for config in CASES[name].configs():
        given = {k: v.double() if isinstance(v, torch.Tensor) else copy.deepcopy(v) for k, v in config.items()}
        layer = getattr(nn, name)(**given).double()
        with torch.no_grad():
            for key, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand_like(tensor) + 0.3 if "var" in key else torch.randn_like(tensor))
        yield layer


def answers(layer, inputs, training):
    torch.manual_seed(1)
    return [t for t in tree_leaves(layer.train(training)(*copy.deepcopy(inputs))) if isinstance(t, torch.Tensor)]


def further(cls):
    names = {n for base in cls.__mro__ if "__init__" in vars(base) for n in inspect.signature(base.__init__).parameters}
    return [{}, {name: value for name, value in FURTHER.items() if name in names}]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_called_exact_is_exact(name):
    for old in layers(name):
        inputs = [x.double() if x.is_floating_point() else x for x in CASES[name].inputs()]
        for new in targets_of(type(old)):
            if called_otherwise(type(old), new):
                continue
            for given in further(new):
                try:
                    conversion = convert(old, new, given)
                except ts.ConfigError:
                    continue
                layer = build(conversion, old, inputs[0])
                for training in MODES.get(conversion.fidelity, ()):
                    try:
                        before = answers(old, inputs, training)
                    except (ValueError, RuntimeError):
                        continue  # such as a BatchNorm without a batch
                    after = answers(layer, inputs, training)
                    assert [t.shape for t in before] == [t.shape for t in after], (old, conversion)
                    close = (torch.allclose(a, b, 1e-10, 1e-10, True) for a, b in zip(before, after, strict=True))
                    assert all(close), (old, training, conversion)
