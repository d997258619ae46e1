"""Which layers: types, patterns, attributes and predicates → an ordered, immutable Selection of places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, overload

from torch import nn

from . import markup
from .calls.places import functions_in, pending, with_calls
from .errors import SelectionError
from .layers.functional import spelling_of
from .matching import Matcher, by_any, by_function, by_pattern, by_type, has
from .misses import nothing_found
from .tree import Draft, refuse_no_model, uncompiled

Predicate: TypeAlias = Callable[[str, nn.Module], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """One layer, wherever it lies.

    Attributes:
        module: The layer.
        names: All its fully-qualified names, in the order of `named_modules()`; `("",)` is the model itself.
        asked: The class by which it was asked for, or None when by name, by reference or by a predicate.
    """

    module: nn.Module
    names: tuple[str, ...]
    asked: type[nn.Module] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """Layers of one model, in its order; each once, with all its names.

    Selections of one model combine as sets (`&`, `|`, `-`), index and slice as tuples, and are a target for every verb.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> ts.select(net, nn.Linear) - ts.select(net, "0")
        Selection of 1 of 4 modules of Sequential
          2  Linear(in_features=2, out_features=1, bias=True)
    """

    model: nn.Module
    places: tuple[Place, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> Selection: ...
    def __getitem__(self, index: int | slice) -> Place | Selection:
        if isinstance(index, slice):
            return self._with(self.places[index])
        try:
            return self.places[index]
        except IndexError:
            raise SelectionError(f"there is no item {index} in a selection of {len(self)}.") from None

    def __contains__(self, item: object) -> bool:
        return any(item is p.module or item == p or item in p.names for p in self.places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        return self.model is other.model and self._modules() == other._modules()

    def __hash__(self) -> int:
        return hash((id(self.model), self._modules()))

    def __and__(self, other: Selection) -> Selection:
        theirs = self._same_model(other)._modules()
        return self._with(p for p in self.places if p.module in theirs)

    def __sub__(self, other: Selection) -> Selection:
        theirs = self._same_model(other)._modules()
        return self._with(p for p in self.places if p.module not in theirs)

    def __or__(self, other: Selection) -> Selection:
        mine = {p.module: p for p in self.places}
        merged = mine | {p.module: p for p in self._same_model(other).places if p.module not in mine}
        order = {module: i for i, module in enumerate(Draft(self.model).spots())}
        return self._with(sorted(merged.values(), key=lambda p: order.get(p.module, len(order))))

    @property
    def names(self) -> tuple[str, ...]:
        """Every fully-qualified name of every layer; a shared layer brings all of its names."""
        return tuple(name for p in self.places for name in p.names)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The layers, each once."""
        return tuple(p.module for p in self.places)

    def inside(self, target: str | nn.Module) -> Selection:
        """Those that lie below `target`: a name, a pattern or a module."""
        return self._with(p for p in self.places if _lies_in(p, self._prefixes(target)))

    def outside(self, target: str | nn.Module) -> Selection:
        """Those that don't lie below `target`, nor are it."""
        prefixes = self._prefixes(target)
        return self._with(p for p in self.places if not _lies_in(p, prefixes) and not prefixes & set(p.names))

    def outermost(self) -> Selection:
        """Those that don't lie inside another selected one."""
        names = set(self.names)
        return self._with(p for p in self.places if not _lies_in(p, names))

    def innermost(self) -> Selection:
        """Those that hold no other selected one."""
        above = {parent for name in self.names for parent in _parents(name)}
        return self._with(p for p in self.places if not above & set(p.names))

    def expect(self, count: int | None = None, *, at_least: int | None = None, at_most: int | None = None) -> Selection:
        """This selection, if it has that many layers.

        Raises:
            SelectionError: if it has another number.

        Example:
            >>> len(ts.select(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.ReLU).expect(2))
            2
        """
        low = count if count is not None else at_least if at_least is not None else 0
        high = count if count is not None else at_most if at_most is not None else len(self)
        if low <= len(self) <= high:
            return self
        wanted = str(count) if count is not None else f"at least {low}" if len(self) < low else f"at most {high}"
        raise SelectionError(
            f"expected {wanted} layers, but {len(self)} are selected.",
            *_rows(self),
            expected=wanted,
            got=len(self),
            way_out=f"narrow or widen what is selected, or accept it:  .expect({len(self)})",
        )

    def __repr__(self) -> str:
        return "\n  ".join([self._head(), *_rows(self)])

    def _repr_html_(self) -> str:
        return markup.shown(self._head(), markup.Table((), [_cells(p) for p in self.places], codes={0, 1}).html())

    def _head(self) -> str:
        total = len(Draft(self.model).spots())
        return f"Selection of {len(self)} of {total} modules of {type(self.model).__name__}"

    def _with(self, places: Iterable[Place]) -> Selection:
        return Selection(self.model, tuple(places))

    def _modules(self) -> frozenset[nn.Module]:
        return frozenset(p.module for p in self.places)

    def _same_model(self, other: Selection) -> Selection:
        if not isinstance(other, Selection):
            raise SelectionError(f"a Selection combines with a Selection, got {type(other).__name__}.")
        if other.model is not self.model:
            raise SelectionError("these two selections are of different models.")
        return other

    def _prefixes(self, target: str | nn.Module) -> set[str]:
        return {name for p in resolve(Draft(self.model), (target,), {}, None, False) for name in p.names}


