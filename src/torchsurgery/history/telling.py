"""What was done, as it is told of one root."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from ..errors import RecipeError
from ..recipes import Operation, Recipe
from ..recipes.structure import Structure, first_other, structure_of
from ..tree import every_module, refuse_no_model, unwrapped
from .entries import Entry, entries
from .names import Names
from .records import Other, Record, Told


@dataclass(slots=True)
class Account:
    """What was done to a root.

    Attributes:
        told: The surgeries, in order.
        untold: What was done on other roots, and can't be told of this one.
    """

    told: list[Told] = field(default_factory=list)
    untold: list[Operation] = field(default_factory=list)


def account_of(model: nn.Module) -> Account:
    """What is in force on a model, on whatever root it was done."""
    account, last = Account(), -1
    for entry in entries():
        if (record := entry.record) is not None and entry.root() is model:
            last = entry.number
            account.told += [*record.adopted, Told.own(entry.number, record)]
            account.untold += record.untold
    later = since(model, last)
    return Account(account.told + later.told, account.untold + later.untold)


def since(model: nn.Module, number: int, roots: Collection[nn.Module] | None = None) -> Account:
    """What was done to a model on other roots after the last surgery on itself, which had this number.

    Args:
        model: The model.
        number: The number of that surgery.
        roots: What `sharing_with(model)` answers, where it is known.
    """
    later = [entry for entry in entries() if entry.number > number and entry.root() is not model]
    modules = every_module(model) if later else set()
    others = set(_roots(later))
    sharing = [root for root in (sharing_with(model) if roots is None else roots) if root in others] if later else []
    names = Names([model, *sharing] if sharing else [])
    found: dict[int, Told] = {}
    # What was done on roots that aren't to be seen any more, as those around them tell it.
    earlier: dict[int, Told] = {}
    halved: set[int] = set()
    for entry in reversed(later):
        root = entry.root()
        if entry.record is None or root not in sharing:
            continue
        try:
            found[entry.number] = names.told(entry.number, entry.record, root, model)
            view = names.view(root, model)
            earlier |= {told.number: told.seen(view) for told in entry.record.adopted if told.number > number}
        except RecipeError:
            halved.add(entry.number)
    done = {key: told for key, told in {**earlier, **found}.items() if told.operations}
    done |= {key: told for key, told in earlier.items() if key not in done and told.operations}
    missing = [entry for entry in later if entry.number in halved or entry.number not in done]
    untold = [operation for entry in missing if entry.concerns(modules) for operation in _done(entry)]
    return Account([done[key] for key in sorted(done)], untold)


def sharing_with(model: nn.Module) -> list[nn.Module]:
    """Other roots of surgeries in force that have modules of the model."""
    others = [root for root in _roots(entries()) if root is not model]
    modules = every_module(model) if others else set()
    return [root for root in others if not modules.isdisjoint(every_module(root))]


def _roots(among: Iterable[Entry]) -> Iterator[nn.Module]:
    roots = dict.fromkeys(entry.root() for entry in among if entry.record is not None)
    return (root for root in roots if root is not None)


def _done(entry: Entry) -> tuple[Operation, ...]:
    return entry.record.operations if entry.record is not None else ()


def recipe_of_one(record: Record) -> Recipe:
    """One surgery as a recipe; between the structures before and after, while it is in force."""
    model = record.root()
    account = Account() if model is None else account_of(model)
    place = next((i for i, told in enumerate(account.told) if told.record is record), None)
    if place is None or model is None or account.untold:
        return Recipe(record.operations)
    structures = _structures(model, account.told)
    return Recipe(record.operations, structures[place].untied, structures[place + 1])


def recipe_of(model: nn.Module) -> Recipe:
    """All that this process has done to a model and that is in force, as one recipe.

    What was done through a submodule, or through a wrapper such as `DistributedDataParallel`, is told by the names that
    the model has for it.

    Args:
        model: The model; of a wrapper, the one that it holds. A copy is another one, of which nothing is known.

    Raises:
        RecipeError: if it was altered by other means as well, which no recipe tells, or as a part of another model, in
            a way that can't be told of this part alone.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.ReLU()))
        >>> done = ts.replace(net[1], nn.ReLU, nn.GELU), ts.insert(net, nn.Dropout(0.1), after="1.0")
        >>> print(ts.recipe_of(net))
        Recipe of 2 operations
          replace 1.0
          insert 1.0
    """
    refuse_no_model(model)
    model = unwrapped(model)
    account = account_of(model)
    if account.untold:
        done = ", ".join(map(str, account.untold))
        raise RecipeError(
            f"{type(model).__name__} was altered as a part of another model, which can't be told of it alone.",
            f"what was done there: {done}",
            got=account.untold,
            way_out="make the change on this model itself, or save the other one, and take the part out after  ts.load",
        )
    for name, was, there in _altered_otherwise(model, account.told):
        raise RecipeError(
            f"{name or 'the model'} was altered by other means than this library, which no recipe tells.",
            f"expected {was}, as it was left",
            f"got {there}",
            name=name,
            expected=was,
            got=there,
            way_out="put it back, and make the change with this library:  ts.replace(model, …)",
        )
    first, *_, last = _structures(model, account.told) * 2
    return Recipe(tuple(operation for told in account.told for operation in told.operations), first.untied, last)


def recipe_from(model: nn.Module, whole: Recipe, base: Structure) -> Recipe:
    """What of a model's whole recipe was done since it had this structure, as when its builder alters parts itself."""
    if whole.base == base:
        return whole
    told = account_of(model).told
    place = next((i for i, found in enumerate(_structures(model, told)) if found.untied == base), 0)
    operations = tuple(operation for item in told[place:] for operation in item.operations)
    return Recipe(operations, base, whole.result) if place else whole


