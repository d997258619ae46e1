"""Edits as they are written in a file: YAML or JSON, with the line of whatever is wrong.

    - replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 8}
    - prune: {target: "layer*.*.conv1", amount: 0.25}
    - set_outputs: 10

A recipe names classes and functions and holds no code; which there are is said by `words`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import RecipeError

_MOST_BYTES = 1 << 20
_MOST_EDITS = 10_000


@dataclass(frozen=True)
class Step:
    """One edit as written.

    Attributes:
        verb: What to do.
        value: What stands behind it: an argument alone, or arguments by name.
        place: Where it is written: "slim.yaml, line 3".
        places: The same of each argument.
    """

    verb: str
    value: Any
    place: str
    places: Mapping[str, str]

    def refuse(self, message: str, *details: str, argument: str = "", way_out: str | None = None) -> NoReturn:
        """Raise the error for what is wrong with it, or with one of its arguments."""
        error = RecipeError(message, *details, name=argument or self.verb, way_out=way_out)
        raise placed(error, self.places.get(argument, self.place))


def placed(error: RecipeError, place: str) -> RecipeError:
    """The error, with where it is written."""
    error.place = place  # type: ignore[attr-defined]
    return error


def read_file(path: str) -> list[Step]:
    """The edits of a file, in order.

    Raises:
        RecipeError: if it can't be read, or isn't a list of edits.
    """
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise RecipeError(f"{path} is larger than {_MOST_BYTES:,} bytes: no recipe is.", got=path)
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"{path} can't be read: {error.strerror or error}.",
            got=path,
            way_out="give the path of a YAML or JSON file",
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}.", got=path) from error
    return read_text(text, path)


def read_text(text: str, where: str) -> list[Step]:
    """The edits of a text; see `read_file`.

    Args:
        text: YAML or JSON.
        where: What it is called in errors.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        steps = [] if node is None else list(_steps(loader, node, where))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark is not None else where
        raise placed(RecipeError(f"this is neither YAML nor JSON: {error.problem}.", got=where), line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise placed(RecipeError(f"this is neither YAML nor JSON: {error}.", got=where), where) from error
    if not steps:
        raise placed(RecipeError("there is no edit in it.", way_out=_EXAMPLE), where)
    return steps


_EXAMPLE = "write a list of edits:  - replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 8}"


class _Loader(yaml.SafeLoader):
    """Plain values only; 1e-5 is a number, as everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _steps(loader: _Loader, node: Node, where: str) -> Iterator[Step]:
    word = isinstance(node, ScalarNode) and re.fullmatch(r"[a-z_]+", str(node.value)) is not None
    if word or (isinstance(node, MappingNode) and node.value):
        # A single edit needs no list.
        node = SequenceNode("", [node], node.start_mark, node.end_mark)
    if not isinstance(node, SequenceNode):
        _refuse(node, where, "a recipe is a list of edits.", f"got {_what(node)}")
    if len(node.value) > _MOST_EDITS:
        _refuse(node, where, f"a recipe has at most {_MOST_EDITS:,} edits, and this one {len(node.value):,}.")
    for item in node.value:
        yield _step(loader, item, where)


def _step(loader: _Loader, node: Node, where: str) -> Step:
    place = _place(node, where)
    if isinstance(node, ScalarNode):  # `- fold`
        return Step(str(node.value), None, place, {})
    if not isinstance(node, MappingNode) or len(node.value) != 1:
        got = f"got {_what(node)}"
        if isinstance(node, MappingNode):
            got = f"got {', '.join(str(key.value) for key, _ in node.value)}: are the arguments indented, or in braces?"
        _refuse(node, where, "an edit is one verb with its arguments.", got)
    (key, value), *_ = node.value
    places = {}
    if isinstance(value, MappingNode):
        for name, _ in value.value:
            if not isinstance(name, ScalarNode) or name.tag != "tag:yaml.org,2002:str":
                _refuse(name, where, f"{_what(name)} is no name of an argument.")
            if name.value in places:
                _refuse(name, where, f"{name.value} is given twice.")
            places[name.value] = _place(name, where)
    return Step(str(key.value), loader.construct_object(value, deep=True), place, places)


def _place(node: Node, where: str) -> str:
    return f"{where}, line {node.start_mark.line + 1}"


def _what(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return repr(str(node.value)[:60])
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def _refuse(node: Node, where: str, message: str, *details: str) -> NoReturn:
    raise placed(RecipeError(message, *details, way_out=_EXAMPLE), _place(node, where))
