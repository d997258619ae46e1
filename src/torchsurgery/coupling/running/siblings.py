"""Parts that were not run because others like them were, such as the experts that no token was sent to.

Of parts of one class and shape in one `nn.ModuleList` or `nn.ModuleDict`, those that were not run are taken to be used
as one that was: what holds for its channels holds for theirs. Left alone they would break as soon as they are run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch import nn

from ..constraints.atoms import Where
from ..constraints.integers import Attribute, Expression, Site, Term
from ..constraints.record import Record, Sum
from ..constraints.record import Term as Factor


def follow_siblings(model: nn.Module, record: Record) -> dict[str, str]:
    """Tie each part that was not run to one like it that was; answers which to which.

    Args:
        model: The model, as it is.
        record: What its trace has gathered; is added to.
    """
    found: dict[str, str] = {}
    if record.touched.issuperset(record.parameters):
        return found
    for name, container in model.named_modules():
        if isinstance(container, (nn.ModuleList, nn.ModuleDict)):
            prefix = f"{name}." if name else ""
            found |= dict(_pairs(prefix, container._modules, record))
    for unseen, seen in found.items():
        _tie(record, unseen, seen)
        _follow_integers(record, unseen, seen)
        _follow_sums(record, unseen, seen)
    return found


def _pairs(prefix: str, parts: Mapping[str, nn.Module | None], record: Record) -> Iterator[tuple[str, str]]:
    """Parts with parameters none of which was used, each with one of its kind all of which were."""
    models: dict[object, str] = {}
    waiting: list[tuple[str, object]] = []
    for key, part in parts.items():
        leaves = [f"{prefix}{key}.{leaf}" for leaf, _ in part.named_parameters()] if part is not None else []
        known = [leaf for leaf in leaves if leaf in record.leaves]
        if part is None or not known or len(known) < len(leaves):
            continue
        shape: object = (type(part), tuple((leaf, tuple(p.shape)) for leaf, p in part.named_parameters()))
        if record.touched.issuperset(known):
            models.setdefault(shape, f"{prefix}{key}")
        elif record.touched.isdisjoint(known):
            waiting.append((f"{prefix}{key}", shape))
    for name, wanted in waiting:
        if wanted in models:
            yield name, models[wanted]


def _tie(record: Record, unseen: str, seen: str) -> None:
    record.ledger.where = Where("not run, taken to be like its siblings", unseen)
    for leaf in [leaf for leaf in record.leaves if leaf.startswith(f"{unseen}.")]:
        twin = seen + leaf[len(unseen) :]
        for one, other in zip(record.leaves[leaf], record.leaves.get(twin, ()), strict=False):
            record.ledger.tie(one, other)
            if id(other) in record.roles:
                record.roles.setdefault(id(one), record.roles[id(other)])
        record.touched.add(leaf)


def _follow_integers(record: Record, unseen: str, seen: str) -> None:
    """Wherever an integer of the one is a size, that of the other would be the same size."""
    integers = record.integers
    for site in list(integers.sites):
        expression = _renamed(site.expression, unseen, seen)
        if expression != site.expression:
            integers.sites.append(Site(expression, site.axis, site.where))


def _follow_sums(record: Record, unseen: str, seen: str) -> None:
    """Wherever weights of the one are summed over, those of the other would be."""
    twins = np.arange(record.ledger.size)
    for leaf in (leaf for leaf in record.leaves if leaf.startswith(f"{unseen}.")):
        for one, other in zip(record.leaves[leaf], record.leaves.get(seen + leaf[len(unseen) :], ()), strict=False):
            twins[other[other > 0]] = one[other > 0]

    def twin(term: Factor) -> Factor:
        roots = {unseen + root[len(seen) :] if root.startswith(f"{seen}.") else root for root in term.roots}
        axis, over = (np.where(ids > 0, twins[np.maximum(ids, 0)], ids) for ids in (term.axis, term.over))
        return Factor(axis, frozenset(roots), over)

    for item in list(record.sums):
        if any(root.startswith(f"{seen}.") for root in (*item.one.roots, *item.other.roots)):
            record.sums.append(Sum(twin(item.one), twin(item.other), item.where))


def _renamed(expression: Expression, unseen: str, seen: str) -> Expression:
    if isinstance(expression, Attribute) and (expression.module == seen or expression.module.startswith(f"{seen}.")):
        return Attribute(unseen + expression.module[len(seen) :], expression.key)
    if isinstance(expression, Term):
        one, other = (_renamed(part, unseen, seen) for part in (expression.one, expression.other))
        return Term(expression.function, one, other)
    return expression
