"""What modules have and compute: held to the last digit against torch's own counters, on real models."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import torchsurgery as ts
from sameness import portrait
from torchsurgery.measuring import found_inputs, without_run
from torchsurgery.stats import Cost


def images(side, channels=3):
    return torch.zeros(1, channels, side, side)


# reference → inputs
VISION = {
    "torchvision:resnet18": images(64),
    "torchvision:resnext50_32x4d": images(64),
    "torchvision:densenet121": images(64),
    "torchvision:mobilenet_v3_large": images(64),
    "torchvision:efficientnet_b0": images(64),
    "torchvision:shufflenet_v2_x1_0": images(64),
    "torchvision:squeezenet1_1": images(64),
    "torchvision:vit_b_16": images(224),
    "torchvision:swin_t": images(64),
    "torchvision:r3d_18": torch.zeros(1, 3, 8, 32, 32),
    "torchvision:deeplabv3_mobilenet_v3_large": images(64),
    "torchvision:fcn_resnet50": images(64),
    "timm:convnext_pico": images(64),
    "timm:regnety_002": images(64),
    "timm:mixer_s32_224": images(224),
    "timm:efficientformer_l1": images(224),
}


def tiny(name):
    """Models of transformers, from tiny configurations."""
    import transformers as hf

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    kinds = {
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, {**small, "num_key_value_heads": 2, "vocab_size": 40}),
        "bert": (hf.BertModel, hf.BertConfig, {**small, "vocab_size": 40}),
        "vit": (hf.ViTModel, hf.ViTConfig, {**small, "image_size": 32, "patch_size": 8}),
        "gpt2": (
            hf.GPT2LMHeadModel,
            hf.GPT2Config,
            {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 40, "bos_token_id": 0, "eos_token_id": 0},
        ),
    }
    model, config, arguments = kinds[name]
    return model(config(**arguments))


def torch_counts(model, *args, **kwargs):
    """Parameters as everybody counts them, and multiply-adds as torch counts them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Not all versions of PyTorch count all fused kernels.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.eval()(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2


def adds_up(stats):
    """The whole is the sum of what each has of its own, and so is every part."""
    assert sum((row.own for row in stats.rows), Cost()) == stats.total
    for row in stats.rows:
        assert sum((other.own for other in stats.rows if row.holds(other)), row.own) == row.total


@pytest.mark.parametrize("reference", VISION)
def test_vision_models(reference):
    model, x = ts.build(reference), VISION[reference]
    stats = ts.inspect(model, x)
    assert (stats.params, stats.macs) == torch_counts(model, x)
    assert stats.macs > 0
    assert [row.name for row in stats.rows] == [name for name, _ in model.named_modules()]
    adds_up(stats)


@pytest.mark.parametrize("name", ["llama", "bert", "vit", "gpt2"])
def test_language_models(name):
    model = tiny(name)
    inputs = {"pixel_values": images(32)} if name == "vit" else {"input_ids": torch.ones(1, 8, dtype=torch.long)}
    stats = ts.inspect(model, inputs)
    assert (stats.params, stats.macs) == torch_counts(model, **inputs)
    assert stats.macs > 0
    adds_up(stats)


def test_inputs_are_found():
    stats = ts.inspect(tiny("bert"))
    assert stats.inputs == (((1, 8), "int64"),)
    assert ts.inspect(nn.Linear(3, 2)).inputs == (((2, 3), "float32"),)


def test_the_bytes_of_a_state_dict(resnet18):
    stats = ts.inspect(resnet18, images(32))
    assert stats.bytes == sum(t.numel() * t.element_size() for t in resnet18.state_dict().values())


def test_what_each_row_says(resnet18):
    stats = ts.inspect(resnet18, images(64))
    conv, block, top = stats["layer1.0.conv1"], stats["layer1"], stats[""]
    assert (conv.type, conv.configuration, conv.output, conv.calls) == (
        "Conv2d",
        "64, 64, k3",
        ((1, 64, 16, 16),),
        1,
    )
    assert conv.own == conv.total == Cost(64 * 64 * 9, 64 * 64 * 9, 4 * 64 * 64 * 9, 64 * 64 * 9 * 16 * 16)
    assert (block.type, block.configuration, block.own.params) == ("Sequential", "×2 BasicBlock", 0)
    assert (top.depth, block.depth, conv.depth) == (0, 1, 3)
    assert top.output == stats.output == ((1, 1000),)
    assert len(stats.leaves) == 52
    assert stats["layer1.0.relu"].calls == 2
    with pytest.raises(KeyError):
        stats["layer9"]


def test_a_shared_module_has_one_row_with_all_its_calls():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared))
    stats = ts.inspect(net, torch.zeros(1, 4))
    assert stats["0"].names == ("0", "2.0")
    assert stats["2.0"] is stats["0"]
    assert (stats.params, stats.macs, stats["0"].calls) == (20, 32, 2)
    assert stats["2"].total == Cost()
    adds_up(stats)


