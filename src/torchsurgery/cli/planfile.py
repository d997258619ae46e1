"""A plan in one file: which model, which inputs, and what `ts.save` writes of the plan.

Nothing in it is trusted: the saved part is checked as any save is, and code is run only where the user names it.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..plans import Plan
from ..recipes.strict import Field, read_json
from ..storage import load_plan, save
from .files import replaced
from .sources import Source, built, confirmed
from .terminal import Terminal
from .values import Input, input_of
from .words import classes_of

FORMAT, VERSION = "torchsurgery plan", 1
_MOST_FILES, _MOST_BYTES, _MOST_ITEMS = 16, 1 << 30, 5_000_000  # commas inside of texts count, too
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}"


def is_plan_file(arguments: Namespace) -> bool:
    """Whether a command names a saved plan instead of a model with edits."""
    alone = not arguments.recipe and not arguments.edit
    return alone and arguments.model.endswith(".json") and Path(arguments.model).is_file()


def write_plan(plan: Plan, source: Source, path: str) -> None:
    """Write a plan to one file.

    Raises:
        RecipeError: if something of it can't be written down.
        OSError: if the file can't be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "plan"
        save(plan, folder)
        files = {file.name: _packed(file.read_bytes()) for file in sorted(folder.iterdir())}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "model": source.reference,
        "weights": source.weights,
        "inputs": [_in_words(given) for given in source.inputs],
        "files": files,
    }
    with replaced(path) as unfinished:
        unfinished.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


def read_plan(arguments: Namespace, terminal: Terminal) -> tuple[Source, Plan]:
    """The plan in the file that a command names, with its model.

    Raises:
        RecipeError: if the file is no plan, or the model is another one than it was made for.
        SourceError: if the model can't be built.
    """
    classes_of(arguments)
    path = arguments.model
    members = _members(path)
    base = confirmed(members["model"].value, arguments.base, dict(arguments.arg), path)
    inputs = arguments.input or [_input(row) for row in members["inputs"].items()]
    source = built(base, arguments.weights or members["weights"].value, inputs, terminal)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in _unpacked(members["files"]).items():
            (Path(scratch) / name).write_bytes(content)
        try:
            return source, load_plan(scratch, source.model)
        except RecipeError as error:
            raise _of_this_file(error, scratch, path) from error


def _members(path: str) -> dict[str, Field]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RecipeError(f"{path} can't be read: {error.strerror or error}.", got=path) from error
    if len(data) > _MOST_BYTES:
        raise RecipeError(f"{path} has {len(data):,} bytes, and may have {_MOST_BYTES:,}.", got=path)
    members = read_json(data, path, most=_MOST_BYTES, most_items=_MOST_ITEMS).members(
        "format version model weights inputs files"
    )
    members["format"].one_of(FORMAT)
    if type(members["version"].value) is not int or members["version"].value != VERSION:
        members["version"].refuse(f"version {VERSION}", way_out="pip install --upgrade torchsurgery")
    for name in ("model", "weights"):
        if members[name].value is not None and not isinstance(members[name].value, str):
            members[name].refuse("a text, or null")
    return members


def _packed(content: bytes) -> dict[str, str]:
    """Text as it is, so that it can be read; else in base64."""
    try:
        return {"text": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def _unpacked(files: Field) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, entry in files.entries():
        if not re.fullmatch(_NAME, name) or len(found) >= _MOST_FILES:
            entry.refuse(f"at most {_MOST_FILES} files with plain names", name)
        members = entry.members("", "text base64")
        if len(members) != 1:
            entry.refuse("either text or base64")
        (way, content), *_ = members.items()
        if not isinstance(content.value, str):
            content.refuse("a text")
        found[name] = _content(way, content)
    return found


def _content(way: str, content: Field) -> bytes:
    try:
        return content.value.encode("utf-8") if way == "text" else base64.b64decode(content.value, validate=True)
    except ValueError:
        content.refuse("text in UTF-8, or base64")


def _in_words(given: Input) -> str:
    shape = ",".join(map(str, given.shape))
    return f"{f'{given.name}=' if given.name else ''}{shape}{f':{given.dtype}' if given.dtype else ''}"


def _input(row: Field) -> Input:
    try:
        return input_of(row.value)
    except (ValueError, TypeError, AttributeError):
        row.refuse("an input such as 1,3,224,224:float32")


def _of_this_file(error: RecipeError, scratch: str, path: str) -> RecipeError:
    first, *details = (line.strip() for line in str(error).replace(f"{scratch}/", f"{path}: ").split("\n"))
    if error.way_out:
        details = details[:-1]
    unnamed = error.way_out is not None and "ts.register(" in error.way_out
    way_out = error.way_out if unnamed else f"make the plan anew:  torchsurgery plan … -o {path}"
    known: dict[str, Any] = {"name": error.name, "expected": error.expected, "got": error.got}
    return RecipeError(first, *details, way_out=way_out, **known)
