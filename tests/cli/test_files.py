"""Files are written whole or not at all."""

import os
import stat

import pytest

import torchsurgery as ts
from torchsurgery.cli.files import refuse_unwritable, replaced


def test_a_file_takes_the_place_of_another_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replaced(str(path)) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_there_stays_when_something_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replaced(str(path)) as unfinished:
        unfinished.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    with replaced(str(tmp_path / "a")) as unfinished:
        unfinished.touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_places_that_are_not_there(tmp_path):
    refuse_unwritable(str(tmp_path / "new"))
    with pytest.raises(ts.RecipeError, match="there is no folder"):
        refuse_unwritable(str(tmp_path / "no" / "new"))
