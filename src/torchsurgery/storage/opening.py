"""A save as it lies in a folder: what its `COMMIT.json` says, and its files, open.

A reader has all files of one save open before it reads any: while another save takes their place, they stay what they
are.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import RecipeError
from ..recipes.strict import canonical, read_json
from .tensors import damaged

COMMIT = "COMMIT.json"
INDEX = "model.safetensors.index.json"
FORMAT, VERSION = "torchsurgery save", 1
ROLES = ("recipe", "structure", "indices", "weights", "buffers", "training", "moments", "values")
_NAME = rf"({'|'.join(ROLES)})-[0-9a-f]{{16}}\.(json|txt|safetensors)"
_PARTIAL = re.compile(r"\.partial-\d+-\d+")
_MOST_COMMIT = 1 << 20
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Written:
    """A file of a save, as `COMMIT.json` knows it."""

    name: str
    size: int
    sha256: str


Files = Mapping[str, tuple[Written, ...]]


def is_ours(name: str) -> bool:
    """Whether a file of this name is one of a save, or of one that was interrupted."""
    return bool(re.fullmatch(_NAME, name) or _PARTIAL.fullmatch(name))


@dataclass
class Save:
    """An open save: its files stay what they are, also while another one takes its place.

    Attributes:
        folder: Where it is.
        files: What it has, by role.
    """

    folder: Path
    files: Files
    handles: Mapping[str, BinaryIO]

    def where(self, file: Written) -> str:
        """How errors call a file."""
        return str(self.folder / file.name)

    def one(self, role: str) -> Written | None:
        """The file of a role that has at most one."""
        found = self.files.get(role, ())
        if len(found) > 1:
            raise RecipeError(f"{self.folder / COMMIT}: expected one file of {role}, got {len(found)}.", got=found)
        return found[0] if found else None

    def read(self, role: str, most: int) -> bytes | None:
        """All bytes of such a file, whose digest is right; None where there is none."""
        file = self.one(role)
        if file is None:
            return None
        if file.size > most:
            raise RecipeError(f"{self.where(file)} has {file.size:,} bytes, and may have {most:,}.", got=file.size)
        data = self.handles[file.name].read()
        if (found := hashlib.sha256(data).hexdigest()) != file.sha256:
            raise damaged(self.where(file), file.sha256, found)
        return data


@contextmanager
def opened(folder: Path) -> Iterator[Save]:
    """The save in a folder, all of its files open.

    Raises:
        RecipeError: if there is none, or a file of it is missing or has another size.
    """
    for attempt in range(_TRIES):
        files = committed(folder, required=True)
        with ExitStack() as stack:
            try:
                handles = {f.name: stack.enter_context(_open(folder, f)) for row in files.values() for f in row}
            except FileNotFoundError as error:
                if attempt < _TRIES - 1 and committed(folder, required=True) != files:
                    continue  # another save has just taken its place
                raise RecipeError(
                    f"{folder}: a file of the save is missing.",
                    f"expected {Path(error.filename).name}, which {COMMIT} names",
                    name=error.filename,
                    way_out="get the folder again from where it came, or save again",
                ) from None
            except OSError as error:
                raise _unreadable(folder, error) from error
            yield Save(folder, files, handles)
            return


def _open(folder: Path, file: Written) -> BinaryIO:
    path = folder / file.name
    # Not waited for: it could be a pipe.
    handle = _plainly(path)
    found = os.fstat(handle.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        handle.close()
        what = f"{found.st_size:,} bytes" if stat.S_ISREG(found.st_mode) else "no regular file"
        raise RecipeError(
            f"{path}: the file is not the one that was saved.",
            f"expected {file.size:,} bytes",
            f"got {what}",
            name=str(path),
            expected=file.size,
            got=found.st_size,
            way_out="get the file again from where it came, or save again",
        )
    return handle


def committed(folder: Path, required: bool = False) -> Files:
    """The files that `COMMIT.json` names, by role; none where there is no such file, unless that is required.

    Raises:
        RecipeError: if it isn't what a save has written.
    """
    path = folder / COMMIT
    try:
        data = _start_of(path)
    except FileNotFoundError:
        if not required:
            return {}
        raise _no_save(folder) from None
    except OSError as error:
        raise _no_save(folder) if isinstance(error, NotADirectoryError) else _unreadable(path, error) from error
    document = read_json(data, str(path), _MOST_COMMIT)
    members = document.members("format version files")
    members["format"].one_of(FORMAT)
    if members["version"].value != VERSION or type(members["version"].value) is not int:
        members["version"].refuse(f"version {VERSION}", way_out="pip install --upgrade torchsurgery")
    found: dict[str, tuple[Written, ...]] = {}
    for role, rows in members["files"].members("recipe structure", " ".join(ROLES)).items():
        files = []
        for row in rows.items(1):
            parts = row.members("name size sha256")
            name = parts["name"].text(_NAME, "the name of a file of a save")
            sha256 = parts["sha256"].text(r"[0-9a-f]{64}", "a sha256")
            if not name.startswith(f"{role}-{sha256[:16]}."):
                parts["name"].refuse(f"{role}-{sha256[:16]}.…")
            files.append(Written(name, parts["size"].whole(0, 2**60), sha256))
        found[role] = tuple(files)
    if canonical(document.value) != data:
        document.refuse("the one way to write it down", "another: it was written to since")
    return found


def _start_of(path: Path) -> bytes:
    with _plainly(path) as file:
        return file.read(_MOST_COMMIT + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""


def _plainly(path: Path) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags), "rb")


def _unreadable(path: Path, error: OSError) -> RecipeError:
    return RecipeError(
        f"{error.filename if isinstance(error.filename, str) else path} can't be read: {error.strerror or error}.",
        name=str(path),
        got=error,
        way_out="save again, or get the folder again from where it came",
    )


def _no_save(folder: Path) -> RecipeError:
    if folder.is_file():
        return RecipeError(
            f"{folder} is a file, and a save is a folder.",
            name=str(folder),
            way_out=f"give the folder that holds it:  {str(folder.parent)!r}",
        )
    there = sorted(path.name for path in folder.iterdir())[:4] if folder.is_dir() else []
    if any(map(is_ours, there)):
        what = "the first save into it was interrupted"
    else:
        what = f"there {'is ' + ', '.join(there) if there else 'is nothing'}" if folder.exists() else "no such folder"
    return RecipeError(
        f"{folder} holds no save.",
        f"expected {COMMIT}; {what}",
        name=str(folder),
        got=there,
        way_out='save an altered model:  ts.save(model, "slim")',
    )
