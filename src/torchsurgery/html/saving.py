"""Onto the disk, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import SurgeryError
from ..reports import Report
from .page import render


def save(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write a report as a page; what was there before stays until the new page is complete.

    Raises:
        SurgeryError: if it can't be written there.
    """
    target = Path(path)
    text = render(report)
    try:
        handle, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(unfinished, _mode_of(target))
            os.replace(unfinished, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished)
            raise
    except OSError as error:
        raise SurgeryError(
            f"the report can't be written to {target}: {error.strerror or error}.",
            got=target,
            way_out="give a file in a folder that is there and may be written to:  report('report.html')",
        ) from error
    return target


def _mode_of(target: Path) -> int:
    """The permissions that a file gets when it is written plainly; temporary ones are their owner's alone."""
    with suppress(OSError):
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
