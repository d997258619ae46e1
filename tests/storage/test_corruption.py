"""Every flipped bit, every truncation, every missing file of a save is found, and said with the file's name."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import torchsurgery as ts
from torchsurgery.storage.opening import COMMIT, INDEX


def build():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small save with files of every kind."""
    folder = tmp_path_factory.mktemp("saved") / "save"
    net = build()
    net.register_buffer("scratch", torch.ones(2), persistent=False)
    ts.prune(net, "0", 0.5, example_inputs=torch.randn(2, 3))
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(2, 3)).sum().backward()
    sgd.step()
    ts.save(net, folder, optimizer=sgd, state={"epoch": 1})
    return folder


def base():
    net = build()
    net.register_buffer("scratch", torch.ones(2), persistent=False)
    return net


def read(folder):
    model = ts.load(folder, base=base)
    ts.load_training(folder, model)
    return model


def ours(folder):
    return sorted(path for path in folder.iterdir() if path.name != INDEX)


def test_flipped_bits(saved, tmp_path):
    """A thousand of them; `benchmarks/keep.py` flips ten thousand."""
    read(saved)
    draw, folder = random.Random(0), tmp_path / "copy"
    shutil.copytree(saved, folder)
    files = {path: path.read_bytes() for path in ours(folder)}
    assert len(files) == 8, sorted(path.name for path in files)
    places = [(path, i) for path, data in files.items() for i in range(len(data) * 8)]
    for path, bit in draw.sample(places, 1_000):
        data = bytearray(files[path])
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(ts.RecipeError):
            read(folder)
        path.write_bytes(files[path])
    read(folder)


def test_every_truncation_of_every_file(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    for path in ours(folder):
        data = path.read_bytes()
        for length in range(0, len(data), 1 + len(data) // 200):
            path.write_bytes(data[:length])
            with pytest.raises(ts.RecipeError, match=path.name.partition("-")[0]):
                read(folder)
        path.write_bytes(data)
    read(folder)


def test_every_truncation_of_the_header_is_found_without_digests(saved, tmp_path):
    from torchsurgery.storage.tensors import read_tensors

    weights = next(saved.glob("weights-*"))
    data = weights.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for end in range(8 + length):
        cut = tmp_path / "cut"
        cut.write_bytes(data[:end])
        with cut.open("rb") as file, pytest.raises(ts.RecipeError, match="cut"):
            read_tensors(file, "cut", end, None)


def test_a_missing_file_is_named(saved, tmp_path):
    for path in ours(saved):
        folder = tmp_path / path.name
        shutil.copytree(saved, folder)
        (folder / path.name).unlink()
        with pytest.raises(ts.RecipeError) as caught:
            read(folder)
        assert path.name in str(caught.value) or (path.name == COMMIT and "no save" in str(caught.value))


def test_appended_bytes(saved, tmp_path):
    for path in ours(saved):
        folder = tmp_path / path.name
        shutil.copytree(saved, folder)
        with (folder / path.name).open("ab") as file:
            file.write(b" ")
        with pytest.raises(ts.RecipeError):
            read(folder)


def test_files_of_two_saves_are_not_mixed(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    ts.save(ts.load(folder, base=base), tmp_path / "other")
    shutil.copy(tmp_path / "other" / COMMIT, folder / COMMIT)
    assert isinstance(ts.load(folder, base=base), nn.Sequential)  # the very same model, so its files are there
    altered = ts.load(folder, base=base)
    nn.init.zeros_(altered[0].weight)
    ts.save(altered, tmp_path / "third")
    shutil.copy(tmp_path / "third" / COMMIT, folder / COMMIT)
    with pytest.raises(ts.RecipeError, match="missing"):
        ts.load(folder, base=base)


def test_flipped_bits_of_weights_pass_only_where_that_was_asked_for(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    weights = next(folder.glob("weights-*"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ts.RecipeError, match="some of its bytes"):
        ts.load(folder, base=base)
    assert isinstance(ts.load(folder, base=base, verify=False), nn.Sequential)


def test_a_pipe_and_a_folder_are_no_files(saved, tmp_path):
    import os

    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    weights = next(folder.glob("weights-*"))
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(ts.RecipeError, match="no regular file"):
        read(folder)
    weights.unlink()
    weights.mkdir()
    with pytest.raises(ts.RecipeError):
        read(folder)
    assert Path(folder).is_dir()
