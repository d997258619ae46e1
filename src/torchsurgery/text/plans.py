"""Plans: each edit with its layers, the totals, and what to know before it is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from ..changes import Change, Planned
from ..origins import Computed
from ..stats import Size, count, in_bytes, share, short, signed
from .accounts import carried
from .layers import layer
from .words import MOST, columns, few, first_shape, listed, plural

_SYMBOL = {
    **{"replace": "-/+", "insert": "+", "remove": "-", "wrap": "-/+"},
    **{"prune": "~", "widen": "~", "call": "+", "follow": "↳"},
}
_LEGEND = "+ insert   - remove   -/+ replace or wrap   ~ resize   ↳ follows from the edit"
_WIDEST = 70


def plan_line(model: nn.Module, planned: Sequence[Planned], before: Size, after: Size) -> str:
    """`Plan: 2 edits, 0 follow-ups · 9 of 68 modules · params 11,689,512 → 11,689,512`."""
    changes = [change for item in planned for change in item.changes]
    follow = sum(change.kind == "follow" for change in changes)
    return (
        f"Plan: {plural(len(planned), 'edit')}, {plural(follow, 'follow-up')} · "
        f"{len({change.name for change in changes}):,} of {sum(1 for _ in model.modules()):,} modules · "
        f"params {count(before.params)} → {count(after.params)}"
    )


@dataclass(frozen=True, slots=True)
class PlanView:
    """How a plan is shown.

    Attributes:
        source: What the model is called; by default its class.
        all: Whether long lists are shown whole.
        more: Where what is not shown can be seen.
    """

    source: str = ""
    all: bool = False
    more: str = "plan.changes has them all"


_PLAIN = PlanView()


@dataclass(frozen=True, slots=True)
class Side:
    """The model on one side of a plan, before or after.

    Attributes:
        size: Its parameters and bytes.
        macs: Its multiply-adds, or None where it wasn't run.
        output: The shapes of what it answers.
    """

    size: Size
    macs: int | None = None
    output: tuple[tuple[int, ...], ...] = ()


def plan_text(model: nn.Module, planned: Sequence[Planned], before: Side, after: Side, view: PlanView = _PLAIN) -> str:
    """The whole plan: each edit with its layers, the totals, and what to know before it is applied."""
    blocks = [f"plan {view.source or type(model).__name__}   dry run: the model is not changed", _LEGEND]
    order = {name: i for i, (name, _) in enumerate(model.named_modules(remove_duplicate=False))}
    for i, item in enumerate(planned, 1):
        blocks.append("\n".join(edit_rows(i, item, order, view)))
    blocks.append("\n".join(columns(totals(before, after))))
    if warnings := [f"! {c.name}: {warning}" for item in planned for c in item.changes for warning in c.warnings]:
        blocks.append("\n".join(warnings if view.all else few(warnings)))
    return "\n\n".join([*blocks, plan_line(model, planned, before.size, after.size)])


def edit_rows(number: int, planned: Planned, order: Mapping[str, int], view: PlanView = _PLAIN) -> Iterator[str]:
    """One edit: what was asked for, what becomes of each layer, and what stays.

    Args:
        number: Its place in the plan.
        planned: The edit with its changes.
        order: The place of each module of the model.
        view: How it is shown.
    """
    own = [change for change in planned.changes if change.kind != "follow"]
    means = Counter(change.means for change in own)
    places = sum(len(change.names) for change in own)
    shared = f" in {places} places" if places != len(own) else ""
    yield f"{number}  {planned.edit.describe()}    {plural(len(own), 'module')}{shared} · {', '.join(means)}"
    changes = _in_order(planned.changes, order)
    shown = changes if view.all else changes[:MOST]
    yield from _aligned([change_cells(change) for change in shown])
    if hidden := changes[len(shown) :]:
        yield f"     … {len(hidden)} more{_whereabouts(hidden)}  ({view.more})"
    yield from (f"     {line}" for line in limits(planned))


def limits(planned: Planned) -> Iterator[str]:
    """What an edit leaves as it is, and which keys of the state dict it renames."""
    if planned.skipped:
        yield f"left out, as they lie inside of what is replaced: {listed(planned.skipped)}"
    for why, names in _by_reason(planned.left).items():
        yield f"left as they are ({why}): {listed(names)}"
    renamed = {k: v for change in planned.changes if change.kind != "follow" for k, v in change.renamed.items()}
    if renamed:
        first, second = next(iter(renamed.items()))
        yield f"keys renamed: {len(renamed)}, such as {first} → {second}; older checkpoints still load"


def _in_order(changes: Sequence[Change], order: Mapping[str, int]) -> Sequence[Change]:
    """Those of a cut stand as in the model, so that what hangs together is seen together."""
    if not any(change.kind in ("prune", "widen") for change in changes):
        return changes
    return sorted(changes, key=lambda change: order.get(change.name, len(order)))


def _whereabouts(changes: Sequence[Change]) -> str:
    """The parts of the model that these lie in, where they are few."""
    parts = list(dict.fromkeys(change.name.partition(".")[0] for change in changes))
    return f" in {listed(parts)}" if any("." in change.name for change in changes) else ""


def _by_reason(left: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, why in left.items():
        reasons.setdefault(why, []).append(name)
    return reasons


def change_cells(change: Change) -> tuple[str, str, str, str, str]:
    """Symbol, name, before → after, difference in parameters, account."""
    if change.kind == "follow" and change.new is change.old:
        return _SYMBOL[change.kind], _label(change), carried(change), "", ""
    if change.kind in ("prune", "widen", "follow"):
        return _SYMBOL[change.kind], _label(change), _narrowed(change), signed(_own_delta(change)), ""
    delta = sum(p.numel() for p in change.new.parameters()) - sum(p.numel() for p in change.old.parameters())
    words = f"{layer(change.old)} → {layer(change.new)}"
    return _SYMBOL[change.kind], _label(change), words, signed(delta), carried(change)


def _narrowed(change: Change) -> str:
    """What has become narrower or wider: `out_channels 64 → 48`, or the shapes where no attribute tells."""
    shapes = (f"{name} {origin.describe()}" for name, origin in change.origins.items() if isinstance(origin, Computed))
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


def totals(before: Side, after: Side) -> list[tuple[str, str, str, str]]:
    """What the whole model has and computes: a head, then a row for each quantity, before, after and the change."""
    rows = [
        ("", "before", "after", "change"),
        _compared("params", before.size.params, after.size.params, count),
        _compared("weights", before.size.bytes, after.size.bytes, in_bytes),
    ]
    if before.macs is not None and after.macs is not None:
        rows.insert(2, _compared("MACs", before.macs, after.macs, short))
        same = before.output == after.output
        rows.append(("output", first_shape(before.output), first_shape(after.output), "same" if same else "changes"))
    return rows


def _compared(name: str, before: int, after: int, written: Callable[[int], str]) -> tuple[str, str, str, str]:
    return name, written(before), written(after), share(before, after)
