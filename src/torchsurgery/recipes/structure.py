"""What a model is made of, line by line, and the sha256 of these lines.

A line for each module: its class and the arguments that its attributes tell; and one for each parameter and buffer: its
shape, whether it holds floating-point numbers, whether the state dict has it, which other one it is tied to. Two names
of one module are a line each, too. Values, dtypes of floating-point numbers and modes are not in it: a model that was
trained further, or is brought to bfloat16, has the structure that it had.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..calls.rewriting import original
from ..tree import Draft
from .lines import UNCHANGING, UNSAVED, ModuleNote, TensorNote, arguments_of, is_of_torch, is_told, tensor_notes

_TIED = ", tied to "
# Of a module and of its tensors by name.
_Notes: TypeAlias = tuple[ModuleNote, Mapping[str, TensorNote]]


@dataclass(frozen=True, eq=False)
class Structure:
    """The lines of one model.

    Attributes:
        lines: Name of a module or tensor, the model's being "" → what it is.
    """

    lines: Mapping[str, str]

    @cached_property
    def text(self) -> str:
        """All lines, by name."""
        return "".join(f"{name}\t{what}\n" for name, what in sorted(self.lines.items()))

    @cached_property
    def sha256(self) -> str:
        """What two models of the same structure have in common, and no others."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Structure) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    @classmethod
    def of_text(cls, text: str) -> Structure:
        """From what `text` was."""
        rows = (line.partition("\t") for line in text.splitlines())
        return cls({name: what for name, _, what in rows})

    @cached_property
    def untied(self) -> Structure:
        """The same without which tensors are one."""
        return Structure({name: what.partition(_TIED)[0] for name, what in self.lines.items()})

    def with_parts(self, parts: Mapping[str, Mapping[str, str]]) -> Structure:
        """These lines with those of some modules, and of what lies in them, exchanged; see `parts_of`."""
        names = frozenset(parts)
        lines = {name: what for name, what in self.lines.items() if outermost(name, names) is None}
        for part in parts.values():
            lines.update(part)
        return Structure(lines)

    def difference(self, other: Structure) -> tuple[str, str | None, str | None] | None:
        """The first name at which they differ, with what stands there here and there; None where they are the same.

        Buffers that no state dict has may have other shapes: what is put by for later, such as angles for all places
        of a sequence, grows as a model runs.
        """
        if self.text == other.text:
            return None
        for name, what in self.lines.items():
            if _lasting(what) != _lasting(other.lines.get(name)):
                return name, what, other.lines.get(name)
        more = next((name for name in other.lines if name not in self.lines), None)
        return None if more is None else (more, None, other.lines[more])


def _lasting(what: str | None) -> str | None:
    """A line without what changes as a model runs."""
    return UNSAVED if what and what.startswith(UNSAVED) else what


def structure_of(model: nn.Module, ties: bool = True) -> Structure:
    """The structure of a model, with or without which of its tensors are one."""
    lines: dict[str, str] = {}
    first: dict[int, str] = {}
    for module, where in Draft(model).spots().items():
        own, *others = where.names
        lines[own] = ModuleNote.of(module).line()
        lines.update({name: _another_name_of(own) for name in others})
        for key, tensor, note in tensor_notes(module):
            name = _inside(own, key)
            tied = first.setdefault(id(tensor), name) if ties else name
            lines[name] = note.line() if tied == name else f"{note.line()}{_TIED}{tied}"
    return Structure(lines)


class Parts:
    """Some modules of a model and what lies in them, as they are when this is made.

    Args:
        model: The model.
        names: The names of the modules.
    """

    def __init__(self, model: nn.Module, names: Collection[str]) -> None:
        # The outermost of the names, a name in there, and what it stands for: notes, or the first name of the module.
        self._noted: list[tuple[str, str, _Notes | str]] = []
        roots = frozenset(name for name in names if outermost(name, names) == name)
        for module, where in Draft(model).spots().items() if roots else ():
            own = where.names[0]
            above = own if own in roots else outermost(own, roots)
            if above is not None:
                notes = {key: note for key, _, note in tensor_notes(module)}
                self._noted.append((above, own, (ModuleNote.of(module), notes)))
            for name in where.names[1:]:
                if (above := outermost(name, roots)) is not None:
                    self._noted.append((above, name, own))

    @cached_property
    def lines(self) -> Mapping[str, Mapping[str, str]]:
        """Their lines, without ties, by the outermost of their names; written out when they are first asked for."""
        found: dict[str, dict[str, str]] = {}
        for above, name, noted in self._noted:
            lines = found.setdefault(above, {})
            if isinstance(noted, str):
                lines[name] = _another_name_of(noted)
            else:
                module, tensors = noted
                lines[name] = module.line()
                lines.update({_inside(name, key): note.line() for key, note in tensors.items()})
        return found


