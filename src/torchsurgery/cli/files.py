"""Files that a command writes: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RecipeError


def refuse_unwritable(path: str) -> None:
    """Raise before any work is done, where what comes of it can't be written.

    Raises:
        RecipeError: if the folder isn't there or may not be written to.
    """
    parent = Path(path).resolve().parent
    if not parent.is_dir():
        raise RecipeError(
            f"{path} can't be written: there is no folder {parent}.", got=path, way_out=f"mkdir -p {parent}"
        )
    if not os.access(parent, os.W_OK):
        raise RecipeError(f"{path} can't be written: {parent} may not be written to.", got=path)


@contextmanager
def replaced(path: str) -> Iterator[Path]:
    """A block that writes to a file beside; when it ends well, that takes the place of `path`.

    Raises:
        OSError: if it can't be written; what was there before is as it was.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.resolve().parent, prefix=f".{target.name}.", suffix=target.suffix)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        os.chmod(unfinished, 0o666 & ~_mask())
        os.replace(unfinished, target)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
