"""What a reference says, and what to tell someone whose reference says nothing, or too much."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from ..errors import SourceError

Source: TypeAlias = Literal["torchvision", "timm", "hf", "file", "module", "folder"]

_KINDS = "torchvision:resnet18, timm:convnext_tiny, hf:org/name or a folder, path/file.py:build, pkg.mod:build"
LIBRARIES: tuple[Source, ...] = ("torchvision", "timm", "hf")
_IDENTIFIER = r"[^\W\d]\w*"


class Reference(NamedTuple):
    """A reference, taken apart.

    Attributes:
        text: As it was given.
        source: Who is asked.
        where: The model's name, the repository, the folder, the file or the module.
        what: The builder's name, or the revision; empty where there is none.
    """

    text: str
    source: Source
    where: str
    what: str = ""


def with_arguments(text: str, arguments: Mapping[str, Any]) -> str:
    """A reference that carries its builder's arguments: `torchvision:resnet18(num_classes=10)`.

    Args:
        text: A reference, with arguments of its own or without.
        arguments: Further ones, which come before its own.
    """
    name, own = split_arguments(text)
    given = ", ".join(f"{key}={value!r}" for key, value in {**own, **arguments}.items())
    return f"{name}({given})" if given else name


def split_arguments(text: str) -> tuple[str, dict[str, Any]]:
    """A reference without its arguments, and these; nothing is evaluated but literals.

    Raises:
        SourceError: if what stands in parentheses are no arguments.
    """
    found = re.fullmatch(r"(?s)([^()]+:[^()]+)\((.*)\)", text)
    if found is None:
        return text, {}
    name, inside = found[1], found[2]
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
            return name, {_named(key): ast.literal_eval(key.value) for key in call.keywords}
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass
    raise SourceError(
        f"{text}: what stands in parentheses are no arguments of a builder.",
        got=inside,
        way_out=f"for example  {name}(num_classes=10)",
    )


def _named(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise ValueError("** names no argument")
    return keyword.arg


def parse(text: str) -> Reference:
    """Take a reference apart, without asking anybody whether there is such a model.

    Raises:
        SourceError: if it isn't clear where to look.
    """
    scheme, colon, rest = text.partition(":")
    for library in LIBRARIES:
        if colon and scheme == library:
            return _of_library(text, library, rest)
    path, _, builder = text.rpartition(":")
    if path.endswith(".py"):
        return Reference(text, "file", path, builder)
    if text and Path(text).is_dir():
        return Reference(text, "folder", text)
    if text.endswith(".py"):
        raise _without_builder(text)
    if re.fullmatch(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*:{_IDENTIFIER}(\.{_IDENTIFIER})*", text):
        return Reference(text, "module", path, builder)
    raise _unclear(text)


def _of_library(text: str, library: Source, rest: str) -> Reference:
    if not rest:
        raise SourceError(f"{text} names no model.", got=text, way_out=f"for example  {_example(library)}")
    if library == "hf":
        name, _, revision = rest.partition("@")
        return Reference(text, library, name, revision)
    return Reference(text, library, rest)


def _example(library: Source) -> str:
    return {"torchvision": "torchvision:resnet18", "timm": "timm:convnext_tiny"}.get(library, "hf:org/name")


def _without_builder(text: str) -> SourceError:
    names = list(_defined_in(Path(text)))
    defined = [f"it defines {', '.join(names[:8])}"] if names else []
    return SourceError(
        f"{text} says which file, but not what in it makes the model.",
        *defined,
        got=text,
        way_out=f"name a function, a class or a model:  {text}:{names[0] if names else 'build'}",
    )


def _defined_in(path: Path) -> Iterator[str]:
    """Public functions and classes of a file, which isn't run."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def _unclear(text: str) -> SourceError:
    if ":" in text:
        return SourceError(
            f"{text} is no reference to a model: {text.partition(':')[0]!r} is no source of models.",
            f"a model is given as {_KINDS}",
            got=text,
            way_out="name the source, for example  torchvision:resnet18",
        )
    if "/" in text:
        return SourceError(f"there is no folder {text}.", f"a model is given as {_KINDS}", got=text)
    return SourceError(
        f"{text or 'the empty text'} is no reference to a model: it doesn't say from where.",
        f"a model is given as {_KINDS}",
        got=text,
        way_out="name the source, for example  torchvision:resnet18",
    )


def closest(name: str, known: Iterable[str], way_out: str) -> str | None:
    """`way_out` with the closest known name in it, or None if none is close."""
    close = close_names(name, known, most=1)
    return way_out.format(close[0]) if close else None


def close_names(name: str, known: Iterable[str], most: int = 4) -> list[str]:
    """Known names that are spelt much like this one, in whatever case, or that begin with it."""
    by_case: dict[str, list[str]] = {}
    for other in known:
        by_case.setdefault(other.lower(), []).append(other)
    alike = difflib.get_close_matches(name.lower(), by_case, n=most)
    beginning = sorted((other for other in by_case if other.startswith(name.lower())), key=len)
    return [other for found in dict.fromkeys([*alike, *beginning]) for other in by_case[found]][:most]
