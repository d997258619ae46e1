"""Classes that `config_of` was not made for: each is rebuilt right or refused, whatever its constructor does."""

import copy
import functools
import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from rebuilding import assert_computes_the_same, rebuilt
from torch import nn
from torch.nn import functional as F

from torchsurgery.errors import ConfigError
from torchsurgery.layers.config import config_of

# --- what is refused, since no call with the arguments that can be seen makes the layer


class Multiplied(nn.Linear):
    """Hands on something else than what it was given."""

    def __init__(self, in_features, out_features, mult=2):
        super().__init__(in_features, out_features * mult)


class Power(nn.Module):
    def __init__(self, dim, power=-0.5):
        super().__init__()
        self.scale = dim**power

    def forward(self, x):
        return x * self.scale


class Hooked(nn.Module):
    """The argument is in a hook's closure only."""

    def __init__(self, alpha=1.0):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.register_forward_hook(lambda module, args, answer: answer * alpha)

    def forward(self, x):
        return self.inner(x)


class Numbered(nn.Module):
    count = itertools.count()

    def __init__(self):
        super().__init__()
        self.number = next(self.count)

    def forward(self, x):
        return x * self.number


class Swapped(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = b, a

    def forward(self, x):
        return x * self.a + self.b


class AnyKeywords(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        return x * self.options.get("factor", 1.0)


class PositionalOnly(nn.Module):
    def __init__(self, factor, /):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Drawn(nn.Module):
    """Random numbers outside of the state dict."""

    def __init__(self, how="buffer"):
        super().__init__()
        self.how = how
        drawn = {"buffer": torch.rand(4), "order": torch.randperm(64)[:4], "attribute": torch.randn(4)}[how]
        if how == "attribute":
            self.drawn = drawn
        else:
            self.register_buffer("drawn", drawn, persistent=False)

    def forward(self, x):
        return x + self.drawn


class DrawnByPython(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = random.random()

    def forward(self, x):
        return x * self.factor


class Listed(nn.Module):
    def __init__(self, count=2):
        super().__init__()
        self.tensors = [torch.full((4,), float(i)) for i in range(count)]

    def forward(self, x):
        return x + sum(self.tensors)


class Disguised(nn.Module):
    """A property of the argument's name answers something else."""

    def __init__(self, factor=2):
        super().__init__()
        self._twice = factor * 2

    @property
    def factor(self):
        return self._twice

    def forward(self, x):
        return x * self._twice


class Remembering(nn.Module):
    def __init__(self, factor=2):
        super().__init__()
        self.factor = factor

    @functools.cached_property
    def row(self):
        return torch.full((4,), float(self.factor))

    def forward(self, x):
        return x * self.row


class Appending(nn.Module):
    """Changes the list that it is given."""

    def __init__(self, sizes):
        super().__init__()
        sizes.append(1)
        self.sizes = sizes

    def forward(self, x):
        return x * len(self.sizes)


class Chosen(nn.Module):
    def __init__(self, mode="a"):
        super().__init__()
        self.function = {"a": torch.relu, "b": torch.tanh}[mode]

    def forward(self, x):
        return self.function(x)


class Configured(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.inner = nn.Linear(config["width"], 2)

    def forward(self, x):
        return self.inner(x)


class AlwaysEqual:
    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return True

    __hash__ = None


@dataclass
class Options:
    name: str = "plain"
    factor: float = field(default=1.0, compare=False)


class WithObject(nn.Module):
    """Keeps something that calls itself equal to what it is not equal to."""

    def __init__(self, value=1.0, make=Options):
        super().__init__()
        self.make, self.kept = make, make("plain", value) if make is Options else make(value)

    def forward(self, x):
        return x * getattr(self.kept, "factor", getattr(self.kept, "value", None))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def edited(layer, **attributes):
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


def used(layer):
    layer(torch.randn(2, 4))
    return layer


REFUSED = {
    "multiplied": lambda: Multiplied(4, 3),
    "a power": lambda: Power(4),
    "hooked": lambda: Hooked(3.0),
    "numbered": Numbered,
    "swapped": lambda: Swapped(2.0, 5.0),
    "any keywords": lambda: AnyKeywords(factor=3.0),
    "positional only": lambda: PositionalOnly(3),
    "a drawn buffer": Drawn,
    "a drawn order": lambda: Drawn("order"),
    "a drawn attribute": lambda: Drawn("attribute"),
    "drawn by Python": DrawnByPython,
    "a list of tensors": lambda: Listed(3),
    "disguised": lambda: Disguised(5),
    "remembered": lambda: edited(used(Remembering(3)), factor=9),
    "appended to": lambda: Appending([1, 2]),
    "chosen": lambda: Chosen("b"),
    "configured": lambda: Configured({"width": 4}),
    "equal to all": lambda: WithObject(5.0, AlwaysEqual),
    "equal but for a field": lambda: WithObject(5.0),
    "no longer tied": lambda: edited(Tied(), a=nn.Linear(4, 4)),
    "a forward of the object": lambda: edited(nn.Linear(4, 4), forward=lambda x: 2 * x),
    "another mode": lambda: edited(nn.RNN(4, 3), mode="RNN_RELU"),
    "a buffer for a Parameter": lambda: with_buffer(nn.Linear(4, 4)),
    "complex and real": lambda: edited(nn.Linear(4, 4), weight=nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))),
    "one bias of two": lambda: edited(nn.LSTMCell(4, 3), bias_ih=None),
    "a padding index beyond": lambda: edited(nn.Embedding(6, 3, 5), weight=nn.Parameter(torch.randn(4, 3))),
}


def with_buffer(layer):
    del layer.bias
    layer.register_buffer("bias", torch.zeros(4))
    return layer


@pytest.mark.parametrize("layer", REFUSED.values(), ids=REFUSED)
def test_refused(layer):
    with pytest.raises(ConfigError, match="cannot recover") as caught:
        config_of(layer())
    assert caught.value.way_out


# --- what is answered, and right


class Gain(nn.Module):
    """The argument only says how the Parameter begins."""

    def __init__(self, width, std=0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width) * std)

    def forward(self, x):
        return x * self.weight


class Bounded(nn.Module):
    def __init__(self, width, limit=1.0):
        super().__init__()
        self.weight, self.low, self.high = nn.Parameter(torch.ones(width)), -limit, limit

    def forward(self, x):
        return (x * self.weight).clamp(self.low, self.high)


class Square(nn.GRU):
    def __init__(self, size):
        super().__init__(size, size, batch_first=True)


class PaddedByDefault(nn.Conv1d):
    def __init__(self, *args, **options):
        options.setdefault("padding", 1)
        super().__init__(*args, **options)


class Flipped(nn.Module):
    def __init__(self, use=True):
        super().__init__()
        self.skips = not use

    def forward(self, x):
        return x if self.skips else 2 * x


class Pair(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else size

    def forward(self, x):
        return x * self.size[0] + self.size[1]


class Delegating(nn.Module):
    """Asks its layer for all attributes that it has not got."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x):
        return self.inner(x)


class Late(type):
    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        made.late = 2 * made.factor
        return made


class WithLateAttribute(nn.Module, metaclass=Late):
    def __init__(self, factor=1):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.late


class Empty(nn.Module):
    """False as a truth value, and equal to all others."""

    def __init__(self, factor=1):
        super().__init__()
        self.factor = factor

    def __len__(self):
        return 0

    def __eq__(self, other):
        return True

    __hash__ = nn.Module.__hash__

    def forward(self, x):
        return x * self.factor


ANSWERED = {
    "a start": (lambda: Gain(4, 3.0), (2, 4)),
    "bounds": (lambda: Bounded(4, 0.5), (2, 4)),
    "square": (lambda: Square(4), (2, 3, 4)),
    "padded by default": (lambda: PaddedByDefault(4, 4, 3), (2, 4, 6)),
    "padded otherwise": (lambda: PaddedByDefault(4, 4, 3, padding=0), (2, 4, 6)),
    "flipped": (lambda: Flipped(False), (2, 4)),
    "a number for two": (lambda: Pair(3), (2, 4)),
    "a pair": (lambda: Pair((3, 4)), (2, 4)),
    "delegating": (lambda: Delegating(nn.Linear(4, 4)), (2, 4)),
    "by a metaclass": (lambda: WithLateAttribute(factor=3), (2, 4)),
    "empty": (lambda: Empty(3), (2, 4)),
    "tied": (Tied, (2, 4)),
    "the default in a hook": (Hooked, (2, 4)),
    "another class": (lambda: edited(nn.ReLU(), __class__=nn.SiLU), (2, 4)),
    "an activation": (lambda: edited(nn.TransformerEncoderLayer(4, 2, 8), norm_first=True), (3, 2, 4)),
    "another function": (lambda: nn.TransformerDecoderLayer(4, 2, 8, activation=F.silu), None),
}


@pytest.mark.parametrize(("layer", "shape"), ANSWERED.values(), ids=ANSWERED)
def test_answered(layer, shape):
    layer = layer()
    new = rebuilt(layer)
    if shape:
        assert_computes_the_same(layer, new, (torch.randn(shape),))
    else:
        assert config_of(new).keys() == config_of(layer).keys()
    assert type(copy.deepcopy(layer)) is type(new)
