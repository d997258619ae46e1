"""`config_of`: rebuild any layer from itself, or say why not."""

import copy
import random
import time
import warnings

import pytest
import torch
from cases import CASES, CLASSES, FURTHER, unvaried
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.nn.utils import prune

from torchsurgery.errors import ConfigError
from torchsurgery.layers import config as configs
from torchsurgery.layers.config import arguments_of, config_of, register_config

LISTED = [(name, config, CASES[name].inputs) for name in CASES for config in CASES[name].configs()] + FURTHER
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(LISTED)]


def build(cls, config):
    # what a constructor has to say to its caller, it says to whoever calls it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(**config)


def make(name, config):
    torch.manual_seed(1)
    return build(getattr(nn, name), copy.deepcopy(config))


def rebuilt(module, dtype=None):
    """The same layer from its constructor's arguments and its state dict, with all that config_of promises checked."""
    before, state = snapshot(module), torch.get_rng_state()
    config = config_of(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert snapshot(module) == before
    new = build(type(module), config)
    if dtype:
        new.to(dtype)
    new.load_state_dict(module.state_dict(), strict=True)
    new.train(module.training)
    mine = {id(t) for t in (*module.parameters(), *module.buffers())}
    assert not mine & {id(t) for t in (*new.parameters(), *new.buffers())}, "nothing is shared"
    return new


def snapshot(module):
    named = (*module.named_parameters(), *module.named_buffers())
    tensors = [(n, id(t), 0 if is_lazy(t) else t._version) for n, t in named]
    modules = [(n, id(m), m.training, sorted(vars(m))) for n, m in module.named_modules()]
    return tensors, modules


def run(module, inputs, seed=5):
    """All that a forward and a backward do: outputs, changed inputs, gradients, state afterwards, random state."""
    torch.manual_seed(seed)
    given = [t.clone() for t in inputs]
    leaves = [t.requires_grad_() if t.is_floating_point() else t for t in given]
    used = [t * 1 if t.is_floating_point() else t for t in leaves]
    for parameter in module.parameters():
        parameter.grad = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outputs = flat(module(*used))
            total = sum(o.float().sum() for o in outputs if o.is_floating_point() and o.requires_grad)
            if isinstance(total, torch.Tensor):
                total.backward()
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
    grads = [p.grad for p in (*leaves, *module.parameters()) if p.is_floating_point()]
    return [*outputs, *used, *grads, *module.state_dict().values(), torch.get_rng_state()]


def flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in flat(v)] if isinstance(value, tuple | list) else []


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            assert type(a) is type(b) and a == b
            continue
        assert a.dtype == b.dtype and a.layout == b.layout
        a, b = (t.detach().coalesce().to_dense() if t.is_sparse else t.detach() for t in (a, b))
        assert torch.equal(a, b) or torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def assert_computes_the_same(module, new, inputs):
    for mode in (True, False):
        module.train(mode), new.train(mode)
        expected = run(module, inputs)
        assert not isinstance(expected[0], str), expected[0]
        assert_same(expected, run(new, inputs))


# --- all of torch.nn


def test_every_class_has_a_case():
    assert sorted(CASES) == CLASSES


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_is_varied(name):
    assert not unvaried(name)


@pytest.mark.parametrize(("name", "config", "inputs"), LISTED, ids=IDS)
def test_rebuilt_and_the_same(name, config, inputs):
    module = make(name, config)
    new = rebuilt(module)
    if inputs:
        assert_computes_the_same(module, new, inputs())
        if name.startswith("Lazy"):
            assert_computes_the_same(module, rebuilt(module), inputs())


@pytest.mark.parametrize(("name", "config", "inputs"), LISTED, ids=IDS)
def test_in_other_dtypes(name, config, inputs):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        module = make(name, config).to(dtype)
        new = rebuilt(module, dtype)
        if inputs:
            given = [t.to(dtype) if t.is_floating_point() else t for t in inputs()]
            module.eval(), new.eval()
            assert_same(run(module, given), run(new, given))


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature:UserWarning")
@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("name", CLASSES)
def test_in_dtypes_that_few_layers_compute_in(name, dtype):
    module = make(name, CASES[name].arguments).to(dtype)
    assert {t.dtype for t in rebuilt(module, dtype).parameters()} == {t.dtype for t in module.parameters()}


