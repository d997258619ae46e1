"""Weights for other numbers of inputs and outputs: what goes on computes what it did.

Rows are outputs, columns inputs. Rows that go on have zeros in columns that come new, so that these count for nothing;
rows that come new begin as the layer's constructor draws them. Of fewer outputs none goes on: which ones should, nobody
has said (`ts.prune` chooses), and the new head on a frozen backbone has to be trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..origins import Computed, Grown, Initialised, Origin
from .conversion import Fidelity

# Which new row or column goes on as which old one, as (new, old).
Places = Sequence[tuple[int, int]]


def first(old: int, new: int, block: int = 1) -> Places:
    """The first ones go on; with several `block`s, the first ones of each."""
    return [(b * new + i, b * old + i) for b in range(block) for i in range(min(old, new))]


def moved(
    source: str,
    shape: Sequence[int],
    rows: Places,
    columns: Places | None = None,
    *,
    axis: int = 0,
    prepared: tuple[str, Callable[[Tensor], Tensor]] | None = None,
) -> Computed:
    """Where a weight or bias of another shape comes from.

    Args:
        source: The old tensor's name.
        shape: The new tensor's shape.
        rows: Which rows go on.
        columns: Which columns; None where there are none, or they stay as they are.
        axis: Where the rows lie: axis 0, or 1 in a transposed convolution; the columns are the other one of both.
        prepared: What is done to the old tensor first, in words and in fact.
    """
    what = ", ".join([*([prepared[0]] if prepared else []), *_rows_in_words(rows, shape[axis])])

    def place(drawn: Tensor | None, tensor: Tensor) -> Tensor:
        tensor = tensor if prepared is None else prepared[1](tensor)
        if drawn is None:
            result = tensor.new_zeros(tuple(shape))
        else:
            result = drawn.to(tensor.device, tensor.dtype, copy=True)
        _place(result, tensor, rows, columns, axis)
        return result

    if len(rows) < shape[axis]:
        return Grown((source,), place, what, per_entry=True)
    return Computed((source,), lambda tensor: place(None, tensor), what, per_entry=True)


def _place(new: Tensor, old: Tensor, rows: Places, columns: Places | None, axis: int) -> None:
    if axis == 1:
        new, old = new.transpose(0, 1), old.transpose(0, 1)
    (to, at), sides = _indices(rows, new.device), None if columns is None else _indices(columns, new.device)
    if sides is None:
        new[to] = old[at]
        return
    new[to] = 0
    new[to[:, None], sides[0]] = old[at[:, None], sides[1]]


def _indices(places: Places, device: torch.device) -> tuple[Tensor, Tensor]:
    pairs = torch.tensor(list(places), dtype=torch.long, device=device).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _rows_in_words(places: Places, count: int) -> list[str]:
    if len(places) == count:
        return [] if [new for new, _ in places] == [old for _, old in places] else ["rows in another order"]
    return [f"{len(places)} rows carried, {count - len(places)} initialised"]


def more(name: str, old: int, new: int) -> Origin:
    """Where a bias for more outputs comes from."""
    return moved(name, (new,), first(old, new)) if new > old else Initialised(f"{old} → {new} outputs")


# --- other inputs


def with_columns(weight: Tensor, axis: int, channels: int, fill: str = "zeros") -> Tensor:
    """A weight for another number of inputs along `axis`.

    Args:
        weight: The old one.
        axis: Of the inputs.
        channels: How many they are to be; the sum of the old ones for a single one.
        fill: "zeros" for further inputs, or "repeat" for the old columns over and over, scaled to give the same for
            repeated inputs.
    """
    old = weight.shape[axis]
    if channels == 1 < old:
        return weight.sum(axis, keepdim=True)
    if channels <= old:
        return weight.narrow(axis, 0, channels).clone()
    if fill == "zeros":
        shape = list(weight.shape)
        shape[axis] = channels - old
        return torch.cat([weight, weight.new_zeros(shape)], axis)
    index = torch.arange(channels, device=weight.device) % old
    times = torch.tensor([len(range(i % old, channels, old)) for i in range(channels)], dtype=weight.dtype)
    shape = [1] * weight.dim()
    shape[axis] = -1
    return weight.index_select(axis, index) / times.to(weight.device).reshape(shape)


def columns_in_words(old: int, new: int, fill: str = "zeros") -> tuple[str, str, bool]:
    """What becomes of the weight, when that is the same as before, and whether it is."""
    if new == 1 < old:
        return f"summed over {old} inputs", "the same for a grey image that was repeated", True
    if new <= old:
        return f"columns 0–{new - 1} of {old}", f"channels {new}–{old - 1} are no longer seen", False
    if fill == "zeros":
        return f"zeros for {new - old} more inputs", "the new channels count for nothing until trained", True
    return f"repeated over {new} inputs and rescaled", "the same for repeated channels", True


# --- both


@dataclass(frozen=True, slots=True)
class Resized:
    """What the weight of a layer with other numbers of inputs and outputs comes from, and how well that holds."""

    weight: Origin
    fidelity: Fidelity
    error: float | None
    remarks: tuple[str, ...]


def resized(
    weight: Tensor,
    shape: Sequence[int],
    inputs: tuple[int, int],
    outputs: tuple[int, int],
    *,
    axis: int = 0,
    prepared: tuple[str, Callable[[Tensor], Tensor]] | None = None,
) -> Resized:
    """The weight of a layer that takes or gives other numbers of channels; the old ones are the first ones.

    Args:
        weight: The old one, called "weight".
        shape: Of the new one.
        inputs: Old and new number of columns.
        outputs: Old and new number of rows.
        axis: See `moved`.
        prepared: See `moved`.
    """
    (old_in, new_in), (old_out, new_out) = inputs, outputs
    if new_out < old_out:
        return Resized(Initialised(f"{old_out} → {new_out} outputs"), Fidelity.INITIALISED, None, ())
    words, steps = ([prepared[0]], [prepared[1]]) if prepared else ([], [])
    remarks, fidelity, error = [], Fidelity.EXACT, None
    if new_in != old_in:
        what, remark, same = columns_in_words(old_in, new_in)
        words.append(what)
        remarks.append(remark)
        steps.append(lambda tensor: with_columns(tensor, 1 - axis, new_in))
        if not same:
            fidelity, error = Fidelity.APPROXIMATE, _dropped(weight, 1 - axis, new_in)
    if new_out > old_out:
        fidelity, error = Fidelity.INITIALISED, None
        remarks.append(f"the first {old_out} outputs go on, of {new_out}")

    def prepare(tensor: Tensor) -> Tensor:
        for step in steps:
            tensor = step(tensor)
        return tensor

    first_rows = first(old_out, new_out)
    origin = moved("weight", shape, first_rows, axis=axis, prepared=(", ".join(words), prepare) if words else None)
    return Resized(origin, fidelity, error, tuple(remarks))


def _dropped(weight: Tensor, axis: int, channels: int) -> float | None:
    """The error for white noise of leaving out the columns from `channels` on; None without finite values."""
    if weight.is_meta:
        return None
    energy = weight.detach().abs().double().square().movedim(axis, 0).flatten(1).sum(1)
    if not energy.isfinite().all():
        return None
    return math.sqrt(float(energy[channels:].sum() / energy.sum())) if energy.sum() else 0.0
