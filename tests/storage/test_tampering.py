"""Saves of which a file was changed and every digest made right again: refused, or a model; nothing else."""

import random
import shutil
import sys
from pathlib import Path

import pytest

import torchsurgery as ts

sys.path.insert(0, str(Path(__file__).parent))
import tampering


def test_tampered_saves():
    """A few; `benchmarks/keep.py` tries thousands."""
    found = tampering.run(300)
    assert found["foreign"] == found["imports"] == []
    assert 10 < found["loaded"] < 200  # both sides are reached


def test_a_save_that_is_only_renamed_is_taken(tmp_path):
    """What makes digests right again does so: a changed value in a file of weights goes unnoticed."""
    folder = next(tampering.saves(tmp_path))
    commit = tampering.json.loads((folder / "COMMIT.json").read_bytes())
    row = commit["files"]["weights"][0]
    data = bytearray((folder / row["name"]).read_bytes())
    data[-1] ^= 1
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / row["name"]).write_bytes(data)
    with pytest.raises(ts.RecipeError, match="some of its bytes"):
        tampering.load(copy)
    tampering._replaced(copy, "weights", row, bytes(data))
    (copy / "COMMIT.json").write_bytes(tampering._canonical(commit))
    tampering.load(copy)


def test_every_kind_of_file_is_changed(tmp_path):
    draw, seen = random.Random(0), set()
    for folder in list(tampering.saves(tmp_path)):
        for number in range(40):
            copy = tmp_path / f"{folder.name}-{number}"
            shutil.copytree(folder, copy)
            seen.add(tampering.tamper(copy, draw))
            shutil.rmtree(copy)
    roles = {"recipe", "structure", "indices", "weights", "buffers", "training", "moments", "values"}
    assert seen == roles | {"COMMIT.json"}
