"""`torchsurgery export`: what is written computes the same, without this library."""

import os

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import torchsurgery as ts

EDITS = ["-e", "prune: {target: '0', amount: 0.25}", "-e", "set_outputs: 3", "-i", "2,3,8,8"]


@pytest.fixture
def altered(nets):
    """The same by hand, with its inputs and its answer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ts.build("nets.py:small").eval()
    x = torch.randn(2, 3, 8, 8)
    ts.plan(model, x).prune("0", 0.25).apply()
    return model, x


def exported(run, to, path, edits=EDITS):
    answer = run("export", "nets.py:small", *edits, "--to", to, "-o", path)
    assert (answer.code, answer.err) == (0, "")
    assert f"Wrote {path}  " in answer.out


def test_weights(run, altered):
    exported(run, "safetensors", "w.safetensors", EDITS[:2] + EDITS[4:])
    state = load_file("w.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in altered[0].state_dict().items())


def test_a_program(run, altered):
    exported(run, "pt2", "m.pt2", EDITS[:2] + EDITS[4:])
    model, x = altered
    torch.testing.assert_close(torch.export.load("m.pt2").module()(x), model(x))


def test_onnx(run, altered):
    exported(run, "onnx", "m.onnx", EDITS[:2] + EDITS[4:])
    model, x = altered
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(answer, model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_without_edits_and_inputs(run, nets):
    assert run("export", "nets.py:small", "--to", "pt2", "-o", "m.pt2").code == 0


def test_what_cannot_be_exported(run, nets, tmp_path):
    (tmp_path / "odd.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Odd(nn.Module):\n    def forward(self, x):\n        return x if x.sum().item() > 0 else -x\n"
    )
    answer = run("export", "odd.py:Odd", "-i", "2,3", "--to", "pt2", "-o", "m.pt2")
    assert answer.code == 1
    assert "odd.py:Odd can't be exported" in answer.err
    assert not [name for name in os.listdir() if "pt2" in name]


def test_a_missing_exporter(run, nets, monkeypatch):
    def missing(*_args, **_kwargs):
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setattr("torch.onnx.export", missing)
    answer = run("export", "nets.py:small", "-i", "2,3,8,8", "--to", "onnx", "-o", "m.onnx")
    assert answer.code == 2
    assert "needs onnxscript, which is not installed" in answer.err


def test_a_folder_is_no_file(run, nets, tmp_path):
    (tmp_path / "out").mkdir()
    assert "is a folder" in run("export", "nets.py:small", "--to", "pt2", "-o", "out").err


def test_plain_code_makes_the_same_change(run, nets):
    assert (
        run("export", "nets.py:small", "-e", "replace: {target: ReLU, with: GELU}", "--to", "source", "-o", "a.py").code
        == 0
    )
    scope = {}
    with open("a.py", encoding="utf-8") as file:
        code = file.read()
    assert "torchsurgery" not in code
    exec(code, scope)
    model = scope["alter"](ts.build("nets.py:small"))
    assert type(model[2]).__name__ == type(model[4]).__name__ == "GELU"
    assert "no edits to write" in run("export", "nets.py:small", "--to", "source", "-o", "b.py").err


def test_a_hugging_face_folder(run, tmp_path, monkeypatch):
    import transformers as hf

    monkeypatch.chdir(tmp_path)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    hf.BertModel(hf.BertConfig(**small, vocab_size=50)).save_pretrained("bert")
    edit = "prune: {target: 'encoder.layer.*.intermediate.dense', amount: 0.5}"
    answer = run("export", "hf:bert", "-e", edit, "--to", "hf", "-o", "smaller")
    assert answer.code == 0
    assert hf.BertModel.from_pretrained("smaller").config.intermediate_size == 16
