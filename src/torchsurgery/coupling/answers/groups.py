"""A traced model: which axes of which parameters change together, and why others can't."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ... import markup
from ...errors import CouplingError, SelectionError
from ..constraints.atoms import Axis, Reason, Where
from ..constraints.record import Record, layer_of
from ..solving.adjusting import Demands
from ..solving.classes import Classes
from ..solving.rows import Rows
from ..solving.solver import solve
from .families import Families
from .lists import Lists
from .paths import Paths

# Given the numbers of entries (`cut.Numbers`), which stand below this file.
Again: TypeAlias = "Callable[[Any], Coupling]"
Side = Literal["out", "in"]
_MOST = 6


class Member(NamedTuple):
    """An axis of a parameter or buffer that a group reaches into.

    Attributes:
        name: The tensor's fully-qualified name.
        dim: Which of its axes.
        role: What the axis is to its layer: "out", "in", "both" (a normalisation), or "" where no operation tells.
        indices: The entries of the axis that belong to the group.
    """

    name: str
    dim: int
    role: str
    indices: tuple[int, ...]

    @property
    def module(self) -> str:
        """The name of the layer whose tensor it is."""
        return layer_of(self.name)


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that come and go together, in all the layers that have them.

    Attributes:
        coupling: The trace that it is of.
        channels: One class of entries each: what can go is one of these at a time.
        members: All axes that they reach into.
    """

    coupling: Coupling = field(repr=False)
    channels: Axis
    members: tuple[Member, ...]

    def __len__(self) -> int:
        return len(self.channels)

    @cached_property
    def giving(self) -> tuple[str, ...]:
        """The layers that give these channels, normalisations included."""
        return tuple(dict.fromkeys(m.module for m in self.members if m.role != "in"))

    @cached_property
    def taking(self) -> tuple[str, ...]:
        """The layers that take these channels."""
        return tuple(dict.fromkeys(m.module for m in self.members if m.role == "in"))

    @property
    def modules(self) -> tuple[str, ...]:
        """All layers, each once."""
        return tuple(dict.fromkeys((*self.giving, *self.taking)))

    def path(self, one: str, other: str) -> tuple[Where, ...]:
        """The operations that tie two layers of the group together, on the shortest way.

        Args:
            one: Name of a layer.
            other: Name of another.

        Raises:
            SelectionError: if one of them is not in the group.
        """
        start, goal = (self._of(name) for name in (one, other))
        found = self.coupling.between(start, goal, self.channels)
        return tuple(found or ())

    def _of(self, name: str) -> list[Member]:
        found = [member for member in self.members if member.module == name or member.name == name]
        if not found:
            raise SelectionError(
                f"{name} is not in this group.",
                name=name,
                way_out=f"its layers are  {', '.join(self.modules[:_MOST])}",
            )
        # What a layer gives is what the question is about, if it both gives and takes.
        return [m for m in found if m.role != "in"] or found

    def __repr__(self) -> str:
        return f"Group of {len(self)} channels in {len(self.modules)} layers: {_listed(self.modules)}"

    def __str__(self) -> str:
        return "\n".join(_group_rows(self))


