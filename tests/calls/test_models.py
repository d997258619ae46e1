"""Functional calls in the models that people have: made layers, replaced, copied, exported, compiled, undone."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchsurgery as ts
from sameness import portrait


def densenet():
    import torchvision

    return torchvision.models.DenseNet(8, (2, 2), 8, drop_rate=0.3, memory_efficient=True), torch.randn(2, 3, 32, 32)


def googlenet():
    import torchvision

    return torchvision.models.googlenet(init_weights=False), torch.randn(2, 3, 64, 64)


def inception_v3():
    import torchvision

    return torchvision.models.inception_v3(init_weights=False), torch.randn(2, 3, 299, 299)


def whisper():
    from transformers import WhisperConfig, WhisperModel

    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    sizes = {"d_model": 16, "vocab_size": 64, "num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 32}
    inputs = {"input_features": torch.randn(1, 8, 32), "decoder_input_ids": torch.tensor([[1, 3]]), "use_cache": False}
    return WhisperModel(WhisperConfig(**sizes, **ids, dropout=0.1)), inputs


MODELS = [
    pytest.param(densenet, {F.relu: 1, F.dropout: 4, F.adaptive_avg_pool2d: 1, torch.flatten: 1}, id="DenseNet"),
    pytest.param(googlenet, {F.relu: 61, F.adaptive_avg_pool2d: 2, torch.flatten: 3}, id="GoogLeNet"),
    pytest.param(
        inception_v3, {F.relu: 96, F.max_pool2d: 2, F.avg_pool2d: 10, F.adaptive_avg_pool2d: 1}, id="Inception v3"
    ),
    pytest.param(whisper, {F.gelu: 2, F.dropout: 9}, id="Whisper"),
]
SMALL = [model for model in MODELS if model.id != "Inception v3"]


def run(model, inputs):
    """All tensors of the answer, dropout and all."""
    torch.manual_seed(3)
    with torch.no_grad():
        answer = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    leaves = torch.utils._pytree.tree_leaves(answer if not isinstance(answer, dict) else dict(answer))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize(("build", "functions"), MODELS)
def test_made_layers_and_undone(build, functions):
    """In train, where dropout and the auxiliary heads are at work."""
    model, inputs = build()
    model.train()
    keys, before = list(model.state_dict()), run(copy.deepcopy(model), inputs)
    was = portrait(model)
    done = ts.calls_to_layers(model, tuple(functions))
    assert {f: sum(isinstance(m, layer_of(f)) for m in made(done)) for f in functions} == functions
    assert list(model.state_dict()) == keys
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same(run(twin, inputs), before)
    done.undo()
    assert portrait(model) == was


def made(done):
    return [change.new for change in done.changes if change.kind == "call"]


def layer_of(function):
    return (
        getattr(nn, {"relu": "ReLU", "gelu": "GELU"}.get(function.__name__, ""), None)
        or {
            F.dropout: nn.Dropout,
            F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
            F.max_pool2d: nn.MaxPool2d,
            F.avg_pool2d: nn.AvgPool2d,
            torch.flatten: nn.Flatten,
        }[function]
    )


@pytest.mark.parametrize(("build", "functions"), SMALL)
def test_checked_and_undone(build, functions):
    model, inputs = build()
    was = portrait(model.eval())
    function = next(iter(functions))
    done = ts.plan(model).replace(function, nn.Tanh).apply(check=inputs)
    assert {type(change.new) for change in done.changes if change.kind == "replace"} == {nn.Tanh}
    done.undo()
    assert portrait(model) == was


@pytest.mark.parametrize("build", [densenet, googlenet])
def test_exported_and_compiled(build):
    model, inputs = build()
    ts.replace(model.eval(), F.relu, nn.Tanh)
    expected = run(model, inputs)
    program = torch.export.export(model, (inputs,))
    called = [str(node.target) for node in program.graph.nodes]
    assert "aten.tanh.default" in called
    assert "aten.relu_.default" in called or build is googlenet, "DenseNet has layers of its own"
    assert same(run(program.module(), inputs), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own graph breaks
        assert same(run(torch.compile(model, backend="eager"), inputs), expected)
    torch.compiler.reset()


def test_checkpointed_gradients_are_the_same():
    model, inputs = densenet()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        torch.manual_seed(3)
        model.train()(inputs).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        if len(gradients) == 1:
            ts.calls_to_layers(model, (F.relu, F.dropout))
    assert same(*gradients)
