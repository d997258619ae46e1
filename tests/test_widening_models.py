"""Widening on networks of torchvision, timm and transformers: in float64 they answer to 1e-10 what they did."""

import pytest
import torch
from torch import nn

import torchsurgery as ts

torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

CONFIG = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "intermediate_size": 48,
}
LLAMA = {**CONFIG, "num_key_value_heads": 4}


def image(size=64):
    return torch.randn(1, 3, size, size, dtype=torch.float64)


def words():
    return {"input_ids": torch.arange(9).view(1, 9), "use_cache": False}


def tokens():
    return {"input_ids": words()["input_ids"]}


def vision(name):
    return lambda: getattr(torchvision.models, name)(weights=None)


def of_timm(name, **given):
    return lambda: timm.create_model(name, num_classes=5, **given)


def language(name, **given):
    config = name.replace("ForCausalLM", "").replace("LMHeadModel", "").replace("ForMaskedLM", "") + "Config"
    return lambda: getattr(transformers, name)(getattr(transformers, config)(**given))


SMALL_VIT = of_timm("vit_tiny_patch16_224", img_size=32, depth=2)
GPT2 = language("GPT2LMHeadModel", vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=16)
BERT = language("BertForMaskedLM", **CONFIG)
TINY_LLAMA = language("LlamaForCausalLM", **LLAMA)
MIXTRAL = language("MixtralForCausalLM", **LLAMA, num_local_experts=3)

# the model, what it is called with, the layer, and its new width
CASES = {
    "resnet18 inside a block": (vision("resnet18"), image, "layer1.0.conv1", 128),
    "resnet18 residual stream": (vision("resnet18"), image, "conv1", 96),
    "densenet concatenations": (vision("densenet121"), image, "features.conv0", 80),
    "shufflenet": (vision("shufflenet_v2_x0_5"), image, "stage2.1.branch2.0", 2.0),
    "mobilenet depthwise and squeeze": (vision("mobilenet_v3_small"), image, "features.4.block.0.0", 1.5),
    "resnext groups": (vision("resnext50_32x4d"), image, "layer1.0.conv1", 1.5),
    "convnext": (of_timm("convnext_atto"), image, "stages.0.blocks.0.mlp.fc1", 1.5),
    "vit feed-forward": (SMALL_VIT, lambda: image(32), "blocks.0.mlp.fc1", 1000),
    "vit heads": (SMALL_VIT, lambda: image(32), "blocks.0.attn.qkv", 2.0),
    "vit stream, twice as wide": (SMALL_VIT, lambda: image(32), "patch_embed.proj", 2.0),
    "gpt2 feed-forward": (GPT2, words, "transformer.h.0.mlp.c_fc", 1.5),
    "gpt2 heads": (GPT2, words, "transformer.h.0.attn.c_attn", 2.0),
    "bert feed-forward": (
        BERT,
        tokens,
        "bert.encoder.layer.0.intermediate.dense",
        60,
    ),
    "bert heads": (BERT, tokens, "bert.encoder.layer.0.attention.self.query", 1.5),
    "llama gated feed-forward": (TINY_LLAMA, words, "model.layers.0.mlp.up_proj", 64),
    "llama heads": (TINY_LLAMA, words, "model.layers.0.self_attn.q_proj", 1.5),
    "mixtral heads": (MIXTRAL, words, "model.layers.0.self_attn.q_proj", 1.5),
}


def answer(net, inputs):
    with torch.no_grad():
        found = net(**inputs) if isinstance(inputs, dict) else net(inputs)
    return found if isinstance(found, torch.Tensor) else found.logits


def livelier(net):
    """Weights and statistics that make a difference: as they are initialised, many models answer nearly nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.is_floating_point() and (tensor.dim() == 1 or name.endswith("gamma")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5)
            elif tensor.is_floating_point() and "relative" not in name:
                tensor.mul_(3.0) if isinstance(net, transformers.PreTrainedModel) else None
    return net


@pytest.mark.parametrize("case", CASES)
def test_answers_what_it_did(case):
    build, inputs, layer, width = CASES[case]
    torch.manual_seed(0)
    # Products of experts are not there for float64, and some layers of a Llama compute in float32 whatever comes.
    experts = case.startswith("mixtral")
    net = livelier(build().to(torch.float32 if experts else torch.float64).eval())
    x = inputs()
    before, params = answer(net, x), sum(p.numel() for p in net.parameters())
    done = ts.widen(net, layer, width, example_inputs=x)
    after = answer(net, x)
    close = 1e-4 if experts else 1e-6 if case.startswith("llama") else 1e-10
    assert float((after - before).abs().max() / before.abs().max()) < close
    assert float(before.std()) > 0
    assert sum(p.numel() for p in net.parameters()) > params
    done.undo()
    assert torch.equal(answer(net, x), before)


@pytest.mark.parametrize(
    ("build", "inputs", "layer", "reason"),
    [
        (SMALL_VIT, lambda: image(32), "patch_embed.proj", r"layer_norm over it in blocks\.0\.norm1"),
        (TINY_LLAMA, words, "model.embed_tokens", r"mean over it in model\.layers\.0\.input_layernorm"),
        (GPT2, words, "transformer.wte", r"layer_norm over it in transformer\.h\.0\.ln_1"),
    ],
    ids=["vit", "llama", "gpt2"],
)
def test_half_as_wide_again_changes_what_is_normalised(build, inputs, layer, reason):
    net, x = build().double().eval(), inputs()
    with pytest.raises(ts.CouplingError, match=reason):
        ts.widen(net, layer, 1.5, example_inputs=x)
    done = ts.widen(net, layer, 2.0, approximate=True, example_inputs=x)
    assert bool(answer(net, x).isfinite().all())
    assert done.after.params > done.before.params


def test_wider_network_goes_on_training():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    x = torch.randn(32, 3, 8, 8)
    y = (x.mean((1, 2, 3)) > 0).long()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        if step == 20:
            ts.widen(net, "0", 16, noise=0.1, example_inputs=x, optimizer=optimizer)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert abs(losses[20] - losses[19]) < 0.1, "it goes on from where it was"
    assert losses[-1] < losses[0] / 2
