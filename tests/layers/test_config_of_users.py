"""`config_of` on the layers of users, and what they state of them."""

import random

import pytest
import torch
from rebuilding import assert_computes_the_same, rebuilt, with_attributes
from torch import nn
from torch._subclasses import FakeTensorMode

from torchsurgery.errors import ConfigError
from torchsurgery.layers import config as configs
from torchsurgery.layers.config import arguments_of, config_of, register_config

# --- layers of users


class Kept(nn.Module):
    """Every argument is an attribute, or one with an underscore."""

    def __init__(self, width, depth=2, *, scale=1.0, mode="a"):
        super().__init__()
        self.width, self.depth, self._scale, self.mode_ = width, depth, scale, mode
        self.mode = mode
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x) * self._scale
        return x


class Biased(nn.Module):
    """An argument that asks for a Parameter of its name, a rate that becomes a layer, a layer as an argument."""

    def __init__(self, width, bias=True, dropout=0.1, act=None, norm_layer=nn.LayerNorm, rows=(1, 2)):
        super().__init__()
        self.width, self.rows = width, rows
        self.bias = nn.Parameter(torch.randn(width)) if bias else None
        self.dropout = nn.Dropout(dropout)
        self.act = act or nn.ReLU()
        self.norm_layer = norm_layer(width)

    def forward(self, x):
        x = x if self.bias is None else x + self.bias
        return self.norm_layer(self.act(self.dropout(x)))


class Tensors(nn.Module):
    """Tensors as arguments, inside and outside of the state dict."""

    def __init__(self, mean, weight, size=3):
        super().__init__()
        self.register_buffer("mean", mean)
        self.weight = nn.Parameter(weight)
        self.register_buffer("table", torch.arange(size).float() / 7, persistent=False)
        self.size, self.steps = size, torch.ones(size)

    def forward(self, x):
        return (x - self.mean) * self.weight + self.table.sum() + self.steps.sum()


class Passing(nn.Conv2d):
    """Hands its arguments on."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class Extended(nn.Linear):
    """Adds an argument to those of its base class."""

    def __init__(self, in_features, out_features, rank=2, **kwargs):
        super().__init__(in_features, out_features, **kwargs)
        self.rank = rank
        self.down = nn.Linear(in_features, rank, bias=False)

    def forward(self, x):
        return super().forward(x) + self.down(x).sum()


class ChannelNorm(nn.LayerNorm):
    """Names an argument otherwise than its base class."""

    def __init__(self, num_channels, eps=1e-6):
        super().__init__(num_channels, eps=eps)


class Inherits(nn.GroupNorm):
    """Brings no constructor."""


class Initial(nn.Module):
    """Forgets an argument, which is only what a Parameter starts from."""

    def __init__(self, width, start=1.0):
        super().__init__()
        self.width, self.gain = width, nn.Parameter(torch.full((width,), start))

    def forward(self, x):
        return x * self.gain


class WithHook(nn.Linear):
    """Registers a hook of its own in the constructor."""

    def __init__(self, in_features, out_features, factor=2.0):
        super().__init__(in_features, out_features)
        self.factor = factor
        self.register_forward_hook(self._scale)

    def _scale(self, module, args, output):
        return output * self.factor


class Renamed(nn.Module):
    """As most models write RMSNorm: the width shows in the weight only, and eps has another name."""

    def __init__(self, hidden_size, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


class Around(nn.GroupNorm):
    """Fixes one argument of its base class and passes on the rest."""

    def __init__(self, num_channels, **kwargs):
        super().__init__(1, num_channels, **kwargs)


class Closure(nn.Module):
    """Computes with functions made in the constructor."""

    def __init__(self, factor, shift=0.0):
        super().__init__()
        self.factor, self.shift = factor, shift
        self.function = lambda x: x * factor + shift

    def forward(self, x):
        return self.function(x)


class NormAndAct(nn.BatchNorm1d):
    """As timm's BatchNormAct2d: it keeps the activation that its arguments come to, and neither of these."""

    def __init__(self, num_features, eps=1e-5, apply_act=True, act_layer=nn.ReLU):
        super().__init__(num_features, eps)
        self.act = act_layer() if apply_act else nn.Identity()

    def forward(self, x):
        return self.act(super().forward(x))


def mean_and_weight():
    return torch.rand(3), torch.rand(3)


