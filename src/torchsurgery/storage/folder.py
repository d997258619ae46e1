"""How files come into a folder: all of them or none, whatever interrupts it; and what isn't ours is left alone.

Every file is named by its content and written under another name first. `COMMIT.json` says which files are the save; it
is the last to be written, and put in place by one rename. Until then the old one says what it said, of files that are
all still there; so readers see the old save or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
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


# --- writing


class Hashing:
    """A file under a passing name, which takes its digest as it is written."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.digest = path, 0, hashlib.sha256()
        # With the rights that the user's umask gives; the file must be new.
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")

    def write(self, data: bytes | memoryview) -> None:
        """Append some bytes."""
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Have all of it on the disk."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


@dataclass
class Transaction:
    """Files on their way into a folder."""

    folder: Path
    files: dict[str, tuple[Written, ...]] = field(default_factory=dict)
    _partial: list[Path] = field(default_factory=list)
    _count: int = 0

    def add(self, role: str, suffix: str, write: Callable[[Hashing], object]) -> Written:
        """Write one more file of a role; it isn't part of the save before `commit`."""
        sink = self._sink()
        try:
            write(sink)
        finally:
            sink.close()
        written = Written(f"{role}-{sink.digest.hexdigest()[:16]}.{suffix}", sink.size, sink.digest.hexdigest())
        self._partial.append(self.folder / written.name)
        os.replace(sink.path, self.folder / written.name)
        self.files[role] = (*self.files.get(role, ()), written)
        return written

    def commit(self, index: bytes | None) -> None:
        """Let these files be the save; `index` is what other tools find the shards by."""
        rows = {role: [_row(file) for file in files] for role, files in self.files.items()}
        last = self._prepared(canonical({"format": FORMAT, "version": VERSION, "files": rows}))
        found = None if index is None else self._prepared(index)
        _sync(self.folder)
        # All is on the disk: what is left to do takes no room.
        os.replace(last, self.folder / COMMIT)
        self._partial.clear()
        if found is not None:
            os.replace(found, self.folder / INDEX)
        _sync(self.folder)
        _clear(self.folder, {file.name for files in self.files.values() for file in files})

    def abandon(self) -> None:
        """Take out what was written, but for what an earlier save has, too."""
        earlier = {file.name for files in _committed(self.folder).values() for file in files}
        for path in self._partial:
            if path.name not in earlier:
                path.unlink(missing_ok=True)

    def _prepared(self, data: bytes) -> Path:
        sink = self._sink()
        try:
            sink.write(data)
        finally:
            sink.close()
        return sink.path

    def _sink(self) -> Hashing:
        self._count += 1
        path = self.folder / f".partial-{os.getpid()}-{self._count}"
        self._partial.append(path)
        path.unlink(missing_ok=True)
        return Hashing(path)


@contextmanager
def transaction(folder: Path) -> Iterator[Transaction]:
    """Files that come into a folder together.

    Raises:
        RecipeError: if the folder is there and holds no save, or something can't be written.
    """
    try:
        refuse_foreign(folder)
        made = _made(folder)
        with _alone(folder):
            under_way = Transaction(folder)
            try:
                yield under_way
            except BaseException:
                with suppress(OSError):
                    under_way.abandon()
                    for path in made:
                        path.rmdir()
                raise
    except OSError as error:
        raise RecipeError(
            f"{folder}: the save could not be written: {error.strerror or error}.",
            "nothing of it is left there; a save that was there before is as it was.",
            name=str(folder),
            got=error,
            way_out=_way_out(error),
        ) from error


def _way_out(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "make room, or save elsewhere"
    return "choose a folder that can be written to"


def refuse_foreign(folder: Path) -> None:
    """Raise if a folder is there that holds anything, and no save."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecipeError(
            f"{folder} is a file, and a save is a folder.", name=str(folder), way_out='ts.save(model, "slim")'
        )
    if (folder / COMMIT).is_file():
        _refuse_damaged(folder)
        return
    foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path.name))
    if foreign:
        raise RecipeError(
            f"{folder} holds something else than a save, which is not overwritten.",
            f"got {', '.join(foreign[:4])}{' …' * (len(foreign) > 4)}",
            name=str(folder),
            got=foreign,
            way_out="choose a new folder, or an empty one",
        )


def _refuse_damaged(folder: Path) -> None:
    """Raise if what is there can't be read: it may be somebody else's."""
    try:
        _committed(folder)
    except RecipeError as error:
        first, *rest = str(error).split("\n")
        raise RecipeError(
            f"{folder} holds a damaged save, or somebody else's {COMMIT}, which is not overwritten: {first}",
            *(line.strip() for line in rest if line.strip() != error.way_out),
            name=str(folder),
            expected=error.expected,
            got=error.got,
            way_out="choose a new folder, or remove this one",
        ) from error


def _is_ours(name: str) -> bool:
    return bool(re.fullmatch(_NAME, name) or _PARTIAL.fullmatch(name))


def _made(folder: Path) -> list[Path]:
    """Make a folder and those above it; answers the new ones, the innermost first."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(new):
        path.mkdir()
        _sync(path.parent)
    return new


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Whoever else saves into this folder waits; the lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of file systems that know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _clear(folder: Path, kept: set[str]) -> None:
    """Take out the files of earlier saves, and what an interrupted one has left."""
    for path in folder.iterdir():
        if _is_ours(path.name) and path.name not in kept:
            with suppress(OSError):
                path.unlink()


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _row(file: Written) -> dict[str, object]:
    return {"name": file.name, "size": file.size, "sha256": file.sha256}


# --- reading


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
        files = _committed(folder, required=True)
        with ExitStack() as stack:
            try:
                handles = {f.name: stack.enter_context(_open(folder, f)) for row in files.values() for f in row}
            except FileNotFoundError as error:
                if attempt < _TRIES - 1 and _committed(folder, required=True) != files:
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


def _committed(folder: Path, required: bool = False) -> Files:
    """The files that `COMMIT.json` names, by role."""
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
    if any(map(_is_ours, there)):
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