@pytest.mark.parametrize("name", CLASSES)
def test_on_meta(name):
    if name.startswith("Lazy"):
        pytest.skip("has no tensors yet")
    module = make(name, CASES[name].arguments).to("meta")
    config = config_of(module)
    new = build(type(module), config)
    shapes = [(n, t.shape) for n, t in module.state_dict().items()]
    assert [(n, t.shape) for n, t in new.state_dict().items()] == shapes


# --- edited layers: what the tensors say is what counts


def sliced(layer, **slices):
    for name, index in slices.items():
        setattr(layer, name, nn.Parameter(getattr(layer, name).detach()[index].clone()))
    return layer


def without(layer, *names):
    for name in names:
        setattr(layer, name, None)
    return layer


def with_attributes(layer, **values):
    for name, value in values.items():
        setattr(layer, name, value)
    return layer


def sliced_norm():
    norm = sliced(nn.BatchNorm2d(8), weight=slice(4), bias=slice(4))
    norm.running_mean, norm.running_var = torch.rand(4), torch.rand(4)
    return norm


def shortened_encoder():
    encoder = make("TransformerEncoder", CASES["TransformerEncoder"].arguments | {"num_layers": 3})
    encoder.layers = encoder.layers[:2]
    return encoder


def replaced_lstm():
    lstm = nn.LSTM(4, 3)
    lstm.weight_ih_l0 = nn.Parameter(torch.randn(12, 4))
    return lstm


def narrower_block():
    block = make("TransformerEncoderLayer", CASES["TransformerEncoderLayer"].arguments)
    sliced(block.linear1, weight=slice(5), bias=slice(5)), sliced(block.linear2, weight=(slice(None), slice(5)))
    return block


EDITED = {
    "rows of a Linear": (lambda: sliced(nn.Linear(6, 5), weight=slice(3), bias=slice(3)), (2, 6), {"out_features": 3}),
    "columns of a Linear": (
        lambda: sliced(nn.Linear(6, 5), weight=(slice(None), slice(4))),
        (2, 4),
        {"in_features": 4},
    ),
    "a Linear's bias": (lambda: without(nn.Linear(6, 5), "bias"), (2, 6), {"bias": False}),
    "a bias put in": (
        lambda: with_attributes(nn.Linear(6, 5, bias=False), bias=nn.Parameter(torch.ones(5))),
        (2, 6),
        {"bias": True},
    ),
    "filters": (
        lambda: sliced(nn.Conv2d(4, 8, 3), weight=slice(5), bias=slice(5)),
        (2, 4, 6, 6),
        {"out_channels": 5, "in_channels": 4},
    ),
    "a kernel": (
        lambda: sliced(nn.Conv2d(4, 8, 3), weight=(..., slice(2), slice(1))),
        (2, 4, 6, 6),
        {"kernel_size": (2, 1)},
    ),
    "one group fewer": (
        lambda: with_attributes(sliced(nn.Conv2d(8, 8, 3, groups=8), weight=slice(6), bias=slice(6)), groups=6),
        (2, 6, 6, 6),
        {"groups": 6, "in_channels": 6, "out_channels": 6},
    ),
    "dilated afterwards": (
        lambda: with_attributes(nn.Conv2d(4, 4, 3, stride=2), stride=(1, 1), dilation=(2, 2), padding=(2, 2)),
        (2, 4, 6, 6),
        {"stride": (1, 1), "dilation": (2, 2), "padding": (2, 2)},
    ),
    "a transposed convolution": (
        lambda: sliced(nn.ConvTranspose2d(4, 8, 3), weight=(slice(3), slice(5)), bias=slice(5)),
        (2, 3, 6, 6),
        {"in_channels": 3, "out_channels": 5},
    ),
    "a BatchNorm": (sliced_norm, (2, 4, 3, 3), {"num_features": 4}),
    "a BatchNorm without weights": (
        lambda: without(nn.BatchNorm2d(4), "weight", "bias"),
        (2, 4, 3, 3),
        {"affine": False},
    ),
    "a rate": (lambda: with_attributes(nn.Dropout(0.5), p=0.1), (2, 4), {"p": 0.1}),
    "in place": (lambda: with_attributes(nn.ReLU(), inplace=True), (2, 4), {"inplace": True}),
    "an Embedding": (
        lambda: sliced(nn.Embedding(6, 4), weight=(slice(3), slice(2))),
        None,
        {"num_embeddings": 3, "embedding_dim": 2},
    ),
    "fewer layers": (shortened_encoder, (3, 2, 8), {"num_layers": 2}),
    "a narrower block": (narrower_block, (3, 2, 8), {"dim_feedforward": 5}),
    "replaced weights of an LSTM": (replaced_lstm, (5, 2, 4), {"hidden_size": 3}),
    "a compiled layer": (lambda: with_attributes(nn.Linear(3, 2), _compiled_call_impl=None), (2, 3), {}),
    "a mark": (
        lambda: with_attributes(nn.Linear(3, 2), _is_hf_initialized=True, note="mine"),
        (2, 3),
        {"in_features": 3},
    ),
}


