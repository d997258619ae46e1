"""Plans and surgeries as text. Reads finished objects and decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import nn

from .calls.places import FunctionalCall
from .changes import Change, Planned
from .errors import ConfigError
from .layers.building import signature_of
from .layers.config import config_of
from .layers.conversion import Fidelity
from .origins import Computed, Initialised, Origin, Same
from .stats import Size, count, in_bytes, share, signed

_SYMBOL = {"replace": "-/+", "insert": "+", "remove": "-", "wrap": "-/+", "prune": "~", "call": "+", "follow": "↳"}
_LEGEND = "+ insert   - remove   -/+ replace or wrap   ~ prune   ↳ follows from the edit above it"
_DONE = {
    "replace": "replaced",
    "insert": "with one inserted",
    "remove": "removed",
    "wrap": "wrapped",
    "prune": "pruned",
    "call": "made of a call",
    "follow": "adjusted",
}
_MOST = 8  # rows that a list shows before it is folded
_WIDEST = 70


def plan_line(model: nn.Module, planned: Sequence[Planned], before: Size, after: Size) -> str:
    """`Plan: 2 edits, 0 follow-ups · 9 of 68 modules · params 11,689,512 → 11,689,512`."""
    changes = [change for item in planned for change in item.changes]
    own = [change for change in changes if change.kind != "follow"]
    return (
        f"Plan: {len(planned)} edit{'s' * (len(planned) != 1)}, {len(changes) - len(own)} follow-ups · "
        f"{len({change.name for change in own})} of {sum(1 for _ in model.modules())} modules · "
        f"params {count(before.params)} → {count(after.params)}"
    )


def plan_text(model: nn.Module, planned: Sequence[Planned], before: Size, after: Size) -> str:
    """The whole plan: each edit with its layers, the totals, and what to know before it is applied."""
    blocks = [f"plan {type(model).__name__}   dry run: the model is not changed", _LEGEND]
    for i, item in enumerate(planned, 1):
        blocks.append("\n".join(_edit_rows(i, item.edit.describe(), item.changes, item.skipped, item.left)))
    blocks.append("\n".join(_totals(before, after)))
    if warnings := [f"! {c.name}: {warning}" for item in planned for c in item.changes for warning in c.warnings]:
        blocks.append("\n".join(_few(warnings)))
    return "\n\n".join([*blocks, plan_line(model, planned, before, after)])


def surgery_line(model: str, changes: Sequence[Change], before: Size, after: Size, in_force: bool) -> str:
    """`Surgery on ResNet: 20 layers replaced · params 11,689,512 → 11,689,512 · undo() takes it back`."""
    counts = Counter(change.kind for change in changes)
    done = ", ".join(f"{n} layer{'s' * (n != 1)} {_DONE[kind]}" for kind, n in counts.items()) or "nothing done"
    state = "undo() takes it back" if in_force else "undone"
    rows = [f"Surgery on {model}: {done} · params {count(before.params)} → {count(after.params)} · {state}"]
    rows += [f"! {change.name}: {warning}" for change in changes for warning in change.warnings][:_MOST]
    return "\n  ".join(rows)


def layer(module: nn.Module) -> str:
    """A layer in one line, as its constructor is called: `Conv2d(3, 64, 7, stride=2, padding=3, bias=False)`."""
    kind = type(module)
    if isinstance(module, FunctionalCall):
        return repr(module)
    if module._modules:
        inside = Counter(type(child).__name__ for child in module.children())
        return f"{kind.__name__}({', '.join(name if n == 1 else f'{n} × {name}' for name, n in inside.items())})"
    try:
        config = config_of(module)
    except ConfigError:
        return repr(module).replace("\n", " ")
    signature = signature_of(kind)
    given = [_value(config[name]) for name in signature.required if name in config]
    given += [
        f"{name}={_value(value)}"
        for name, value in config.items()
        if name not in signature.required and _value(value) != _value(signature.defaults.get(name))
    ]
    return f"{kind.__name__}({', '.join(given)})"


def _value(value: object) -> str:
    if isinstance(value, tuple) and value and all(type(item) is int and item == value[0] for item in value):
        return repr(value[0])
    if isinstance(value, float) and len(repr(value)) > 8:
        return f"{value:.4g}"
    return repr(value)


def carried(change: Change) -> str:
    """What becomes of the tensors and arguments: `carried weight, bias · lost running_mean · dropped momentum=0.1`."""
    parts = []
    if change.kind == "follow":
        return " · ".join(change.remarks)
    if change.fidelity not in (None, Fidelity.INITIALISED):  # of which the tensors tell
        error = f" (relative error about {change.error:.2g})" if change.error is not None else ""
        parts.append(change.fidelity.value + error)
    # What a layer that only moves brings along is all of it.
    moved = change.kind in ("insert", "wrap")
    parts += _tensor_words({k: o for k, o in change.origins.items() if not (moved and isinstance(o, Same))})
    if not change.origins and change.kind == "replace" and change.new.state_dict(keep_vars=True):
        parts.append("all tensors carried")
    if change.lost:
        parts.append(f"lost {_listed(change.lost)}")
    if change.dropped:
        parts.append(f"without counterpart: {_listed(change.dropped)}")
    return " · ".join([*parts, *change.remarks])


def _tensor_words(origins: Mapping[str, Origin]) -> Iterator[str]:
    same = [name for name, origin in origins.items() if isinstance(origin, Same)]
    if same:
        yield f"carried {_listed(same)}"
    for name, origin in origins.items():
        if isinstance(origin, Computed):
            yield f"{name} {origin.what}"
    for why, names in _grouped(origins):
        yield f"{'new' if why == 'as given' else 'initialised'} {_listed(names)}{f' ({why})' if why else ''}"


def _grouped(origins: Mapping[str, Origin]) -> Iterator[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for name, origin in origins.items():
        if isinstance(origin, Initialised):
            groups.setdefault(origin.why, []).append(name)
    yield from groups.items()


def _edit_rows(
    number: int, what: str, changes: Sequence[Change], skipped: Sequence[str], left: Mapping[str, str]
) -> Iterator[str]:
    own = [change for change in changes if change.kind != "follow"]
    means = Counter(change.means for change in own)
    places = sum(len(change.names) for change in own)
    shared = f" in {places} places" if places != len(own) else ""
    yield f"{number}  {what}    {len(own)} module{'s' * (len(own) != 1)}{shared} · {', '.join(means)}"
    yield from _aligned([_cells(change) for change in changes[:_MOST]])
    if len(changes) > _MOST:
        yield f"     … {len(changes) - _MOST} more  (plan.changes has them all)"
    if skipped:
        yield f"     left out, as they lie inside of what is replaced: {_listed(skipped)}"
    for why, names in _by_reason(left).items():
        yield f"     left as they are ({why}): {_listed(names)}"
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
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        yield f"{row[0]:<{widths[0]}}  " + "  ".join(
            f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True)
        )


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _few(rows: list[str]) -> list[str]:
    return rows[:_MOST] + ([f"… {len(rows) - _MOST} more"] if len(rows) > _MOST else [])