Target: TypeAlias = "type[nn.Module] | tuple[Any, ...] | str | Selection | Place | nn.Module | Callable[..., Any]"


def select(
    model: nn.Module, *targets: Target, where: Predicate | None = None, exact: bool = False, **attributes: Any
) -> Selection:
    """The layers of `model` that fit every condition given.

    Args:
        model: Any module. It is not changed.
        *targets: A class (subclasses count), a tuple of targets of which one must fit, a pattern, a module of the
            model, a Place or a Selection; all of them must fit, and with none every module does. In a pattern `*`
            stands for one name or a part of it, `**` for any number of names, `[34]` for one of these characters;
            `re:` begins a regular expression for the whole name. A function, such as `F.relu`, stands for its calls in
            the forwards, however they are written (`torch.relu(x)`, `x.relu_()`): each is named as the layer that it
            becomes when it is replaced.
        where: A predicate `(name, module) -> bool`, called for each name of a layer that fits the rest.
        exact: Only instances of the very class, none of its subclasses; only calls of the very function.
        **attributes: Values of the layer's attributes. A number stands for a tuple of it where the layer stores a
            tuple (`kernel_size=1`); True or False for a Parameter that is there or not (`bias=True`).

    Returns:
        The places found, in the order of `named_modules()`; a layer that lies in several places is one of them.

    Raises:
        SelectionError: if nothing fits, or a target isn't one.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> ts.select(net, nn.Conv2d, kernel_size=1).names
        ('2',)
        >>> import torchvision, torch.nn.functional as F
        >>> ts.select(torchvision.models.densenet121(), (F.relu, F.adaptive_avg_pool2d))
        Selection of 2 of 433 modules of DenseNet
          relu                 F.relu(features, inplace=True) → ReLU(inplace=True)
          adaptive_avg_pool2d  F.adaptive_avg_pool2d(out, (1, 1)) → AdaptiveAvgPool2d(output_size=(1, 1))
    """
    refuse_no_model(model)
    model = uncompiled(model)
    return Selection(model, resolve(Draft(model), targets, attributes, where, exact))


def resolve(
    draft: Draft,
    targets: tuple[Any, ...],
    attributes: Mapping[str, Any],
    where: Predicate | None,
    exact: bool,
) -> tuple[Place, ...]:
    """The places of a draft that fit; see `select`."""
    if functions := set(functions_in(targets)):
        draft = with_calls(draft, functions)
    matchers = [_matcher(draft, target, exact) for target in targets]
    spots = draft.spots()
    found: list[Place] = []
    for module, where_it_lies in spots.items():
        asked: type[nn.Module] | None = None
        for matcher in matchers:
            fits = matcher(module, where_it_lies)
            if not fits:
                break
            asked = fits if isinstance(fits, type) else asked
        else:
            if attributes and not all(has(module, key, value) for key, value in attributes.items()):
                continue
            names = where_it_lies.names
            if where is not None and not any(where(name, module) for name in names):
                continue
            found.append(Place(module, names, asked))
    if not found:
        rest = partial(_layers, draft, targets, exact)
        raise nothing_found(draft, targets, attributes, where is not None, exact, rest)
    return tuple(found)


