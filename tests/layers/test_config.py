"""`config_of`: rebuild any layer from itself, or say why not."""

import copy
import time
import warnings

import pytest
import torch
from cases import CASES, CLASSES, FURTHER, unvaried
from rebuilding import assert_computes_the_same, assert_same, build, rebuilt, run, with_attributes
from torch import nn
from torch.nn.utils import prune

from torchsurgery.errors import ConfigError
from torchsurgery.layers.config import arguments_of, config_of

LISTED = [(name, config, CASES[name].inputs) for name in CASES for config in CASES[name].configs()] + FURTHER
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(LISTED)]


def make(name, config):
    torch.manual_seed(1)
    return build(getattr(nn, name), copy.deepcopy(config))


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
