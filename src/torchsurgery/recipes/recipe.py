"""Operations in order, between two structures; and the document that they are written as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..errors import RecipeError
from . import naming
from .schema import VERSION, checked_operations
from .strict import Field, canonical, read_json
from .structure import Structure

FORMAT = "torchsurgery recipe"
_SHA = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class Operation:
    """One edit as data, with the layers that it came to by name.

    Attributes:
        data: What `schema` allows.
        tensors: What the data refers to by name: lists of indices, and tensors among constructors' arguments.
    """

    data: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that it is about."""
        groups = self.data.get("layers", ())
        at = [name for group in groups if isinstance(group, Mapping) for name in group["at"]]
        takings = [row[0] for row in self.data.get("takings", ())]
        calls = [f"{call['in']}.{call['layer']}".lstrip(".") for call in self.data.get("calls", ())]
        return tuple([*at, *self.data.get("at", ()), *takings, *calls] or list(groups))

    def __str__(self) -> str:
        names = self.names
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        return f"{self.data['do']} {', '.join(name or 'the model' for name in names[:2])}{more}"


@dataclass(frozen=True)
class Recipe:
    """What was done to a model, as data: it is replayed on a fresh base with `ts.plan(base).replay(recipe)`.

    Attributes:
        operations: What was done, in order.
        base: The structure before, without ties, or None where it isn't known.
        result: The structure after, or None.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> recipe = ts.replace(net, nn.ReLU, nn.GELU).recipe
        >>> print(recipe)
        Recipe of 1 operation
          replace 1
        >>> ts.plan(nn.Sequential(nn.Linear(4, 8), nn.ReLU())).replay(recipe).changes[0].new
        GELU(approximate='none')
    """

    operations: tuple[Operation, ...] = ()
    base: Structure | None = None
    result: Structure | None = None

    def __add__(self, other: Recipe) -> Recipe:
        """This recipe, and then the other."""
        if not isinstance(other, Recipe):
            return NotImplemented
        if self.result and other.base and (found := self.result.untied.difference(other.base)):
            name, expected, got = found
            raise RecipeError(
                f"these recipes don't follow each other: they differ at {name or 'the model'}.",
                f"the first leaves {expected or 'nothing'}",
                f"the second begins with {got or 'nothing'}",
                name=name,
                expected=expected,
                got=got,
                way_out="add them in the order in which they were made",
            )
        return Recipe((*self.operations, *other.operations), self.base, other.result)

    def __len__(self) -> int:
        return len(self.operations)

    def __repr__(self) -> str:
        count = len(self.operations)
        return f"Recipe of {count} operation{'s' * (count != 1)}"

    def __str__(self) -> str:
        needs = [f"register before it is loaded:  ts.register({key!r}, …)" for key in self.needs]
        return "\n  ".join([repr(self), *map(str, self.operations), *needs])

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of classes and functions that have to be registered where it is loaded, and aren't here."""
        found = (key for operation in self.operations for key in _keys(operation.data))
        return tuple(dict.fromkeys(key for key in found if naming.entry_of(key) is None))

    def document(self) -> dict[str, Any]:
        """What is written to a file; the tensors and the structures' lines lie elsewhere."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "base": self.base.sha256 if self.base else None,
            "result": self.result.sha256 if self.result else None,
            "operations": [operation.data for operation in self.operations],
        }

    @property
    def json(self) -> str:
        """The document as canonical JSON."""
        return canonical(self.document()).decode()


def _keys(data: Any) -> Iterator[str]:
    """Keys of classes and functions in the data of an operation."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            if name in ("class", "factory", "function", "retype") and isinstance(value, str):
                yield value
            else:
                yield from _keys(value)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _keys(item)


def read_operations(operations: Field, tensors: Mapping[str, Tensor] | None = None) -> tuple[Operation, ...]:
    """The operations of a document.

    Args:
        operations: The list.
        tensors: "number of the operation/name" → tensor.

    Raises:
        RecipeError: if one isn't an operation that this version knows, or names a class that isn't registered.
    """
    checked_operations(operations)
    by_number: dict[str, dict[str, Tensor]] = {}
    for key, tensor in (tensors or {}).items():
        number, _, name = key.partition("/")
        by_number.setdefault(number, {})[name] = tensor
    return tuple(Operation(data, by_number.get(str(i), {})) for i, data in enumerate(operations.value))


def read_recipe(
    data: bytes, where: str, tensors: Mapping[str, Tensor] | None = None, optional: str = ""
) -> tuple[Recipe, dict[str, Field]]:
    """The recipe in a document, with its further members.

    Args:
        data: The document.
        where: The name of its file, for errors.
        tensors: See `read_operations`.
        optional: Names of further members, which the caller reads.

    Raises:
        RecipeError: whatever is wrong with it.
    """
    members = read_json(data, where).members("format version base result operations", optional)
    members["format"].one_of(FORMAT)
    if members["version"].value != VERSION or type(members["version"].value) is not int:
        members["version"].refuse(f"version {VERSION}", way_out="pip install --upgrade torchsurgery")
    for name in ("base", "result"):
        if members[name].value is not None:
            members[name].text(_SHA, "a sha256, or null")
    return Recipe(read_operations(members["operations"], tensors)), members
