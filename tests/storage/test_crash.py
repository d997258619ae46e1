"""A kill at any moment, a full disk at any shard: the old save or the new one, never a mixture."""

import os
import signal
import time

import pytest
from torch import nn

import torchsurgery as ts

if os.name != "posix":
    pytest.skip("needs fork and file locks", allow_module_level=True)
import crashing


def test_killed_at_random_moments(tmp_path):
    """A few; `benchmarks/keep.py` kills 200."""
    assert crashing.killed(tmp_path / "save", 12) > 0


def test_no_room_at_each_shard(tmp_path):
    assert crashing.full_at_each_shard(tmp_path / "save") == len(crashing.WIDTHS)


def test_no_room_for_the_first_save_leaves_nothing(tmp_path):
    import resource

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        crashing.save(1, tmp_path / "deep" / "save")

    _, status = os.waitpid(crashing.in_child(work), 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_first_save_that_was_killed_is_told_and_saved_over(tmp_path):
    folder = tmp_path / "save"
    crashing.save(1, folder)
    (folder / "COMMIT.json").unlink()
    (folder / "model.safetensors.index.json").unlink()
    (folder / f".partial-{os.getpid()}-7").write_bytes(b"half")
    with pytest.raises(ts.RecipeError, match="interrupted"):
        ts.load(folder, base=crashing.build)
    crashing.save(2, folder)
    assert crashing.number_in(folder) == 2
    assert not list(folder.glob(".partial*"))


def test_readers_see_one_save_or_the_other(tmp_path):
    folder = tmp_path / "save"
    crashing.save(0, folder)

    def work():
        number = 0
        while True:
            number += 1
            crashing.save(number, folder)

    child = crashing.in_child(work)
    try:
        seen, end = set(), time.monotonic() + 60
        while len(seen) < 5 and time.monotonic() < end:
            seen.add(crashing.number_in(folder))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(seen) == 5


def test_two_writers_wait_for_each_other(tmp_path):
    folder = tmp_path / "save"

    def work(first):
        def saves():
            for number in range(first, first + 6):
                crashing.save(number, folder)

        return saves

    children = [crashing.in_child(work(first)) for first in (100, 200)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0]
    assert crashing.number_in(folder) in (105, 205)
    assert len(list(folder.glob("weights-*"))) == len(crashing.WIDTHS)


def test_interrupted_by_the_user(tmp_path, monkeypatch):
    """Ctrl-C at each file: it is raised as what it is, and the old save is there."""
    from torchsurgery.storage import folder as module

    target = tmp_path / "save"
    crashing.save(0, target)
    before = sorted(path.name for path in target.iterdir())
    add, count = module.Transaction.add, [0]

    def interrupted(self, *arguments):
        count[0] += 1
        if count[0] % 4 == 0:
            raise KeyboardInterrupt
        return add(self, *arguments)

    monkeypatch.setattr(module.Transaction, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crashing.save(1, target)
    assert sorted(path.name for path in target.iterdir()) == before
    assert crashing.number_in(target) == 0


def test_files_have_the_rights_that_the_umask_gives(tmp_path):
    old = os.umask(0o027)
    try:
        crashing.save(0, tmp_path / "save")
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "save").iterdir()} == {0o640}


def test_a_model_that_was_loaded_stays_when_its_folder_is_saved_over(tmp_path):
    folder = tmp_path / "save"
    crashing.save(3, folder)
    model = ts.load(folder, base=crashing.build)
    crashing.save(4, folder)
    assert isinstance(model, nn.Sequential)
    assert {float(value) for p in model.parameters() for value in p.detach().unique()} == {3.0}