@pytest.mark.parametrize(("layer", "shape", "expected"), EDITED.values(), ids=EDITED)
def test_edited(layer, shape, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = layer()
    config = config_of(layer)
    assert {name: config[name] for name in expected} == expected
    new = rebuilt(layer)
    inputs = (torch.randn(shape),) if shape else (torch.tensor([0, 1, 2]),)
    assert_computes_the_same(layer, new, inputs)


# --- what no constructor call can make


def tied_lstm():
    lstm = nn.LSTM(4, 4, num_layers=2)
    lstm.weight_hh_l1 = lstm.weight_hh_l0
    return lstm


def bypassed_lstm():
    lstm = nn.LSTM(4, 4)
    lstm._parameters["weight_hh_l0"] = nn.Parameter(torch.randn(16, 4))
    return lstm


def edited_encoder(edit):
    encoder = make("TransformerEncoder", CASES["TransformerEncoder"].arguments)
    edit(encoder)
    return encoder


def hooked(layer, register):
    getattr(layer, register)(lambda *args: None)
    return layer


def ignoring(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def parametrized():
    return nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))


def inconsistent():
    return sliced(nn.Linear(6, 5), weight=slice(3))


def old_weight_norm():
    return ignoring(nn.utils.weight_norm, nn.Linear(3, 2))


def plain_weight():
    layer = nn.Linear(3, 2)
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight
    return layer


def with_buffer(layer, name):
    layer.register_buffer(name, torch.ones(2))
    return layer


def with_part(layer, name):
    layer.add_module(name, nn.ReLU())
    return layer


def one_statistic():
    norm = nn.BatchNorm2d(4)
    norm.running_var = norm.running_mean
    return norm


def swapped_attribute():
    layer = with_attributes(nn.Linear(3, 2), forward=lambda x: x)
    del layer.in_features
    return layer


