"""How files come into a folder: all of them or none; and whose are left alone."""

import pytest
from bare import put, read

import torchsurgery as ts
from torchsurgery.storage.folder import refuse_foreign, transaction
from torchsurgery.storage.opening import COMMIT, INDEX


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


@pytest.mark.parametrize("data", [b"", b"{}", b'{"mine": 1}', b"\xff"])
def test_a_damaged_save_is_not_overwritten(tmp_path, data):
    (tmp_path / COMMIT).write_bytes(data)
    with pytest.raises(ts.RecipeError, match="holds a damaged save, or somebody else's") as caught:
        refuse_foreign(tmp_path)
    assert caught.value.way_out == "choose a new folder, or remove this one"
    assert (tmp_path / COMMIT).read_bytes() == data
