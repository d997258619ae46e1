"""Real networks with chains of edits, for tests of saves: name → builder, what is done to it, what it answers."""

import timm
import torch
import torchvision
import transformers
from torch import nn

import torchsurgery as ts


class Scaled(nn.Module):
    """A wrapper whose argument leaves no trace: what was given is what is recorded."""

    def __init__(self, inner, times=2):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.full((), float(times)))

    def forward(self, x):
        return self.scale * self.inner(x)


ts.register("test-zoo/scaled", Scaled)


def _tiny(kind, config, **more):
    sizes = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    return lambda: kind(config(**{**sizes, **more}))


BUILDERS = {
    "resnet18": torchvision.models.resnet18,
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "densenet121": torchvision.models.densenet121,
    "vit_b_16": lambda: torchvision.models.VisionTransformer(64, 16, 2, 4, 32, 64, num_classes=7),
    "convnext": lambda: timm.create_model("convnext_atto", num_classes=8),
    "timm_vit": lambda: timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=8, img_size=64),
    "efficientnet": lambda: timm.create_model("efficientnet_b0"),
    "swin": lambda: timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(3, 6), img_size=56),
    "bert": _tiny(transformers.BertForSequenceClassification, transformers.BertConfig),
    "llama": _tiny(transformers.LlamaForCausalLM, transformers.LlamaConfig, tie_word_embeddings=True),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    ),
    "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
    "lstm": lambda: nn.Sequential(nn.Embedding(16, 8), nn.LSTM(8, 8, 2)),
}
_WORDS = torch.randint(0, 16, (2, 8), generator=torch.Generator().manual_seed(3))
_IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
_SEQUENCE = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
INPUTS = dict.fromkeys(BUILDERS, _IMAGES) | dict.fromkeys(("bert", "llama", "gpt2", "lstm"), _WORDS)
INPUTS |= {"transformer": _SEQUENCE, "swin": _IMAGES[:, :, :56, :56]}


def answers(model, name):
    """The tensors that a model answers, by name."""
    found = model(INPUTS[name])
    if isinstance(found, torch.Tensor):
        return {"answer": found}
    if isinstance(found, dict):
        return {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    return {"answer": found[0]}


# --- chains


def _resnet18(model):
    ts.replace(model, ts.select(model, nn.BatchNorm2d) - ts.select(model, "layer4.**"), nn.GroupNorm, num_groups=8)
    ts.replace(model, ts.select(model, nn.Conv2d, kernel_size=1), nn.Conv2d, kernel_size=3)
    ts.insert(model, nn.Dropout(0.1), after=nn.ReLU)
    ts.wrap(model, "layer1.0.conv1", Scaled, times=3)
    ts.fold(model, _IMAGES)
    ts.set_outputs(model, 10, keep=[3, 5], example_inputs=_IMAGES)
    ts.set_inputs(model, 3, example_inputs=_IMAGES)
    ts.prune(model, "layer2.0.conv1", 0.5, example_inputs=_IMAGES)
    ts.remove(model, "layer3.1")
    ts.replace(model, "fc", lambda old: nn.Sequential(nn.Dropout(0.5), old))
    ts.factorize(model, "layer4.1.conv2", rank=8)
    model.bfloat16().float()


def _mobilenet(model):
    ts.replace(model, nn.ReLU6, nn.Hardswish)
    ts.freeze_norms(model)
    ts.replace(model, "classifier.1", nn.Linear(1280, 5))
    model.features.requires_grad_(False)


def _densenet(model):
    ts.replace(model, nn.functional.relu, nn.GELU)
    ts.remove(model, "features.norm5")


def _vit(model):
    ts.replace(model, nn.GELU, nn.SiLU)
    ts.insert(model, nn.Dropout(0.2), after=nn.LayerNorm)


def _convnext(model):
    ts.prune(model, "stages.0.blocks.0.mlp.fc1", 0.5, example_inputs=_IMAGES)
    ts.set_outputs(model, 3, example_inputs=_IMAGES)


def _timm_vit(model):
    ts.prune(model, "blocks.0.attn.qkv", 0.5, example_inputs=_IMAGES)
    ts.wrap(model, "blocks.*.mlp.fc2", Scaled)


def _efficientnet(model):
    ts.fold(model, _IMAGES)
    ts.replace(model, nn.SiLU, nn.ReLU(), share=True)


def _swin(model):
    ts.replace(model, nn.LayerNorm, lambda old: nn.LayerNorm(old.normalized_shape, eps=1e-3))
    ts.wrap(model, "layers.0.blocks.0.mlp", nn.Sequential)


def _bert(model):
    ts.replace(model, nn.Linear, lambda old: nn.Sequential(old, nn.Identity()))
    ts.set_outputs(model, 5, example_inputs=_WORDS)


def _llama(model):
    ts.prune(model, "model.layers.0.mlp.up_proj", 0.5, example_inputs=_WORDS)
    ts.wrap(model, "model.layers.*.self_attn.q_proj", Scaled)
    model.bfloat16()


def _gpt2(model):
    ts.remove(model, "transformer.h.1")


def _transformer(model):
    ts.replace(model, nn.LayerNorm, nn.RMSNorm)


def _lstm(model):
    ts.insert(model, nn.Dropout(0.2), after=nn.LSTM)
    ts.replace(model, "0", lambda old: nn.Embedding(32, 8), carry=False)


CHAINS = {
    "resnet18": _resnet18,
    "mobilenet_v2": _mobilenet,
    "densenet121": _densenet,
    "vit_b_16": _vit,
    "convnext": _convnext,
    "timm_vit": _timm_vit,
    "efficientnet": _efficientnet,
    "swin": _swin,
    "bert": _bert,
    "llama": _llama,
    "gpt2": _gpt2,
    "transformer": _transformer,
    "lstm": _lstm,
}