def refuse_unknown_past(model: nn.Module) -> None:
    """Raise if nothing is known to have been done to a model: a copy of one that was altered looks the same.

    Raises:
        RecipeError: naming what to give beside it.
    """
    account = account_of(model)
    if not account.told and not account.untold:
        raise RecipeError(
            f"no surgery on this {type(model).__name__} is known here, so that nothing says what it is made from.",
            "a copy, an average and an unpickled model have no recipe of their own",
            got=model,
            way_out="ts.save(copy, folder, recipe=ts.recipe_of(original)), or with base=, what it was built by",
        )


def _altered_otherwise(model: nn.Module, told: Sequence[Told]) -> Iterator[Other]:
    """Where the model was altered by other means: before a surgery that is told of it, or since the last one."""
    for item in told:
        foreign = item.record.foreign
        root = item.record.root()
        if model in foreign:
            yield foreign[model]
        elif root is not None and root in foreign and (name := item.name(foreign[root][0])) is not None:
            yield (name, *foreign[root][1:])
    yield from (other for _, other in found_otherwise([model]))
    number, _ = last_left(model)
    roots = {item.record.root(): item for item in told if item.number > number}
    for root, item in roots.items():
        for _, (there, was, now) in found_otherwise([root] if root is not None else []):
            if (here := item.name(there)) is not None:
                yield here, was, now


def found_otherwise(roots: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, Other]]:
    """Which roots are no longer what the last surgery left, and where."""
    for root in roots:
        _, last = last_left(root)
        other = None if last is None else first_other(root, last.left[root])
        if other is not None:
            yield root, other


def last_left(root: nn.Module) -> tuple[int, Record | None]:
    """The last surgery after which it was noted what it left of a root, and its number."""
    records = ((entry.number, entry.record) for entry in reversed(entries()))
    return next(((number, record) for number, record in records if record and root in record.left), (-1, None))


def _structures(model: nn.Module, told: Sequence[Told]) -> list[Structure]:
    """The structures before each surgery in force and after the last one: read backwards off what there is."""
    found = [structure_of(model)]
    for item in reversed(told):
        found.insert(0, item.lines_before(found[0]))
    return found
