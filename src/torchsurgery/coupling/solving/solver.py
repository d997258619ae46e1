"""From constraints to classes: which atoms are one, which are frozen, and which classes are products of others.

Connected components over ties; frozen is carried through products; a product with one live factor is a tie; two
products of one class are matched factor by factor. What can't be matched is frozen. Every step notes the product that
it follows from, so that `paths.py` can tell why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..constraints.atoms import Axis, Ledger, Product
from .classes import Classes, Flags, Links
from .columns import determines, distinct, leaders, linked, one_pattern, paired, rows_in, side_by_side
from .joining import Wholes, joined, union

_MOST_ROUNDS = 500


def solve(
    ledger: Ledger, instead: Mapping[int, Product] | None = None, frozen: Sequence[tuple[Axis, int]] = ()
) -> Classes:
    """The classes of all atoms.

    Args:
        ledger: All constraints.
        instead: What holds in place of some products, by their number.
        frozen: Further axes that stay, each with the number of its reason.
    """
    return _Solver(ledger, instead or {}, frozen).run()


class _Solver:
    """Rows of products and the links found so far. A row is one entry of one product."""

    def __init__(self, ledger: Ledger, instead: Mapping[int, Product], frozen: Sequence[tuple[Axis, int]]) -> None:
        self.ledger, self.links = ledger, Links(ledger)
        for axis, reason in frozen:
            self.links.add(axis, np.full(len(axis), -reason), np.full(len(axis), -1))
        products = [instead.get(i, product) for i, product in enumerate(ledger.products)]
        self.where = [product.where for product in products]
        width = max((len(product.factors) for product in products), default=1)
        rows = [(p.whole, side_by_side(p.factors, width), i) for i, p in enumerate(products)]
        self.m = joined([whole for whole, _, _ in rows])
        self.c = np.concatenate([np.zeros((0, width), np.int64), *(columns for _, columns, _ in rows)])
        self.p = joined([np.full(len(whole), i) for whole, _, i in rows])
        self.one = Wholes(ledger)
        self.parent = self.one.components()
        self.joined = 0
        self.divided: set[bytes] = set()
        self.apart: list[tuple[Axis, list[int]]] = []

    def run(self) -> Classes:
        for _ in range(_MOST_ROUNDS):
            self._join()
            if not len(self.m):
                break
            if not self._step() and not self._match():
                break
        else:
            self._give_up()
        return self._classes()

    def _join(self) -> None:
        """Bring the components up to date with the links added since."""
        one, other = joined(self.links.one[self.joined :]), joined(self.links.other[self.joined :])
        self.joined = len(self.links.one)
        self.parent = union(self.parent, np.maximum(one, 0), np.maximum(other, 0))

    # --- one round

    def _step(self) -> bool:
        """What follows from single rows; answers whether anything did."""
        whole, parts = self._labels(self.m), self._labels(self.c)
        is_frozen, frozen = whole == 0, parts == 0
        found = self._frozen_whole(is_frozen[:, None] & ~frozen)
        live = distinct(np.where(frozen, -1, parts))
        count = (live >= 0).sum(1)
        found |= self._all_frozen((count == 0) & ~is_frozen)
        found |= self._one_left((count == 1) & ~is_frozen, parts, live)
        inside = ((parts == whole[:, None]) & ~frozen).any(1) & (count >= 2) & ~is_frozen
        return self._contains_itself(inside, frozen) or found

    def _labels(self, atoms: Axis) -> Axis:
        return self.parent[np.maximum(atoms, 0)]

    def _frozen_whole(self, at: Flags) -> bool:
        """An entry that stays needs all its factors."""
        rows, columns = np.nonzero(at)
        # Linked to the whole: that is where the reason is found.
        return self.links.add(self.c[rows, columns], self.m[rows], -1 - self.p[rows])

    def _all_frozen(self, at: Flags) -> bool:
        """An entry all of whose factors stay does so, too."""
        rows = np.nonzero(at)[0]
        return self.links.add(self.m[rows], self.c[rows, 0], -1 - self.p[rows])

    def _one_left(self, at: Flags, parts: Axis, live: Axis) -> bool:
        rows = np.nonzero(at)[0]
        column = (parts[rows] == live[rows, :1]).argmax(1)
        partner = self.c[rows, column]
        news = self._labels(partner) != self._labels(self.m[rows])
        return self.links.add(self.m[rows][news], partner[news], -1 - self.p[rows][news])

    def _contains_itself(self, at: Flags, frozen: Flags) -> bool:
        """M = m · u: u lives wherever m does; taken for one class, which asks for more than needed."""
        rows, columns = np.nonzero(at[:, None] & ~frozen)
        news = self._labels(self.c[rows, columns]) != self._labels(self.m[rows])
        rows, columns = rows[news], columns[news]
        return self.links.add(self.m[rows], self.c[rows, columns], -1 - self.p[rows])

    # --- two products of one class

    def _match(self) -> bool:
        """Match factors wherever one class is a product in two ways; answers whether anything followed."""
        whole, parts = self._labels(self.m), self._labels(self.c)
        live = distinct(np.where(parts == 0, -1, parts))
        rows = np.nonzero((whole != 0) & ((live >= 0).sum(1) >= 2))[0]
        rows = rows[np.argsort(whole[rows], kind="stable")]
        lead = leaders(whole[rows], rows)
        differ = (live[rows] != live[lead]).any(1)
        rows, lead = rows[differ], lead[differ]
        pairs = self.p[lead] * np.int64(len(self.where)) + self.p[rows]
        found, self.apart = False, []
        for pair in np.unique(pairs):
            here = pairs == pair
            found |= self._match_products(lead[here], rows[here], parts)
        # What does not match yet may do so once more is known.
        for products, columns in () if found else self.apart:
            found |= self._clash(products, columns)
        return found

    def _match_products(self, some: Axis, others: Axis, parts: Axis) -> bool:
        """Two ways of dividing the same entries: equal factors cancel, those of one pattern are one."""
        mine, theirs = self._live_columns(some, parts), self._live_columns(others, parts)
        left = []
        for i in mine:
            same = next((j for j in theirs if (parts[some, i] == parts[others, j]).all()), None)
            theirs.remove(same) if same is not None else left.append(i)
        found, mine, left = False, left, []
        for i in mine:
            alike = next((j for j in theirs if one_pattern(parts[some, i], parts[others, j])), None)
            if alike is None:
                left.append(i)
                continue
            theirs.remove(alike)
            found |= self.links.add(self.c[some, i], self.c[others, alike], -1 - self.p[others])
        if not left or not theirs:
            rows, rest = (others, theirs) if theirs else (some, left)
            return (self._stays(rows, rest, "every channel is multiplied with it") if rest else False) or found
        if len(left) == 1 and theirs:
            return self._refine(self.c[some, left[0]], self.c[others][:, theirs], others) or found
        if len(theirs) == 1 and left:
            return self._refine(self.c[others, theirs[0]], self.c[some][:, left], some) or found
        if self._absorb((some, left), (others, theirs), parts) or self._absorb((others, theirs), (some, left), parts):
            return True
        if len(left) == len(theirs) == 2:
            divided = self._divide_both(some, others, left, theirs, parts)
            if divided is not None:
                return divided or found
        self.apart += [(some, left), (others, theirs)]
        return found

    def _absorb(self, one: tuple[Axis, list[int]], other: tuple[Axis, list[int]], parts: Axis) -> bool:
        """A factor that is the product of all on the other side; what it is multiplied with stays, as that can't go."""
        (some, mine), (others, theirs) = one, other
        whole = paired(*(parts[some, i] for i in mine))
        column = next((j for j in theirs if one_pattern(whole, parts[others, j])), None)
        if column is None:
            return False
        rest = [j for j in theirs if j != column]
        refined = self._refine(self.c[others, column], self.c[some][:, mine], some)
        return self._stays(others, rest, "every channel is multiplied with it") or refined

    def _divide_both(self, some: Axis, others: Axis, mine: list[int], theirs: list[int], parts: Axis) -> bool | None:
        """Divided as a · b and as c · d, where c = a · k and b = k · d, as (17, 64) and (68, 16) are: finds k.

        Answers whether anything is new, and None where there is no such k.
        """
        for a, b, c, d in ((*mine, *theirs), (*mine[::-1], *theirs[::-1])):
            columns = parts[some, a], parts[some, b], parts[others, c], parts[others, d]
            # One factor may be divided by several others: by the heads of two scales, say.
            key = b"".join(column.tobytes() for column in columns)
            if key in self.divided:
                return False
            if not (determines(columns[2], columns[0]) and determines(columns[1], columns[3])):
                continue
            names, k = np.unique(linked(columns[1], columns[2]), return_inverse=True)
            if len(names) > 1 and one_pattern(columns[2], paired(columns[0], k)):
                self.divided.add(key)
                fresh = self._fresh(len(names))[k.reshape(-1)]
                self._refine(self.c[others, c], np.stack([self.c[some, a], fresh], 1), others)
                self._refine(self.c[some, b], np.stack([fresh, self.c[others, d]], 1), some)
                return True
        return None

    def _fresh(self, length: int) -> Axis:
        atoms = self.ledger.fresh(length)
        self.parent = np.concatenate([self.parent, atoms])
        return atoms

    def _live_columns(self, rows: Axis, parts: Axis) -> list[int]:
        return [int(j) for j in np.nonzero((parts[rows] != 0).any(0))[0]]

    def _refine(self, whole: Axis, columns: Axis, rows: Axis) -> bool:
        """A factor on one side is the product of what is left on the other."""
        width = max(self.c.shape[1], columns.shape[1])
        self.c = np.pad(self.c, ((0, 0), (0, width - self.c.shape[1])))
        columns = np.pad(columns, ((0, 0), (0, width - columns.shape[1])))
        new = np.unique(np.concatenate([whole[:, None], columns], 1), axis=0)
        near = np.isin(self.m, new[:, 0])
        known = np.concatenate([self.m[near, None], self.c[near]], 1)
        new = new[~rows_in(new, known)]
        if not len(new):
            return False
        self.m, self.c = np.concatenate([self.m, new[:, 0]]), np.concatenate([self.c, new[:, 1:]])
        self.p = np.concatenate([self.p, np.full(len(new), len(self.where))])
        self.where.append(self.where[self.p[rows[0]]])
        return True

    def _clash(self, rows: Axis, columns: list[int]) -> bool:
        """Factors of which it isn't known what they have to do with each other stay."""
        return self._stays(rows, columns, "divided in two ways that don't match")

    def _stays(self, rows: Axis, columns: list[int], why: str) -> bool:
        atoms = self.c[rows][:, columns].reshape(-1)
        atoms = atoms[self._labels(atoms) != 0]
        self.ledger.where = self.where[self.p[rows[0]]]
        reason = self.ledger.reason(why)
        return self.links.add(atoms, np.full(len(atoms), -reason), np.full(len(atoms), -1))

    def _give_up(self) -> None:
        """Freeze all that is still a product; more rounds than this mean that something goes round in a circle."""
        for rows in (self.m, *self.c.T):
            atoms = rows[self._labels(rows) != 0]
            reason = self.ledger.reason("a chain of views too long to follow")
            self.links.add(atoms, np.full(len(atoms), -reason), np.full(len(atoms), -1))
        self._join()

    # --- the answer

    def _classes(self) -> Classes:
        # Each component is called by its smallest member, which is its own parent.
        is_name = self.parent == np.arange(len(self.parent))
        labels, names = (np.cumsum(is_name) - 1)[self.parent], np.nonzero(is_name)[0]
        whole, parts = labels[np.maximum(self.m, 0)], labels[np.maximum(self.c, 0)]
        live = np.sort(distinct(np.where(parts == 0, -1, parts)), 1)[:, ::-1]
        rows = np.nonzero((whole != 0) & ((live >= 0).sum(1) >= 2))[0]
        wholes, first = np.unique(whole[rows], return_index=True)
        factors = np.maximum(live[rows[first]], 0)
        primes = _primes(wholes, factors)
        return Classes(labels, names, wholes, factors, primes, self.links, tuple(self.where), self.one)


def _primes(wholes: Axis, factors: Axis) -> Axis:
    """Factors of factors, until none is a product."""
    primes = factors
    for _ in range(16):
        composite = np.isin(primes, wholes) & (primes > 0)
        if not composite.any() or not len(wholes):
            break
        at = np.minimum(np.searchsorted(wholes, primes), len(wholes) - 1)
        deeper = np.where(composite[:, :, None], factors[at], 0)
        kept = np.where(composite, 0, primes)
        primes = np.concatenate([kept, deeper.reshape(len(primes), -1)], 1)
        primes = np.maximum(distinct(np.where(primes == 0, -1, primes)), 0)
        primes = primes[:, : max(1, int((primes > 0).sum(1).max()))]
    return primes
