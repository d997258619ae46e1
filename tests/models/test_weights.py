"""Weights from files: they fit, or it is said which don't."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import torchsurgery as ts
from torchsurgery.models import load_weights


def net(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "bin"])
def test_files(tmp_path, suffix):
    saved, loaded, path = net(), net(), tmp_path / f"w.{suffix}"
    save_file(saved.state_dict(), path) if suffix == "safetensors" else torch.save(saved.state_dict(), path)
    load_weights(loaded, str(path))
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_what_training_leaves_around_them(tmp_path, prefix, key):
    saved, loaded, path = net(), net(), tmp_path / "w.pt"
    state = {prefix + name: tensor for name, tensor in saved.state_dict().items()}
    torch.save(state if key is None else {key: state, "epoch": 3}, path)
    load_weights(loaded, str(path))
    assert torch.equal(saved[0].weight, loaded[0].weight)


def refusal(model, path):
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ts.SourceError) as caught:
        load_weights(model, str(path))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    return caught.value


def test_other_shapes(tmp_path):
    torch.save(net(4).state_dict(), tmp_path / "w.pt")
    error = refusal(net(), tmp_path / "w.pt")
    assert "does not fit Sequential: 7 of another shape." in str(error)
    assert "0.weight is (4, 2) in the file, (3, 2) in the model" in str(error)
    assert "ts.load" in error.way_out


def test_other_names(tmp_path):
    torch.save({"0.weight": torch.zeros(3, 2), "other": torch.zeros(1)}, tmp_path / "w.pt")
    error = refusal(net(), tmp_path / "w.pt")
    assert "8 missing, 1 unknown" in str(error)
    assert "… 3 more" in str(error)


def test_no_such_file(tmp_path):
    torch.save({}, tmp_path / "weights.pt")
    assert "there is weights.pt" in str(refusal(net(), tmp_path / "weigths.pt"))


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_files_that_cannot_be_read(tmp_path, suffix):
    (tmp_path / f"w.{suffix}").write_bytes(b"nothing of the kind")
    assert "can't be read" in str(refusal(net(), tmp_path / f"w.{suffix}"))


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"0.weight": Evil()}, tmp_path / "w.pt")
    assert "can't be read" in str(refusal(net(), tmp_path / "w.pt"))


@pytest.mark.parametrize("content", [3, [1], {"a": 3}])
def test_files_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    assert "holds no state dict" in str(refusal(net(), tmp_path / "w.pt"))
