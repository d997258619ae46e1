"""Pruning as it is used: heads or their width, widths that stay, training that goes on; on a CNN, a ViT, a Llama."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchsurgery as ts
from coupling.networks import Encoder, Grouped, Heads, Recurrent, Residual, Shared, built
from sameness import portrait
from torchsurgery.choosing.base import Choice

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


@pytest.fixture
def vit():
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=7).eval()
    return net, torch.randn(2, 3, 32, 32)


@pytest.fixture
def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=32,
    )
    return transformers.LlamaForCausalLM(config).eval(), {"input_ids": torch.randint(60, (2, 9)), "use_cache": False}


# --- heads, or their width


@pytest.mark.parametrize(("heads", "left"), [(True, (2, 6)), (False, (4, 3)), (None, (2, 6))])
def test_heads_or_width(heads, left):
    net, x = built(Heads)
    ts.prune(net, "qkv", 0.5, heads=heads, example_inputs=x)
    assert (net.heads, net.width) == left
    assert net(x).shape == x.shape


def test_without_a_choice_what_comes_nearest():
    net, x = built(Heads)
    ts.prune(net, "qkv", 1 / 3, example_inputs=x)
    assert (net.heads, net.width) == (4, 4)


def test_a_number_of_channels_that_only_widths_come_to():
    net, x = built(Heads)
    ts.prune(net, "qkv", 24, example_inputs=x)
    assert (net.heads, net.width, net.qkv.out_features) == (4, 4, 48)


def test_a_number_that_neither_comes_to():
    net, x = built(Heads)
    with pytest.raises(ts.CouplingError, match="cannot prune 5 channels of qkv: they go in sets of 12"):
        ts.prune(net, "qkv", 5, example_inputs=x)


@pytest.mark.parametrize("heads", [True, False])
def test_torchs_attention(heads):
    net, x = built(Encoder)
    ts.prune(net, "layer.self_attn", 1 / 3 if not heads else 0.5, heads=heads, example_inputs=x)
    attention = net.layer.self_attn
    assert (attention.num_heads, attention.head_dim) == ((2, 3) if heads else (4, 2))
    assert net(x).shape == (2, 7, 3)


def test_vit_heads_or_width(vit):
    net, x = vit
    plan = ts.plan(net, x).prune("blocks.0.attn.qkv", 1 / 3, heads=True)
    heads = {i // 64 % 3 for i in plan.edits[0].kept["blocks.0.attn.qkv.weight"][0]}
    assert len(heads) == 2
    plan.prune("blocks.1.attn.qkv", 0.5, heads=False).apply()
    assert (net.blocks[0].attn.num_heads, net.blocks[0].attn.head_dim) == (2, 64)
    assert (net.blocks[1].attn.num_heads, net.blocks[1].attn.head_dim) == (3, 32)
    assert net(x).shape == (2, 7)


def test_heads_of_a_layer_everywhere(vit):
    net, x = vit
    ts.prune(net, amount=0.5, heads=False, example_inputs=x)
    assert {block.attn.num_heads for block in net.blocks} == {3}
    assert {block.attn.head_dim for block in net.blocks} == {32}
    assert net(x).shape == (2, 7)


def test_llama_loses_key_heads_with_the_query_heads_that_share_them(llama):
    net, inputs = llama
    plan = ts.plan(net, inputs).prune("model.layers.0.self_attn.k_proj", 0.5, heads=True)
    kept = plan.edits[0].kept
    keys = sorted({i // 4 for i in kept["model.layers.0.self_attn.k_proj.weight"][0]})
    queries = sorted({i // 4 for i in kept["model.layers.0.self_attn.q_proj.weight"][0]})
    assert len(keys) == 2
    assert queries == [head for key in keys for head in (2 * key, 2 * key + 1)]
    plan.apply()
    first, second = (layer.self_attn for layer in net.model.layers)
    assert (first.k_proj.out_features, first.q_proj.out_features, first.num_key_value_groups) == (8, 16, 2)
    assert (second.k_proj.out_features, second.q_proj.out_features) == (16, 32)
    assert net(**inputs).logits.shape == (2, 9, 64)


def test_whole_llama(llama):
    net, inputs = llama
    done = ts.prune(net, amount=0.5, example_inputs=inputs, heads=True, outputs=lambda out: out.logits)
    assert done.after.params < 0.5 * done.before.params
    logits = net(**inputs).logits
    F.cross_entropy(logits.flatten(0, 1), inputs["input_ids"].flatten()).backward()
    assert logits.shape == (2, 9, 64)
    # each layer has a config of its own where its numbers differ, and the model runs on with a cache
    assert net.generate(inputs["input_ids"], max_new_tokens=3, do_sample=False).shape == (2, 12)


# --- what stays


@pytest.mark.parametrize(("least", "left"), [(1, 1), (4, 4), (0.5, 4), (0.9, 8), (7, 7), (9, 8)])
def test_minimum_width(least, left):
    net, x = built(Residual)
    ts.plan(net, x).prune("block*.conv1", 0.1, min_width=1)
    plan = ts.plan(net, x)
    if left == 8:
        with pytest.raises(ts.CouplingError, match="nothing of Residual can be pruned so"):
            plan.prune("stem", 0.9, min_width=least)
        return
    plan.prune("stem", 0.9, min_width=least).apply()
    assert net.stem.out_channels == left


def test_minimum_width_counts_for_a_number_too():
    net, x = built(Residual)
    with pytest.raises(ts.CouplingError, match="cannot prune 6 channels of stem: it has 8, and 4 must stay"):
        ts.prune(net, "stem", 6, min_width=4, example_inputs=x)


@pytest.mark.parametrize("ranked", [True, False])
def test_minimum_width_everywhere(ranked, resnet18, images):
    ts.prune(resnet18, amount=0.9, ranked=ranked, min_width=40, example_inputs=images)
    widths = {layer.out_channels for layer in resnet18.modules() if isinstance(layer, nn.Conv2d)}
    assert min(widths) >= 40


def test_minimum_width_within_a_budget(resnet18, images):
    done = ts.prune(resnet18, params=0.2, min_width=0.25, example_inputs=images)
    assert done.after.params <= 0.2 * done.before.params
    assert resnet18.conv1.out_channels >= 16
    with pytest.raises(ts.CouplingError, match="can't be pruned to"):
        ts.prune(resnet18, params=0.05, min_width=0.9, example_inputs=images)


@pytest.mark.parametrize("least", [0, -1, 1.0, 0.0, True, "8"])
def test_senseless_minimum_width(least):
    net, x = built(Residual)
    with pytest.raises(ts.CouplingError, match="min_width must be"):
        ts.prune(net, "stem", 0.5, min_width=least, example_inputs=x)


@pytest.mark.parametrize("multiple", [8, 32])
def test_rounded_for_hardware(multiple, resnet18, images):
    ts.prune(resnet18, amount=0.5, round_to=multiple, example_inputs=images)
    widths = [layer.out_channels for layer in resnet18.modules() if isinstance(layer, nn.Conv2d)]
    assert {width % multiple for width in widths} == {0}
    assert min(widths) < 64


def test_rounded_on_a_vit(vit):
    net, x = vit
    ts.prune(net, amount=0.3, round_to=32, example_inputs=x)
    widths = {layer.out_features for layer in net.blocks.modules() if isinstance(layer, nn.Linear)}
    assert {width % 32 for width in widths} == {0}


def test_rounded_on_a_llama(llama):
    net, inputs = llama
    ts.prune(net, amount=0.4, round_to=8, example_inputs=inputs)
    widths = {layer.out_features for name, layer in net.named_modules() if isinstance(layer, nn.Linear)}
    assert {width % 8 for width in widths} == {0}


def test_ignored_block_keeps_all_that_is_in_it(resnet18, images):
    before = {name: p.shape[0] for name, p in resnet18.layer2.named_parameters()}
    ts.prune(resnet18, amount=0.5, ignore="layer2", example_inputs=images)
    assert {name: p.shape[0] for name, p in resnet18.layer2.named_parameters()} == before
    assert resnet18.layer1[0].conv1.out_channels == 32


def test_ignored_attention(vit, llama):
    net, x = vit
    ts.prune(net, amount=0.5, ignore="blocks.*.attn", example_inputs=x)
    assert {block.attn.qkv.out_features for block in net.blocks} == {576}
    assert {block.mlp.fc1.out_features for block in net.blocks} == {384}
    net, inputs = llama
    ts.prune(net, amount=0.5, ignore="model.layers.*.self_attn", example_inputs=inputs)
    assert {layer.self_attn.q_proj.out_features for layer in net.model.layers} == {32}
    assert {layer.mlp.up_proj.out_features for layer in net.model.layers} == {24}


# --- training goes on


def test_frozen_stays_frozen_and_the_mode_stays(resnet18, images):
    resnet18.train()
    resnet18.bn1.eval()
    for parameter in resnet18.layer1.parameters():
        parameter.requires_grad_(False)
    ts.prune(resnet18, amount=0.5, example_inputs=images)
    assert resnet18.training
    assert not resnet18.bn1.training
    assert not any(p.requires_grad for p in resnet18.layer1.parameters())
    assert all(p.requires_grad for p in resnet18.layer2.parameters())


MAKERS = {
    "adamw": lambda params: torch.optim.AdamW(params, lr=1e-3),
    "sgd": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("optimizer", MAKERS)
def test_inside_a_training_loop(optimizer):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    x = torch.randn(64, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()
    optimizer = MAKERS[optimizer](net.parameters())
    average = torch.optim.swa_utils.AveragedModel(net)
    losses = []
    for step in range(60):
        if step in (20, 40):
            done = ts.prune(net, amount=0.25, round_to=4, example_inputs=x, optimizer=optimizer, ema=average)
            assert done.after.params < done.before.params
            kept = {id(p) for group in optimizer.param_groups for p in group["params"]}
            assert kept == {id(p) for p in net.parameters()}
            shapes = {p.shape == value.shape for p in kept_state(optimizer) for value in momenta(optimizer, p)}
            assert shapes == {True}
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        average.update_parameters(net)
        losses.append(float(loss.detach()))
    assert net[0].out_features < 24
    assert average.module[0].out_features == net[0].out_features
    assert losses[-1] < losses[0]


def kept_state(optimizer):
    return list(optimizer.state)


def momenta(optimizer, parameter):
    return [value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor) and value.dim()]


# --- everything follows


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("layers", "both"), [(1, False), (1, True), (3, False), (2, True)])
def test_recurrent_layers(kind, layers, both):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 6)
            self.rnn = kind(6, 8, layers, batch_first=True, bidirectional=both)
            self.fc = nn.Linear(16 if both else 8, 2)

        def forward(self, x):
            return self.fc(self.rnn(self.first(x))[0])

    net, x = Network().double(), torch.randn(2, 5, 4, dtype=torch.float64)
    plan = ts.plan(net, x).prune("rnn", 3)
    units = plan.edits[0].kept["rnn.weight_hh_l0"][1]
    plan.prune("first", 0.5).apply()
    assert (net.rnn.hidden_size, net.rnn.input_size, net.fc.in_features) == (5, 3, 10 if both else 5)
    assert len(units) == 5
    assert all(weight.shape[-1] in (3, 5, 10) for name, weight in net.rnn.named_parameters() if "weight" in name)
    net(x).sum().backward()


def test_named_units_of_a_recurrent_layer():
    net, x = built(Recurrent)
    plan = ts.plan(net, x).prune("rnn", channels=[1])
    assert plan.edits[0].kept["rnn.weight_hh_l0"][1] == (0, 2, 3, 4)
    assert plan.edits[0].kept["rnn.bias_ih_l0"][0] == tuple(i for i in range(20) if i % 5 != 1)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize(
    "normed",
    [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm, nn.utils.parametrizations.spectral_norm],
    ids=["weight_norm", "old weight_norm", "spectral_norm"],
)
def test_normalised_weights(normed):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), normed(nn.Conv2d(4, 8, 3)), nn.ReLU(), nn.Conv2d(8, 2, 1)).double().eval()
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    done = ts.prune(net, amount=0.5, example_inputs=x)
    assert net(x).shape == (1, 2, 4, 4)
    assert (net[1].in_channels, net[1].out_channels, net[1].weight.shape) == (2, 4, (4, 2, 3, 3))
    net.train()(x).sum().backward()
    done.undo()
    net.eval()(x)
    assert net[1].weight.shape == (8, 4, 3, 3)


def test_groups_of_a_group_norm_or_the_channels_in_them():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 2, 1))
    x = torch.randn(1, 3, 4, 4)
    plan = ts.plan(net, x)
    whole, inside = plan.prune("0", 0.5, heads=True), plan.prune("0", 0.5, heads=False)
    assert not whole.edits[0].mixing, "groups that stay compute what they did"
    assert inside.edits[0].mixing
    with whole.in_force() as altered:
        assert (altered[1].num_groups, altered[1].num_channels) == (2, 4)
    with inside.in_force() as altered:
        assert (altered[1].num_groups, altered[1].num_channels) == (4, 4)


def test_grouped_convolution():
    net, x = built(Grouped)
    ts.prune(net, "layers.2", 0.5, heads=True, example_inputs=x)
    assert (net.layers[2].groups, net.layers[2].out_channels, net.layers[3].groups) == (2, 6, 2)


def test_tied_and_shared_attention():
    net, x = built(Shared)
    ts.prune(net, "k", 0.5, heads=True, example_inputs=x)
    assert (net.k.out_features, net.q.out_features, net.heads // net.shared) == (4, 16, 4)


def test_undo_of_a_whole_model(llama):
    net, inputs = llama
    before = portrait(net)
    ts.prune(net, amount=0.5, example_inputs=inputs).undo()
    assert portrait(net) == before


# --- audio: positions by a convolution in groups, heads gated by the stream, steps made of channels


@pytest.mark.parametrize(("kind", "most"), [("WavLM", 0.35), ("SEW", 0.35)])
def test_audio_models_are_halved_throughout(kind, most):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    net = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    inputs = {"input_values": torch.randn(2, 1600)}
    before = net(**inputs).logits
    plan = ts.plan(net, inputs).prune(amount=0.5, outputs=lambda out: out.logits)
    assert all("not run" in why for why in plan.planned[0].left.values())
    done = plan.apply()
    assert done.after.params < most * done.before.params
    assert net(**inputs).logits.shape == before.shape
    done.undo()
    assert torch.equal(net(**inputs).logits, before)


def test_layers_that_undo_what_the_other_asks_for_are_not_asked_again(monkeypatch):
    net, asked = timm.create_model("davit_tiny", depths=(1, 1, 1, 1)).eval(), []
    recounted = Choice._recounted
    monkeypatch.setattr(Choice, "_recounted", lambda *args: asked.append(args[1].tobytes()) or recounted(*args))
    plan = ts.plan(net, torch.zeros(1, 3, 64, 64)).prune(amount=0.5)
    assert "stages.0.blocks.0.0.attn" in plan.planned[0].left
    assert len(asked) == len(set(asked))