def _layers(draft: Draft, targets: tuple[Any, ...], exact: bool) -> list[nn.Module]:
    try:
        return [place.module for place in resolve(draft, targets, {}, None, exact)]
    except SelectionError:
        return []


def _matcher(draft: Draft, target: Any, exact: bool) -> Matcher:
    if isinstance(target, type):
        return by_type(target, exact)
    if isinstance(target, str):
        return by_pattern(target)
    if isinstance(target, tuple):
        return by_any([_matcher(draft, item, exact) for item in target])
    if isinstance(target, Selection):
        return _by_places(draft, target.places, target.model)
    if isinstance(target, Place):
        return _by_places(draft, (target,), draft.model)
    if isinstance(target, nn.Module):
        return _by_places(draft, (Place(target, ("",)),), draft.model)
    if (spelling := spelling_of(target)) is not None:
        return by_function(spelling, exact)
    raise _not_a_target(target)


def _by_places(draft: Draft, places: tuple[Place, ...], model: nn.Module) -> Matcher:
    if model is not draft.model:
        raise SelectionError(
            f"this selection is of another model ({type(model).__name__}).",
            way_out="select on the model that is to be changed:  ts.select(model, …)",
        )
    asked = {draft.standing(place.module): place.asked for place in places}
    there = {draft.standing(module) for module in draft.spots()}
    for place in places:
        if draft.standing(place.module) not in there:
            called = f"{place.name!r} ({type(place.module).__name__})" if place.name else type(place.module).__name__
            raise SelectionError(
                f"the layer {called} is not a part of {type(draft.model).__name__}, or no more.",
                "it may have been taken out by an earlier change.",
                way_out="select again:  ts.select(model, …)",
            )
    return lambda module, spots: (asked[key] or True) if (key := draft.standing(module)) in asked else False


def _not_a_target(target: object) -> SelectionError:
    if callable(target):
        name = getattr(target, "__name__", repr(target))
        return SelectionError(
            f"the function {name} is not a layer, and no layer is known that does the same.",
            "give the model a module there, or select the module whose forward calls it.",
            got=target,
        )
    several = tuple(target) if isinstance(target, list | set) else ()
    return SelectionError(
        f"{target!r} selects nothing: a target is a class, a tuple of targets, a pattern, a module or a Selection.",
        got=target,
        way_out=f"write several as a tuple:  {several!r}"
        if several
        else "for example  ts.select(model, nn.Linear)  or  ts.select(model, 'layer*.**')",
    )


def _lies_in(place: Place, prefixes: set[str]) -> bool:
    return any(parent in prefixes for name in place.names for parent in _parents(name))


def _parents(name: str) -> Iterator[str]:
    """The names above a name, the model's own `""` among them."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _rows(selection: Selection, most: int = 12) -> list[str]:
    """The selected layers, one a line, long lists folded with a count."""
    cells = [_cells(place) for place in selection.places[:most]]
    width = max((len(name) for name, _ in cells), default=0)
    rows = [f"{name:<{width}}  {layer}" for name, layer in cells]
    return rows + ([f"… {len(selection) - most} more"] if len(selection) > most else [])


def _cells(place: Place) -> tuple[str, str]:
    """A layer's names, and the layer."""
    text, more, _ = repr(place.module).partition("\n")
    names = " = ".join(name or "(the model)" for name in place.names)
    return names, f"{_call(place.module)}{text}{' … )' if more else ''}"


def _call(module: nn.Module) -> str:
    """How a call is written, ahead of the layer that it becomes."""
    there = pending(module)
    return f"{there.call.text} → " if there is not None and repr(module) != there.call.text else ""