def test_a_tied_weight_counts_once():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    net[1].weight = net[0].weight
    stats = ts.inspect(net, torch.zeros(1, 3, dtype=torch.long))
    assert (stats.params, stats["0"].own.params, stats["1"].own.params) == (20, 20, 0)


def test_frozen_parameters():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    assert ts.inspect(net, torch.zeros(1, 2)).total.trainable == 8


class Direct(nn.Module):
    """Multiplies itself, calls a child's forward past its call, and catches an error of another."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))
        self.inner, self.broken = nn.Linear(4, 4), nn.Bilinear(4, 4, 4)

    def forward(self, x):
        try:
            self.broken(x)
        except TypeError:
            x = x @ self.weight
        return self.inner.forward(x)


def test_what_is_computed_in_a_forward_belongs_to_its_module():
    stats = ts.inspect(nn.Sequential(Direct()), torch.zeros(1, 4))
    assert (stats.macs, stats["0"].own.macs, stats["0.inner"].calls) == (32, 32, 0)


def test_a_fused_recurrent_layer_counts_the_products_that_it_is_made_of():
    lstm = nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True)
    # four gates, two directions; the second layer takes both directions' outputs
    by_hand = 10 * 2 * 4 * 16 * ((8 + 16) + (32 + 16))
    assert ts.inspect(lstm, torch.zeros(2, 5, 8)).macs == by_hand


class Reads(nn.Module):
    """Its way depends on values."""

    def __init__(self):
        super().__init__()
        self.short, self.long = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.long(self.short(x) @ self.short.weight) if x.sum() > 0 else self.short(x)


@pytest.mark.parametrize(("value", "macs"), [(1.0, 8 + 8 + 8), (-1.0, 8)])
def test_a_model_that_reads_values_is_computed(value, macs):
    assert ts.inspect(Reads(), torch.full((1, 4), value)).macs == macs


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(resnet18, training):
    resnet18.train(training)
    before, random = portrait(resnet18), torch.random.get_rng_state()
    ts.inspect(resnet18, images(64))
    with pytest.raises(ts.TraceError):
        ts.inspect(resnet18, torch.zeros(1, 4, 64, 64))
    assert portrait(resnet18) == before
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(module.training is training for module in resnet18.modules())


def test_a_model_on_meta():
    with torch.device("meta"):
        model = ts.build("torchvision:resnet18")
    assert ts.inspect(model, images(64)).macs == ts.inspect(ts.build("torchvision:resnet18"), images(64)).macs
    with torch.device("meta"), pytest.raises(ts.TraceError):
        ts.inspect(Reads(), torch.zeros(1, 4))


def test_without_a_run(resnet18):
    stats = without_run(resnet18)
    assert (stats.params, stats.macs, stats.inputs, stats.output) == (11_689_512, 0, (), ())


def test_a_failure_names_the_module(resnet18):
    with pytest.raises(ts.TraceError) as caught:
        ts.inspect(resnet18, torch.zeros(1, 4, 64, 64))
    assert str(caught.value).startswith("conv1 of ResNet fails on these inputs: RuntimeError")
    assert caught.value.name == "conv1"


def test_no_inputs_are_found():
    class Two(nn.Linear):
        def forward(self, x, y):
            return super().forward(x) + y

    with pytest.raises(ts.TraceError, match="no inputs were found that Two takes") as caught:
        ts.inspect(Two(3, 2))
    assert caught.value.way_out.startswith("give some")


def test_no_model():
    with pytest.raises(ts.SelectionError, match="the model must be"):
        ts.inspect("resnet18")


def test_found_inputs():
    assert found_inputs(nn.Conv2d(3, 4, 3)).shape == (1, 3, 64, 64)
    assert found_inputs(tiny("bert")).keys() == {"input_ids"}
    with pytest.raises(ts.TraceError):
        found_inputs(nn.Bilinear(2, 2, 2))
