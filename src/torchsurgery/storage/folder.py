"""How files come into a folder: all of them or none, whatever interrupts it; and what isn't ours is left alone.

Every file is named by its content and written under another name first. `COMMIT.json` says which files are the save; it
is the last to be written, and put in place by one rename. Until then the old one says what it said, of files that are
all still there; so readers see the old save or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RecipeError
from ..recipes.strict import canonical
from .opening import COMMIT, FORMAT, INDEX, VERSION, Written, committed, is_ours


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
        earlier = {file.name for files in committed(self.folder).values() for file in files}
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
    foreign = sorted(path.name for path in folder.iterdir() if not is_ours(path.name))
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
        committed(folder)
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
        if is_ours(path.name) and path.name not in kept:
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
