"""How files come into a folder: all of them or none; and whose are left alone."""

import os

import pytest

import torchsurgery as ts
from torchsurgery.storage.folder import COMMIT, INDEX, opened, refuse_foreign, transaction


def put(folder, number, index=None):
    with transaction(folder) as under_way:
        under_way.add("recipe", "json", lambda sink: sink.write(b"recipe %d" % number))
        under_way.add("structure", "txt", lambda sink: sink.write(b"the same"))
        for i in range(2):
            under_way.add("weights", "safetensors", lambda sink, i=i: sink.write(b"weights %d %d" % (number, i)))
        under_way.commit(index)


def read(folder):
    with opened(folder) as save:
        return [save.handles[file.name].read() for file in save.files["weights"]]


def test_names_are_of_contents(tmp_path):
    put(tmp_path / "save", 1)
    names = sorted(path.name for path in (tmp_path / "save").iterdir())
    assert names[0] == COMMIT and len(names) == 5
    put(tmp_path / "save", 1)
    assert sorted(path.name for path in (tmp_path / "save").iterdir()) == names


def test_the_last_one_is_there_and_the_files_of_the_one_before_are_gone(tmp_path):
    put(tmp_path / "save", 1, b"{}")
    put(tmp_path / "save", 2, b"{}")
    assert read(tmp_path / "save") == [b"weights 2 0", b"weights 2 1"]
    assert len(list((tmp_path / "save").iterdir())) == 6 and (tmp_path / "save" / INDEX).is_file()


def test_what_fails_leaves_what_was_there(tmp_path):
    folder = tmp_path / "save"
    put(folder, 1)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ValueError, match="mine"), transaction(folder) as under_way:
        under_way.add("recipe", "json", lambda sink: sink.write(b"half"))
        raise ValueError("mine")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert read(folder) == [b"weights 1 0", b"weights 1 1"]


def test_what_fails_in_a_new_folder_leaves_none(tmp_path):
    with pytest.raises(ValueError, match="mine"), transaction(tmp_path / "a" / "b") as under_way:
        under_way.add("recipe", "json", lambda sink: sink.write(b"half"))
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_save_are_cleared(tmp_path):
    folder = tmp_path / "save"
    put(folder, 1)
    (folder / ".partial-1-1").write_bytes(b"half")
    (folder / "weights-0123456789abcdef.safetensors").write_bytes(b"whole, and of no save")
    put(folder, 2)
    assert len(list(folder.iterdir())) == 5


def test_a_reader_goes_on_with_the_save_that_it_has_opened(tmp_path):
    folder = tmp_path / "save"
    put(folder, 1)
    with opened(folder) as save:
        put(folder, 2)
        assert [save.handles[f.name].read() for f in save.files["weights"]] == [b"weights 1 0", b"weights 1 1"]


def test_a_reader_that_comes_between(tmp_path, monkeypatch):
    """It has read what the files are, and they are gone: another save has taken their place."""
    from torchsurgery.storage import folder as module

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


@pytest.mark.parametrize("data", [b"", b"{}", b'{"mine": 1}', b"\xff"])
def test_a_damaged_save_is_not_overwritten(tmp_path, data):
    (tmp_path / COMMIT).write_bytes(data)
    with pytest.raises(ts.RecipeError, match="holds a damaged save, or somebody else's") as caught:
        refuse_foreign(tmp_path)
    assert caught.value.way_out == "choose a new folder, or remove this one"
    assert (tmp_path / COMMIT).read_bytes() == data