def _inside(module: str, key: str) -> str:
    return f"{module}.{key}" if module else key


def _another_name_of(own: str) -> str:
    return f"is {own or 'the model'}"


def outermost(name: str, names: Collection[str]) -> str | None:
    """The first of a name and those of the modules around it, from the model on, that is among `names`."""
    if "" in names:
        return ""
    end = name.find(".")
    while end >= 0:
        if name[:end] in names:
            return name[:end]
        end = name.find(".", end + 1)
    return name if name in names else None


def signature_of_model(model: nn.Module, modules: list[nn.Module] | None = None) -> list[Any]:
    """What is seen of a structure at a glance: classes, arguments, names and shapes, in an order of its own.

    Args:
        model: The model.
        modules: Where the modules are noted that each entry is about.
    """
    found: list[Any] = []
    todo: list[nn.Module | None] = [model]
    seen: set[nn.Module] = set()
    parameters: list[int] = []
    owners: list[nn.Module] = []
    while todo:  # written out, and one flat list, since there may be thousands
        module = todo.pop()
        if module is None or module in seen:
            continue
        state = module.__dict__
        found.append(module.__class__)
        read, told_otherwise = _telling(module.__class__)  # type: ignore[arg-type]  # hashable as every class
        if told_otherwise:
            found += filter(_is_unchanging, read(state))
            found += [value for name, value in state.items() if value.__class__ is int and is_told(name)]
        else:
            found += read(state)
        if children := state.get("_modules"):  # a layer of several names may be looked at twice; TorchScript has none
            seen.add(module)
            todo.extend(children.values())
            found.extend(children.keys())
        if entries := state.get("_parameters"):
            for key, parameter in entries.items():
                found.append(key)
                found.append(parameter.shape if parameter.__class__ is nn.Parameter else _shape_of(parameter))
                if parameter is not None:
                    parameters.append(id(parameter))
                    owners.append(module)
        if buffers := state.get("_buffers"):
            unsaved = state.get("_non_persistent_buffers_set", ())
            for key, buffer in buffers.items():
                found.append(key)
                found.append("unsaved" if key in unsaved else _shape_of(buffer))
        if modules is not None:
            modules += [module] * (len(found) - len(modules))
    if len(set(parameters)) < len(parameters):  # some are tied, or layers shared
        first: dict[int, int] = {}
        found += [first.setdefault(parameter, place) for place, parameter in enumerate(parameters)]
        if modules is not None:
            modules += owners
    return found


def _is_unchanging(value: Any) -> bool:
    return type(value) in UNCHANGING or (type(value) is tuple and UNCHANGING.issuperset(map(type, value)))


@lru_cache(maxsize=4096)
def _telling(kind: type[nn.Module]) -> tuple[Callable[[dict[str, Any]], tuple[Any, ...]], bool]:
    """Reads the attributes that tell a class's arguments; and whether others may, as its constructor isn't torch's."""
    plain: Any = original(kind)
    names = tuple(name for name in arguments_of(plain) if name not in ("bias", "device", "dtype"))
    together = operator.itemgetter(*names) if len(names) > 1 else None

    def read(state: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(map(state.get, names))

    def read_at_once(state: dict[str, Any]) -> tuple[Any, ...]:
        try:
            return together(state)  # type: ignore[misc, no-any-return]  # several, since it is taken for these only
        except KeyError:
            return read(state)

    return read if together is None else read_at_once, not is_of_torch(plain.__init__)


def _shape_of(parameter: Tensor | None) -> torch.Size | None:
    return None if parameter is None or is_lazy(parameter) else parameter.shape


def first_other(model: nn.Module, signature: Sequence[Any]) -> tuple[str, str, str] | None:
    """Where a model isn't what its signature was.

    Returns:
        The name of the first module that differs, what was there and what is; None where all is as it was.
    """
    modules: list[nn.Module] = []
    now = signature_of_model(model)
    if now == signature:
        return None
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    signature_of_model(model, modules)
    pairs = zip(now, signature, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(now), len(signature)) - 1)
    return names.get(modules[place], ""), _in_words(signature[place]), _in_words(now[place])


def _in_words(entry: Any) -> str:
    return entry.__name__ if isinstance(entry, type) else repr(tuple(entry) if isinstance(entry, torch.Size) else entry)