# how it is made, and what the error says among other things
REFUSED = {
    "a forward hook": (lambda: hooked(nn.Linear(3, 2), "register_forward_hook"), "hook"),
    "a forward pre-hook": (lambda: hooked(nn.Linear(3, 2), "register_forward_pre_hook"), "hook"),
    "a backward hook": (lambda: hooked(nn.Linear(3, 2), "register_full_backward_hook"), "hook"),
    "a state-dict hook": (lambda: hooked(nn.Linear(3, 2), "register_state_dict_post_hook"), "hook"),
    "a hook inside": (
        lambda: edited_encoder(lambda e: hooked(e.layers[1].linear1, "register_forward_hook")),
        "layers.1.linear1",
    ),
    "a parametrization": (parametrized, "remove_parametrizations(layer, 'weight')"),
    "an old weight_norm": (old_weight_norm, "remove_weight_norm(layer, 'weight')"),
    "an old spectral_norm": (lambda: ignoring(nn.utils.spectral_norm, nn.Linear(3, 2)), "remove_spectral_norm"),
    "a pruned layer": (lambda: prune.l1_unstructured(nn.Linear(3, 2), "weight", 1), "prune.remove(layer, 'weight')"),
    "rows of the weight only": (inconsistent, "bias has shape (5,), the constructor makes (3,)"),
    "a weight that is no Parameter": (plain_weight, "weight"),
    "statistics that are one": (one_statistic, "same tensor"),
    "no sizes, but a forward": (swapped_attribute, "forward"),
    "a buffer more": (lambda: with_buffer(nn.Linear(3, 2), "scale"), "scale"),
    "a Parameter more": (lambda: with_attributes(nn.Linear(3, 2), scale=nn.Parameter(torch.ones(1))), "scale"),
    "a part more": (lambda: with_part(nn.Linear(3, 2), "after"), "after"),
    "a forward of its own": (lambda: with_attributes(nn.Linear(3, 2), forward=lambda x: x), "forward"),
    "a method of its own": (lambda: with_attributes(nn.Conv2d(3, 2, 1), _conv_forward=lambda *a: a), "_conv_forward"),
    "mixed dtypes": (
        lambda: with_attributes(nn.Linear(3, 2), bias=nn.Parameter(torch.ones(2).double())),
        "torch.float64",
    ),
    "integer weights": (
        lambda: with_attributes(nn.Linear(3, 2), weight=nn.Parameter(torch.ones(2, 3).int(), False)),
        "int32",
    ),
    "tied inside": (tied_lstm, "weight_hh_l1 is the same tensor as weight_hh_l0"),
    "a weight that the forward doesn't use": (bypassed_lstm, "_flat_weight"),
    "statistics not tracked any more": (
        lambda: with_attributes(nn.BatchNorm2d(4), track_running_stats=False),
        "the constructor makes",
    ),
    "statistics taken away": (lambda: without(nn.BatchNorm2d(4), "running_mean", "running_var"), "running_mean"),
    "padding that isn't used": (
        lambda: with_attributes(nn.Conv2d(3, 2, 3, padding_mode="reflect"), padding=(1, 1)),
        "_reversed",
    ),
    "a rate in one layer": (
        lambda: edited_encoder(lambda e: with_attributes(e.layers[1].dropout, p=0.9)),
        "layers.1.dropout.p",
    ),
    "a norm in one layer": (
        lambda: edited_encoder(lambda e: with_attributes(e.layers[1], norm1=nn.RMSNorm(8))),
        "layers.1.norm1",
    ),
    "one layer in two places": (lambda: edited_encoder(lambda e: e.layers.insert(1, e.layers[0])), "same tensor"),
    "no layers": (lambda: edited_encoder(lambda e: with_attributes(e, layers=nn.ModuleList())), "no layers"),
    "another activation": (
        lambda: with_attributes(
            make("TransformerEncoderLayer", CASES["TransformerEncoderLayer"].arguments), activation=torch.tanh
        ),
        "activation_relu_or_gelu",
    ),
    "scripted": (lambda: ignoring(torch.jit.script, nn.Linear(3, 2)), "script"),
    "traced": (lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2))), "traced"),
    "compiled": (lambda: torch.compile(nn.Linear(3, 2), backend="eager"), "_orig_mod"),
    "quantised": (lambda: ignoring(torch.ao.nn.quantized.dynamic.Linear, 3, 2), "quantised"),
    "layers in a row": (lambda: nn.Sequential(nn.Linear(3, 2)), "nn.Sequential("),
    "a bare module": (lambda: with_part(nn.Module(), "part"), "part"),
}


@pytest.mark.parametrize(("layer", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(layer, said):
    layer = layer()
    state = torch.get_rng_state()
    with pytest.raises(ConfigError) as caught:
        config_of(layer)
    assert torch.equal(torch.get_rng_state(), state)
    lines = str(caught.value).splitlines()
    assert type(layer).__name__ in lines[0]
    assert said in str(caught.value)
    assert lines[-1].strip() == caught.value.way_out
    assert all(len(line) <= 160 for line in lines)


@pytest.mark.parametrize("thing", [3, nn.Linear, torch.ones(2), None], ids=repr)
def test_not_a_layer(thing):
    with pytest.raises(ConfigError, match="takes a layer"):
        config_of(thing)


def test_a_removed_hook_is_none():
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(print).remove()
    assert config_of(layer)["in_features"] == 3


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


# --- for a layer that is about to be replaced


def test_arguments_of_what_is_carried():
    layer = hooked(nn.Linear(3, 2), "register_forward_hook")
    layer.bias = nn.Parameter(layer.bias.double())
    assert arguments_of(layer) == {"in_features": 3, "out_features": 2, "bias": True}
    assert arguments_of(tied_lstm())["num_layers"] == 2
    with pytest.raises(ConfigError):
        arguments_of(with_buffer(nn.Linear(3, 2), "scale"))


# --- thousands of layers


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 4), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()], ids=lambda m: type(m).__name__
)
def test_takes_microseconds(layer):
    config_of(layer)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(20):
            config_of(layer)
        times.append((time.perf_counter() - start) / 20)
    assert min(times) < 60e-6, "15 µs on a quiet machine; 200 where a constructor runs each time"