OWN = {
    "kept": lambda: Kept(3, 1, scale=0.5, mode="b"),
    "a Parameter": lambda: Biased(3, bias=False, dropout=0.7),
    "another Parameter": lambda: Biased(3, dropout=0.0, act=nn.GELU(), rows=[3]),
    "a class": lambda: Biased(3, norm_layer=nn.RMSNorm),
    "tensors": lambda: Tensors(*mean_and_weight(), 5),
    "passed on": lambda: Passing(3, 2, kernel_size=1, bias=False),
    "extended": lambda: Extended(3, 2, 1, bias=False),
    "renamed": lambda: ChannelNorm(3),
    "inherited": lambda: Inherits(1, 3, affine=False),
    "other names": lambda: Renamed(3, 0.1),
    "one fixed": lambda: Around(3, eps=0.1),
    "a start": lambda: Initial(3, start=7.0),
    "a hook of its own": lambda: WithHook(3, 2, 0.5),
    "a closure": lambda: Closure(2.0, 1.0),
    "a switch that shows in a part": lambda: NormAndAct(3, 0.1, apply_act=False),
    "a class that shows in a part": lambda: NormAndAct(3, 0.1, act_layer=nn.SiLU),
}


@pytest.mark.parametrize("layer", OWN.values(), ids=OWN)
def test_own_layers(layer):
    layer = layer()
    shape = (2, 3, 3, 3) if isinstance(layer, nn.Conv2d) else (2, 3)
    assert_computes_the_same(layer, rebuilt(layer), (torch.randn(shape),))


def test_own_layers_in_bfloat16():
    layer = Tensors(*mean_and_weight()).to(torch.bfloat16)
    assert_computes_the_same(layer, rebuilt(layer, torch.bfloat16), (torch.randn(2, 3),))


class Forgets(nn.Module):
    """Has an argument that leaves no trace."""

    def __init__(self, width, factor):
        super().__init__()
        self.width = width
        self.function = lambda x: x * factor


class NoTrace(nn.Module):
    """Has an argument that it does nothing with."""

    def __init__(self, width, secret):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class ForgetsDefault(nn.Module):
    """Has one with a default, and computes with it."""

    def __init__(self, width, factor=2.0):
        super().__init__()
        self.width, self.doubled = width, 2 * factor


class Derived(nn.Module):
    """Keeps another thing under the name of its argument."""

    def __init__(self, width=3):
        super().__init__()
        self.width = width * 2


class Counts(nn.Module):
    """Has a state outside of its tensors."""

    def __init__(self):
        super().__init__()
        self.calls = 0


class Positional(nn.Module):
    """Takes what it computes with by position only."""

    def __init__(self, *sizes):
        super().__init__()
        self.sizes = sizes


class Clamps(nn.Module):
    """Reads an attribute that may be set from outside."""

    def forward(self, x):
        return x.clamp(max=getattr(self, "limit", 1.0))


class Fails(nn.Module):
    """Doesn't run on meta."""

    def __init__(self, width):
        super().__init__()
        self.width, self.total = width, torch.ones(width).sum().item()


def drifted():
    layer = Tensors(*mean_and_weight())
    layer.table += 1
    return layer


REFUSED_OWN = {
    "forgotten": (lambda: Forgets(3, 2.0), "factor", "ts.register_config(Forgets"),
    "no trace": (lambda: NoTrace(3, 4), "its argument", "ts.register_config(NoTrace"),
    "forgotten, not the default": (
        lambda: ForgetsDefault(3, 5.0),
        "doubled is 10.0",
        "ts.register_config(ForgetsDefault",
    ),
    "derived": (lambda: Derived(4), "width is 8", "ts.register_config(Derived"),
    "counted": (lambda: with_attributes(Counts(), calls=4), "calls is 4", "ts.register_config(Counts"),
    "by position": (lambda: Positional(1, 2), "sizes", "ts.register_config(Positional"),
    "set from outside": (lambda: with_attributes(Clamps(), limit=0.5), "limit was set", "ts.register_config(Clamps"),
    "a table that was changed": (drifted, "the values of table", "ts.register_config(Tensors"),
    "not on meta": (lambda: Fails(3), "its constructor fails", "ts.register_config(Fails"),
}


