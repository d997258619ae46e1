"""Opacus, torch.export, torch.compile, ONNX Runtime and PEFT take an altered model as they take any other."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import torchsurgery as ts


class Scaled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.scale * self.inner(x)


@pytest.fixture
def net():
    """A little network with statistics in its BatchNorms, in eval."""
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(8, 16, 1, stride=2), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    net(torch.randn(8, 3, 16, 16))
    return net.eval()


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 16)


EDITS = {
    "batch to group norm": lambda plan: plan.replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=4),
    "larger kernels": lambda plan: plan.replace("1.0", nn.Conv2d, kernel_size=3),
    "another activation": lambda plan: plan.replace(nn.ReLU, nn.SiLU),
    "inserted": lambda plan: plan.insert(nn.LeakyReLU(0.1), after=nn.Conv2d).insert(nn.Dropout(0.1), before="4"),
    "removed": lambda plan: plan.remove(nn.BatchNorm2d),
    "wrapped": lambda plan: plan.wrap("4", Scaled),
    "folded": lambda plan: plan.fold(torch.randn(2, 3, 16, 16)),
    "frozen norms": lambda plan: plan.replace(nn.BatchNorm2d, ts.FrozenBatchNorm),
    "norms as convolutions": lambda plan: plan.replace(nn.BatchNorm2d, nn.Conv2d),
    "low rank": lambda plan: plan.replace("0.0", ts.LowRankConv2d, rank=4).replace("4", ts.LowRankLinear, rank=5),
    "separable": lambda plan: plan.replace("0.0", ts.SeparableConv2d, rank=9),
    "asymmetric": lambda plan: plan.replace("0.0", ts.AsymmetricConv2d, rank=4),
    "convolutions turned round": lambda plan: plan.replace("0.0", nn.ConvTranspose2d),
    "pads of their own": lambda plan: plan.replace("0.0", nn.Conv2d, kernel_size=4),
}
# These leave what the network computes.
SAME = {
    "larger kernels",
    "folded",
    "frozen norms",
    "norms as convolutions",
    "separable",
    "convolutions turned round",
    "pads of their own",
}


@pytest.fixture(params=EDITS)
def altered(request, net, images):
    """The network after each of the edits, which has changed what it answers unless it was meant not to."""
    before = net(images)
    EDITS[request.param](ts.plan(net)).apply()
    assert torch.allclose(net(images), before, atol=1e-5) == (request.param in SAME)
    return net.requires_grad_(False)


def test_opacus_validates_a_converted_resnet(resnet18):
    from opacus.validators import ModuleValidator

    resnet18.train()
    assert len(ModuleValidator.validate(resnet18)) == 20, "a BatchNorm mixes the samples of a batch"
    ts.replace(resnet18, nn.BatchNorm2d, nn.GroupNorm, num_groups=ts.divisor(32))
    assert ModuleValidator.validate(resnet18, strict=True) == []


# Opacus on what production asks for; PyTorch on a hook of Opacus before the first layer.
@pytest.mark.filterwarnings("ignore:Secure RNG turned off:UserWarning")
@pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed:UserWarning")
def test_opacus_trains_a_converted_model(net):
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    ts.plan(net).replace(nn.BatchNorm2d, nn.GroupNorm, num_groups=4).replace(nn.ReLU, nn.ReLU, inplace=False).apply()
    before = copy.deepcopy(net.state_dict())
    private, optimizer, loader = PrivacyEngine().make_private(
        module=net.train(),
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(torch.randn(8, 3, 16, 16), torch.arange(8)), batch_size=8),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=False,
    )
    for images, labels in loader:
        nn.functional.cross_entropy(private(images), labels).backward()
        assert {len(parameter.grad_sample) for parameter in net.parameters()} == {8}, "a gradient for each sample"
        optimizer.step()
    assert [key for key, tensor in net.state_dict().items() if torch.equal(tensor, before[key])] == []


def test_torch_export(altered, images):
    exported = torch.export.export(altered, (images,)).module()
    torch.testing.assert_close(exported(images), altered(images), atol=0, rtol=0)


def test_torch_compile(altered, images):
    compiled = torch.compile(altered, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), altered(images), atol=0, rtol=0)


def test_compiled_before_it_is_altered(net, images):
    compiled = torch.compile(net, backend="eager")
    compiled(images)
    ts.plan(compiled).replace(nn.ReLU, nn.SiLU).insert(nn.Dropout(0.1), before="4").apply()
    torch.testing.assert_close(compiled(images), net(images), atol=0, rtol=0)


# What is exported takes seconds: several edits at once.
TOGETHER = [
    ("batch to group norm", "larger kernels", "another activation", "inserted", "wrapped"),
    ("folded", "low rank"),
    ("norms as convolutions", "separable"),
    ("frozen norms", "convolutions turned round"),
    ("asymmetric", "pads of their own"),
]


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_onnxruntime(net, images, tmp_path, names):
    import onnxruntime

    plan = ts.plan(net)
    for name in names:
        plan = EDITS[name](plan) if name != "pads of their own" else plan.replace("1.0", nn.Conv2d, kernel_size=2)
    plan.apply()
    torch.onnx.export(net, (images,), dynamo=True, verbose=False).save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(answer, net(images).detach().numpy(), atol=1e-5)


def test_a_transformer_with_projections_of_its_own(tmp_path):
    import onnxruntime

    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
    x = torch.randn(2, 5, 16)
    before = net(x)
    ts.replace(net, nn.MultiheadAttention, ts.SeparateAttention)
    assert torch.allclose(net(x), before, atol=1e-5)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), net(x), atol=1e-6, rtol=0)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x), atol=1e-6, rtol=0)
    torch.onnx.export(net, (x,), dynamo=True, verbose=False).save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(answer, net(x).detach().numpy(), atol=1e-5)


def test_a_network_for_volumes_exports(net):
    volume = torch.randn(2, 3, 4, 16, 16)
    ts.convert.dims(net, 3)
    exported = torch.export.export(net, (volume,)).module()
    torch.testing.assert_close(exported(volume), net(volume), atol=0, rtol=0)


# Transformers 5 has renamed what PEFT still asks for.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_trains_an_altered_transformer():
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    edits = ts.plan(model).replace("**.act_fn", nn.GELU).insert(nn.Dropout(0.1), after="**.o_proj")
    edits.replace("**.up_proj", nn.Linear, bias=True).apply()
    tuned = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj", "up_proj"], r=4))
    trained = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 3 * 2, "two matrices for each of three Linears in two layers"
    assert all("lora_" in name for name in trained)

    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    tokens = torch.randint(0, 64, (2, 8))
    losses = []
    for _ in range(3):
        losses.append(tuned(input_ids=tokens, labels=tokens).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[2] < losses[0]
    merged = tuned.merge_and_unload()
    assert [type(layer.mlp.act_fn) for layer in merged.model.layers] == [nn.GELU, nn.GELU]