@dataclass(frozen=True, eq=False)
class Coupling:
    """What one pass over a model tells about its channels.

    Attributes:
        record: All that was gathered: constraints, integers, work.
        classes: What lives and dies together.
        unseen: Modules with parameters that were not run; nothing is known of what they need.
        modes: The modes in which the model was run: "eval", "train" or both.
        model_name: The class of the model.
        aliases: The other names of shared modules → their first.
        alike: Parts that were not run → the sibling that they are taken to be used like, as experts are.
        rows: Divisions of axes whose rows may lose entries of their own, equally many.
        again: Traces the model once more, as if its axes had the numbers of entries told.
    """

    record: Record = field(repr=False)
    classes: Classes = field(repr=False)
    unseen: tuple[str, ...]
    modes: tuple[str, ...]
    model_name: str
    aliases: Mapping[str, str] = field(repr=False, default_factory=dict)
    alike: Mapping[str, str] = field(repr=False, default_factory=dict)
    rows: tuple[Rows, ...] = field(repr=False, default=())
    again: Again | None = field(repr=False, default=None)

    @cached_property
    def families(self) -> Families:
        """Prime classes by the role that they play."""
        return Families(self.record, self.classes, self.balanced, self.unrolled)

    @cached_property
    def demands(self) -> Demands:
        """What the model's code demands of its integers."""
        return Demands(self.record.integers)

    @cached_property
    def demanded(self) -> Lists:
        """What the axes are of that the code's integers count."""
        return Lists(self.demands.axes, self.classes)

    @cached_property
    def balanced(self) -> list[Sequence[Axis]]:
        """Lists of axes that must have equal numbers of entries each."""
        return [*self.record.balanced, *(rows.parts for rows in self.rows)]

    @cached_property
    def unrolled(self) -> Mapping[tuple[str, int], Axis]:
        """Parameter and axis → the ids along it block by block, where each block may lose entries of its own."""
        return {(leaf, dim): rows.split.whole for rows in self.rows for leaf, dim, _ in rows.split.taken}

    @cached_property
    def tied(self) -> Coupling:
        """The same with all rows alike: what stands at one place of each row goes together."""
        if not self.rows:
            return self
        return replace(self, classes=solve(self.record.ledger), rows=(), again=None)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All groups of channels that may change, the largest number of layers first."""
        found = [self._group(channels) for channels in self.families.lists]
        return tuple(sorted((group for group in found if group.members), key=lambda g: -len(g.members)))

    @property
    def unknown(self) -> Mapping[str, int]:
        """Operations that are not known or couldn't be followed, with how often they came; `ts.rule` adds one."""
        return self.record.unknown

    def group(self, name: str, axis: Side = "out") -> Group:
        """The channels of a layer, with all the layers that have them, too.

        Args:
            name: The layer's fully-qualified name, or that of a parameter.
            axis: Its output channels, or its input channels.

        Raises:
            SelectionError: if no such layer with parameters was run.
            CouplingError: if none of its channels may change; it names the operation to blame.

        Example:
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> ts.trace(net, torch.randn(1, 4)).group("0")
            Group of 8 channels in 2 layers: 0, 2
        """
        ids = self.axis(name, axis)
        channels = self.classes.primes_of(self.classes.of(ids))
        if not len(channels):
            raise self.frozen(name, axis)
        return self._group(channels)

    def axis(self, name: str, axis: Side = "out") -> Axis:
        """The ids of a layer's output or input channels.

        Raises:
            SelectionError: if no such layer with parameters was run.
        """
        found = self.leaf_axis(*self.place(name, axis))
        return self.record.counted.get(id(found), found)

    def has_channels(self, name: str, axis: Side = "out") -> bool:
        """Whether a layer has output, or input, channels that this trace has seen."""
        return any(role in (axis, "both") for _, _, role in self._roles(name))

    def rivals(self, name: str) -> tuple[str, ...]:
        """The weights of a layer that give channels of different groups, so that none of them is its output alone."""
        given: dict[frozenset[int], str] = {}
        for leaf, dim, role in self._roles(name):
            axes = self.record.leaves[leaf]
            if role == "out" and len(axes) > 1:
                given.setdefault(frozenset(self.classes.of(axes[dim]).tolist()), leaf)
        return tuple(given.values()) if len(given) > 1 else ()

    def place(self, name: str, axis: Side = "out") -> tuple[str, int]:
        """The tensor and its dimension that hold a layer's output or input channels."""
        found = [(leaf, dim) for leaf, dim, role in self._roles(name) if role in (axis, "both")]
        if found:
            # The tensor with most dimensions is the weight; a bias only has output channels.
            return max(found, key=lambda place: len(self.record.leaves[place[0]]))
        tied = self.record.tied.get(name)
        if tied is not None:
            raise SelectionError(
                f"{name} has no {axis}put channels of its own: it shares {tied}.",
                name=name,
                way_out=f"name the layer that this is of:  ts.trace(model, x).group({layer_of(tied)!r})",
            )
        raise SelectionError(
            f"{name or 'the model'} has no {axis}put channels that this trace has seen.",
            f"it was traced in {' and '.join(self.modes)}; not run: {_listed(self.unseen) or 'nothing'}",
            name=name,
            way_out="name a layer with parameters; see  ts.trace(model, x).groups",
        )

    def leaf_axis(self, leaf: str, dim: int) -> Axis:
        """The ids along one axis of a parameter or buffer; of a convolution in groups, along those of all groups."""
        unrolled = self.unrolled.get((leaf, dim))
        return self.record.leaves[leaf][dim] if unrolled is None else unrolled

    def _roles(self, name: str) -> Iterator[tuple[str, int, str]]:
        name = self.aliases.get(name, name)
        for leaf in self._leaves_of.get(name, [name] if name in self.record.leaves else []):
            for dim, axis in enumerate(self.record.leaves[leaf]):
                yield leaf, dim, self.record.roles.get(id(axis), "")

    @cached_property
    def _leaves_of(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for leaf in self.record.leaves:
            found.setdefault(layer_of(leaf), []).append(leaf)
        return found

    # --- why

    @cached_property
    def paths(self) -> Paths:
        """Search for reasons."""
        return Paths(self.record.ledger, self.classes)

    def why(self, name: str, axis: Side = "out") -> tuple[Reason, ...]:
        """Why channels of a layer can't change: each reason once; nothing where all of them can."""
        ids = self.axis(name, axis)
        frozen = ids[self.classes.of(ids) == 0]
        reasons: dict[Reason, None] = {}
        # Channels next to each other mostly stay for one reason.
        for at in np.unique(np.linspace(0, max(len(frozen) - 1, 0), 8).astype(int)):
            if len(frozen):
                reasons[self.paths.blame(int(frozen[at]))] = None
        return tuple(reasons)

    def frozen(self, name: str, axis: Side = "out", what: str = "", way_out: str = "") -> CouplingError:
        """The error for a layer whose channels stay."""
        reasons = self.why(name, axis)
        told = [in_words(reason) for reason in reasons]
        width = len(self.axis(name, axis))
        return CouplingError(
            what or f"the {axis}put channels of {name} stay {width}.",
            *told,
            name=name,
            expected=width,
            way_out=way_out or self._way_out(reasons),
        )

    def _way_out(self, reasons: Sequence[Reason]) -> str:
        unknown = next((op for op in self.unknown if any(op in reason.what for reason in reasons)), None)
        if unknown is not None:
            return f'tell what it does to its axes:  @ts.rule("{unknown}")'
        return "see what can change with  ts.trace(model, x).groups"

    def between(self, start: Sequence[Member], goal: Sequence[Member], channels: Axis) -> list[Where] | None:
        """The operations that tie two axes, by the first channel that they share."""
        ids = [self.leaf_axis(m.name, m.dim) for m in start]
        goals = np.concatenate([self.leaf_axis(m.name, m.dim) for m in goal])
        for axis in ids:
            for atom in axis[axis > 0][:1]:
                found = self.paths.between(int(atom), goals)
                if found is not None:
                    return found
        return None

    # --- parts

    def _group(self, channels: Axis) -> Group:
        return Group(self, channels, tuple(self._members(channels)))

    def _members(self, channels: Axis) -> Iterator[Member]:
        for place in self.families.reached(channels):
            leaf, dim = self.families.uses.places[place]
            own = self.record.leaves[leaf][dim]
            at = np.nonzero(self.families.touches(self.families.uses.classes_of(place), channels))[0]
            if len(at):
                yield Member(leaf, dim, self.record.roles.get(id(own), ""), tuple(at.tolist()))

    def __repr__(self) -> str:
        ops = f" · {len(self.unknown)} unknown operations" if self.unknown else ""
        return f"Coupling of {self.model_name}: {len(self.groups)} groups in {len(self.record.leaves)} tensors{ops}"

    def __str__(self) -> str:
        rows = [*(f"{group!r}" for group in self.groups), *self._limits()]
        return "\n  ".join([repr(self), *rows])

    def _repr_html_(self) -> str:
        rows = [(f"{len(g):,}", _listed(g.giving), _listed(g.taking)) for g in self.groups]
        table = markup.Table(("channels", "given by", "taken by"), rows, codes={1, 2}, numbers={0})
        return markup.shown(repr(self), table.html(), *(f"<p>{markup.escape(line)}</p>" for line in self._limits()))

    def _limits(self) -> Iterator[str]:
        if self.unseen:
            yield f"not run: {_listed(self.unseen)}"
        if self.record.deciding:
            yield f"decide by values, so that other inputs may go another way: {_listed(list(self.record.deciding))}"
        if self.alike:
            yield f"not run, taken to be like others in their list: {_listed(list(self.alike))}"
        if self.unknown:
            yield f"not known: {_listed(list(self.unknown))}  (ts.rule adds one)"


def in_words(reason: Reason) -> str:
    """A reason as a sentence."""
    if "output" in reason.what or reason.what == "the model's input":
        return f"these channels are {reason.what}, which keeps its width."
    return f"{reason}"


def _group_rows(group: Group) -> Iterator[str]:
    yield f"{len(group.modules)} modules change together: {len(group.giving)} that give these channels"
    yield f"({_listed(group.giving)})"
    yield f"and {len(group.taking)} that take them ({_listed(group.taking)})."
    first = group.giving[0] if group.giving else None
    for other in group.giving[1:_MOST] if first is not None else ():
        steps = group.path(first, other)  # type: ignore[arg-type]
        yield "  " + " → ".join([_called(str(first)), *in_steps(steps), _called(other)])


def in_steps(path: Sequence[Where]) -> tuple[str, ...]:
    """The operations on a way, each with the module that it is in: `add (layer1.0)`."""
    return tuple(f"{step.operation} ({step.module})" if step.module else step.operation for step in path)


def _listed(names: Sequence[str], most: int = _MOST) -> str:
    shown = ", ".join(map(_called, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _called(name: str) -> str:
    return name or "(the model)"