@pytest.mark.parametrize(("layer", "said", "way_out"), REFUSED_OWN.values(), ids=REFUSED_OWN)
def test_own_layers_refused(layer, said, way_out):
    with pytest.raises(ConfigError) as caught:
        config_of(layer())
    assert said in str(caught.value)
    assert caught.value.way_out.startswith(f"state them:  {way_out}")
    assert all(len(line) <= 160 for line in str(caught.value).splitlines())


def test_default_that_was_taken():
    assert config_of(ForgetsDefault(3)) == {"width": 3}, "built with it, the layer is the same"


def test_arguments_are_copies():
    layer = Biased(3, act=nn.PReLU())
    config = config_of(layer)
    assert config["act"] is not layer.act
    assert config["act"].weight is not layer.act.weight
    loss = nn.CrossEntropyLoss(weight=torch.rand(3))
    assert config_of(loss)["weight"] is not loss.weight
    assert arguments_of(loss)["weight"] is loss.weight


def test_among_fake_tensors():
    class Own(nn.Linear):
        pass

    with FakeTensorMode():
        assert config_of(Own(3, 2))["in_features"] == 3
    assert config_of(Own(3, 2))["in_features"] == 3


def test_what_cannot_be_copied():
    layer = nn.ModuleList([nn.Linear(3, 2)])
    layer[0].cache = layer[0].weight * 2
    with pytest.raises(ConfigError, match="can't be copied"):
        config_of(layer)


def test_random_states_of_others_stay():
    class Draws(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width = width
            self.weight = nn.Parameter(torch.randn(width) * random.random())

    layer = Draws(3)
    python, torchs = random.getstate(), torch.get_rng_state()
    assert config_of(layer) == {"width": 3}
    assert random.getstate() == python
    assert torch.equal(torch.get_rng_state(), torchs)


# --- stated by users


@pytest.fixture
def registry():
    rules = dict(configs._RULES)
    yield
    configs._RULES.clear(), configs._RULES.update(rules), configs._CLASSES.clear()


def test_stated(registry):
    register_config(ForgetsDefault, lambda layer: {"width": layer.width, "factor": layer.doubled / 2})
    assert config_of(ForgetsDefault(3, 5.0)) == {"width": 3, "factor": 5.0}


def test_stated_by_decorator(registry):
    @register_config(Fails)
    def read(layer):
        return {"width": layer.width}

    assert read(Fails(3)) == {"width": 3}
    assert config_of(Fails(4)) == {"width": 4}


def test_stated_goes_before_the_librarys(registry):
    register_config(nn.Dropout, lambda layer: {"p": layer.p, "inplace": False})
    assert config_of(nn.Dropout(0.3, inplace=True)) == {"p": 0.3, "inplace": False}


def test_stated_for_the_subclass_that_takes_over_the_constructor(registry):
    class Deeper(ForgetsDefault):
        pass

    register_config(ForgetsDefault, lambda layer: {"width": layer.width, "factor": layer.doubled / 2})
    assert config_of(Deeper(3, 5.0)) == {"width": 3, "factor": 5.0}


STATED_WRONGLY = {
    "another size": (lambda layer: {"in_features": 9, "out_features": 2}, "weight has shape (2, 3)"),
    "an unknown name": (lambda layer: {"inputs": 3}, "its constructor fails on"),
    "no mapping": (lambda layer: None, "register_config"),
}


@pytest.mark.parametrize(("read", "said"), STATED_WRONGLY.values(), ids=STATED_WRONGLY)
def test_stated_wrongly(registry, read, said):
    register_config(nn.Linear, read)
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace(")", r"\)")):
        config_of(nn.Linear(3, 2))


def test_stated_for_what_is_no_layer():
    with pytest.raises(ConfigError, match="subclass of nn"):
        register_config(int, lambda layer: {})


class Swish(nn.Module):
    def __init__(self, beta=1.0):
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(float(beta)))

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


class Scales(nn.Module):
    def __init__(self, width, gamma=1):
        super().__init__()
        self.width, self.gamma = width, nn.Parameter(torch.full((width,), float(gamma)))

    def forward(self, x):
        return x * self.gamma


def test_a_number_that_is_learnt_is_read_off_the_parameter():
    assert config_of(Swish(1.5)) == {"beta": 1.5}
    assert config_of(Scales(3, 2)) == {"width": 3, "gamma": 2}
    trained = Swish(1.0)
    with torch.no_grad():
        trained.beta += 0.25
    assert config_of(trained) == {"beta": 1.25}
    assert type(config_of(Scales(3, 2))["gamma"]) is int
