"""What a save's commit says, and its files, open: a reader sees one save or another, or is told why not."""

import os

import pytest
from bare import put, read

import torchsurgery as ts
from torchsurgery.storage.folder import refuse_foreign
from torchsurgery.storage.opening import COMMIT, opened


def test_a_reader_goes_on_with_the_save_that_it_has_opened(tmp_path):
    folder = tmp_path / "save"
    put(folder, 1)
    with opened(folder) as save:
        put(folder, 2)
        assert [save.handles[f.name].read() for f in save.files["weights"]] == [b"weights 1 0", b"weights 1 1"]


def test_a_reader_that_comes_between(tmp_path, monkeypatch):
    """It has read what the files are, and they are gone: another save has taken their place."""
    from torchsurgery.storage import opening as module

    folder = tmp_path / "save"
    put(folder, 1)
    opening, count = module._open, [0]

    def late(*arguments):
        count[0] += 1
        if count[0] == 2:
            put(folder, 2)
        return opening(*arguments)

    monkeypatch.setattr(module, "_open", late)
    assert read(folder) == [b"weights 2 0", b"weights 2 1"]


def test_digests_of_small_files(tmp_path):
    folder = tmp_path / "save"
    put(folder, 1)
    with opened(folder) as save:
        assert save.read("recipe", 100) == b"recipe 1"
        assert save.read("values", 100) is None
    with opened(folder) as save, pytest.raises(ts.RecipeError, match="may have 3"):
        save.read("recipe", 3)
    with opened(folder) as save, pytest.raises(ts.RecipeError, match="expected one file of weights, got 2"):
        save.one("weights")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no JSON"),
        (b"{}", "a member 'format'"),
        (b'{"files":{},"format":"torchsurgery save","version":1}', "a member 'recipe'"),
        (b'{"files":{},"format":"other","version":1}', "format"),
        (b'{"files":{},"format":"torchsurgery save","version":9}', "upgrade"),
        (b'{"files":{"recipe":[],"structure":[]},"format":"torchsurgery save","version":1}', "at least 1"),
        (b" " * (2 << 20), "at most 1,048,576 bytes"),
    ],
)
def test_commits_that_are_none(tmp_path, data, match):
    (tmp_path / COMMIT).write_bytes(data)
    with pytest.raises(ts.RecipeError, match=match) as caught, opened(tmp_path):
        pass
    assert str(tmp_path / COMMIT) in str(caught.value)
    with pytest.raises(ts.RecipeError):
        refuse_foreign(tmp_path)  # and it is not written over


def test_a_commit_that_says_the_same_otherwise(tmp_path):
    put(tmp_path / "save", 1)
    data = (tmp_path / "save" / COMMIT).read_bytes()
    (tmp_path / "save" / COMMIT).write_bytes(data.replace(b",", b", ", 1))
    with pytest.raises(ts.RecipeError, match="the one way to write it down"):
        read(tmp_path / "save")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="rights count for others than root")
def test_files_that_may_not_be_read(tmp_path):
    put(tmp_path / "save", 1)
    (tmp_path / "save" / COMMIT).chmod(0)
    with pytest.raises(ts.RecipeError, match="can't be read"):
        read(tmp_path / "save")


def test_links_to_files_are_followed(tmp_path):
    """As in the cache of a hub."""
    put(tmp_path / "save", 1)
    (tmp_path / "links").mkdir()
    for path in (tmp_path / "save").iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    assert read(tmp_path / "links") == [b"weights 1 0", b"weights 1 1"]
