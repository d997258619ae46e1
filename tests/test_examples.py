"""The examples run as they stand, and print what they are there to show."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def printed(monkeypatch, capsys):
    """Runs an example's main() and answers what it prints."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def run(name, *args):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        assert capsys.readouterr().out == "", "importing an example does nothing"
        module.main(*args)
        return capsys.readouterr().out

    return run


def test_a_fused_relu(printed):
    out = printed("a_fused_relu")
    assert "Surgery on ResNet: 9 layers replaced · params 11,689,512 → 11,689,512" in out
    assert "eval:  the output is the same, bit for bit" in out
    assert float(re.search(r"two runs differ by up to ([\d.]+)", out)[1]) > 0.01


def test_b_group_norm(printed):
    out = printed("b_group_norm")
    assert "BatchNorm2d(64) → GroupNorm(8, 64)" in out
    assert "20 modules" in out
    assert "carried weight, bias · lost running_mean, running_var, num_batches_tracked" in out
    assert "the affine Parameters are the very objects that the BatchNorms had" in out


def test_c_larger_kernels(printed):
    out = printed("c_larger_kernels")
    assert "weight zero-padded from 1×1 to 3×3" in out
    # Eight new taps in each of the three kernels: 8 × (64·128 + 128·256 + 256·512)
    assert "params 11,689,512 → 13,065,768" in out
    assert out.count("stride (2, 2) as before, padding (1, 1)") == 3
    assert float(re.search(r"largest difference of the output: (\S+)", out)[1]) < 1e-5


def test_d_by_kernel_size(printed):
    out = printed("d_by_kernel_size")
    assert "drops 24 of 49 taps" in out
    assert "before {'1×1': 3, '3×3': 16, '7×7': 1}" in out
    assert "after  {'1×1': 3, '3×3': 12, '5×5': 5}" in out
    assert "undone: the kernel sizes are what they were" in out


def test_e_while_training(printed):
    out = printed("e_while_training")
    shapes = re.findall(r"momentum of the kernel carried: \((.+)\) → \((.+)\)", out)
    assert shapes == [
        ("16, 3, 3, 3", "16, 3, 5, 5"),
        ("16, 16, 3, 3", "16, 16, 5, 5"),
        ("512, 256, 3, 3", "512, 256, 5, 5"),
    ]
    losses = re.findall(r"loss ([\d.]+) → ([\d.]+), changed, → ([\d.]+) → ([\d.]+)", out)
    assert len(losses) == 3
    assert all(float(last) < float(before) for _, before, _, last in losses)


def test_f_llama_on_meta(printed):
    out = printed("f_llama_on_meta")
    assert "model.layers.0.self_attn.k_proj  Linear(in_features=64, out_features=32, bias=False)" in out
    assert "on meta: 29 layers changed, the head is tied to the embedding as before" in out
    assert "on CPU: logits (2, 16, 128), each of the 29 layers was called once" in out


def test_demo(printed, tmp_path):
    out = printed("demo", tmp_path / "made" / "demo.png")
    picture = (tmp_path / "made" / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000

    pitches = [float(hertz) for hertz in re.findall(r"It hears ([\d.]+) Hz", out)]
    assert pitches == [pytest.approx(440, abs=2), pytest.approx(pitches[0], abs=0.01)]
    assert "Plan: 2 edits, 0 follow-ups · 11 of 14 modules" in out
    assert "✓ new layers called       11 of 11" in out
    assert "Undone: all 103,680 answers are those from before, bit for bit." in out

    before, dropped, after = map(
        float, re.search(r"([\d.]+) % before · ([\d.]+) % right after the change · ([\d.]+) % after", out).groups()
    )
    assert before > 97
    assert dropped < before - 10
    assert after > 95
    assert "AdamW: 23 of 23 Parameters have kept their moments." in out
    assert re.findall(r"^(\w+Error):", out, re.M) == ["SelectionError", "ConfigError", "SelectionError"]


def test_every_example_has_a_test():
    examples = {path.stem for path in EXAMPLES.glob("*.py")} - {"pitch"}  # a part of the demo
    assert examples == {name.removeprefix("test_") for name in globals() if name.startswith("test_")} - {
        "every_example_has_a_test"
    }
