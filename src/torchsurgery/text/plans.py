"""Plans: each edit with its layers, the totals, and what to know before it is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from ..changes import Change, Planned
from ..origins import Computed
from ..stats import Size, count, in_bytes, share, signed
from .accounts import carried
from .layers import layer
from .words import MOST, columns, few, listed, plural

_SYMBOL = {"replace": "-/+", "insert": "+", "remove": "-", "wrap": "-/+", "prune": "~", "call": "+", "follow": "↳"}
_LEGEND = "+ insert   - remove   -/+ replace or wrap   ~ prune   ↳ follows from the edit above it"
_WIDEST = 70


def plan_line(model: nn.Module, planned: Sequence[Planned], before: Size, after: Size) -> str:
    """`Plan: 2 edits, 0 follow-ups · 9 of 68 modules · params 11,689,512 → 11,689,512`."""
    changes = [change for item in planned for change in item.changes]
    own = [change for change in changes if change.kind != "follow"]
    return (
        f"Plan: {plural(len(planned), 'edit')}, {len(changes) - len(own)} follow-ups · "
        f"{len({change.name for change in own})} of {sum(1 for _ in model.modules())} modules · "
        f"params {count(before.params)} → {count(after.params)}"
    )


def plan_text(model: nn.Module, planned: Sequence[Planned], before: Size, after: Size) -> str:
    """The whole plan: each edit with its layers, the totals, and what to know before it is applied."""
    blocks = [f"plan {type(model).__name__}   dry run: the model is not changed", _LEGEND]
    for i, item in enumerate(planned, 1):
        blocks.append("\n".join(edit_rows(i, item.edit.describe(), item.changes, item.skipped, item.left)))
    blocks.append("\n".join(_totals(before, after)))
    if warnings := [f"! {c.name}: {warning}" for item in planned for c in item.changes for warning in c.warnings]:
        blocks.append("\n".join(few(warnings)))
    return "\n\n".join([*blocks, plan_line(model, planned, before, after)])


def edit_rows(
    number: int, what: str, changes: Sequence[Change], skipped: Sequence[str], left: Mapping[str, str]
) -> Iterator[str]:
    """One edit: what was asked for, what becomes of each layer, and what stays."""
    own = [change for change in changes if change.kind != "follow"]
    means = Counter(change.means for change in own)
    places = sum(len(change.names) for change in own)
    shared = f" in {places} places" if places != len(own) else ""
    yield f"{number}  {what}    {plural(len(own), 'module')}{shared} · {', '.join(means)}"
    yield from _aligned([_cells(change) for change in changes[:MOST]])
    if len(changes) > MOST:
        yield f"     … {len(changes) - MOST} more  (plan.changes has them all)"
    if skipped:
        yield f"     left out, as they lie inside of what is replaced: {listed(skipped)}"
    for why, names in _by_reason(left).items():
        yield f"     left as they are ({why}): {listed(names)}"
    if renamed := {key: value for change in own for key, value in change.renamed.items()}:
        first, second = next(iter(renamed.items()))
        yield f"     keys renamed: {len(renamed)}, such as {first} → {second}; older checkpoints still load"


def _by_reason(left: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, why in left.items():
        reasons.setdefault(why, []).append(name)
    return reasons


def _cells(change: Change) -> tuple[str, str, str, str, str]:
    """Symbol, name, before → after, difference in parameters, account."""
    if change.kind == "follow" and change.new is change.old:
        return _SYMBOL[change.kind], _label(change), carried(change), "", ""
    if change.kind in ("prune", "follow"):
        return _SYMBOL[change.kind], _label(change), _narrowed(change), signed(_own_delta(change)), ""
    delta = sum(p.numel() for p in change.new.parameters()) - sum(p.numel() for p in change.old.parameters())
    words = f"{layer(change.old)} → {layer(change.new)}"
    return _SYMBOL[change.kind], _label(change), words, signed(delta), carried(change)


def _narrowed(change: Change) -> str:
    """What has become narrower: `out_channels 64 → 48`, or the shapes where no attribute tells."""
    shapes = (f"{name} {origin.what}" for name, origin in change.origins.items() if isinstance(origin, Computed))
    return ", ".join(change.remarks) or ", ".join(shapes)


def _own_delta(change: Change) -> int:
    """The difference in parameters, without those of layers inside, which have rows of their own."""
    new, old = (sum(p.numel() for p in layer.parameters(recurse=False)) for layer in (change.new, change.old))
    return new - old


def _aligned(rows: Sequence[tuple[str, str, str, str, str]]) -> Iterator[str]:
    names, words, deltas = (max((len(row[i]) for row in rows), default=0) for i in (1, 2, 3))
    words, told = min(words, _WIDEST), ""
    for symbol, name, what, delta, account in rows:
        yield f" {symbol:>3} {name:<{names}}  {what:<{words}}  {delta:>{deltas}}".rstrip()
        if account and account != told:
            yield from (f"     {'':<{names}}  {row}" for row in _folded(account, _WIDEST + 20))
        told = account


def _folded(account: str, width: int) -> Iterator[str]:
    """An account in rows, broken between its parts."""
    row = ""
    for part in account.split(" · "):
        if row and len(row) + len(part) + 3 > width:
            yield row
            row = ""
        row = f"{row} · {part}" if row else part
    yield row


def _label(change: Change) -> str:
    return " = ".join(name or "(the model)" for name in change.names)


def _totals(before: Size, after: Size) -> Iterator[str]:
    rows = [
        ("", "before", "after", "change"),
        ("params", count(before.params), count(after.params), share(before.params, after.params)),
        ("weights", in_bytes(before.bytes), in_bytes(after.bytes), share(before.bytes, after.bytes)),
    ]
    yield from columns(rows)
