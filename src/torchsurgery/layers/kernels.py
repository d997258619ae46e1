"""What happens to a convolution's kernel when its windows, its groups or its dimensions change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..origins import Computed, Initialised, Origin
from .conversion import Fidelity
from .windows import Change, Fit, times

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where a new kernel comes from, and what that costs."""

    origin: str | Origin
    fidelity: Fidelity = Fidelity.EXACT
    error: float | None = None
    remarks: tuple[str, ...] = ()


def kernel_of(weight: Tensor, change: Change, axes: int, groups: tuple[int, int]) -> Kernel:
    """The kernel that `weight` becomes: lifted to `axes`, every tap in its new place, groups regrouped.

    Args:
        weight: The old kernel, (rows, columns / groups, *sizes); rows are the outputs, or a transposed kernel's inputs.
        change: What happens along the axes.
        axes: Dimensions of the new kernel.
        groups: Of the old kernel and of the new one.
    """
    steps: list[tuple[str, Step]] = []
    own = weight.dim() - 2
    if axes != own:
        steps.append(_axes_step(own, axes))
    if not change.keeps_order:
        steps.append((_tap_words(change), lambda tensor: retapped(tensor, change.fits, [w.kernel for w in change.new])))
    dropped = None if change.keeps_taps else _dropped(change, weight, steps)
    if groups[0] != groups[1]:
        if not _regroups(_applied(steps, weight), *groups):
            return Kernel(Initialised(f"groups {groups[0]} → {groups[1]}"))
        words = "block diagonal" if groups[1] < groups[0] else "diagonal blocks"
        steps.append((words, lambda tensor: regrouped(tensor, *groups)))
    if not steps:
        return Kernel("weight")
    words = ", ".join(words for words, _ in steps)
    origin = Computed(("weight",), lambda tensor: _applied(steps, tensor), words, per_entry=axes >= own)
    return Kernel(origin) if dropped is None else Kernel(origin, *dropped)


def _applied(steps: Sequence[tuple[str, Step]], tensor: Tensor) -> Tensor:
    with torch.no_grad():
        for _, step in steps:
            tensor = step(tensor)
    return tensor


def _axes_step(own: int, axes: int) -> tuple[str, Step]:
    if axes < own:
        gone = tuple(range(2, 2 + own - axes))
        return f"{own}d to {axes}d, summed", lambda tensor: tensor.sum(dim=gone)
    ones = [1] * (axes - own)
    return f"{own}d to {axes}d", lambda tensor: tensor.clone().reshape(*tensor.shape[:2], *ones, *tensor.shape[2:])


def _tap_words(change: Change) -> str:
    before, after = (times(window.kernel for window in windows) for windows in (change.old, change.new))
    if change.keeps_taps:
        return f"zero-padded from {before} to {after}"
    return f"the middle of {before} as {after}"


def retapped(weight: Tensor, fits: Sequence[Fit], kernel: Sequence[int]) -> Tensor:
    """A kernel with each tap in its new place, and zeros where none comes."""
    result = weight.new_zeros(*weight.shape[:2], *kernel)
    if all(fit.taps for fit in fits):
        new, old = ([_evenly([tap[side] for tap in fit.taps]) for fit in fits] for side in (0, 1))
        channels = (slice(None), slice(None))
        to, of = (*channels, *new), (*channels, *old)
        result[to] = weight[of]
    return result


def _evenly(places: Sequence[int]) -> slice:
    # Two grids of taps meet at even distances.
    step = places[1] - places[0] if len(places) > 1 else 1
    return slice(places[0], places[-1] + 1, step)


# --- what is dropped


def _dropped(
    change: Change, weight: Tensor, steps: Sequence[tuple[str, Step]]
) -> tuple[Fidelity, float | None, tuple[str]]:
    """What goes with the taps that go: the error is that of white noise as input."""
    taps = math.prod(window.kernel for window in change.old)
    gone = taps - math.prod(len(fit.taps) for fit in change.fits)
    remark = f"drops {gone} of {taps} taps"
    share = _dropped_share(weight, steps)
    if share is None:
        return Fidelity.APPROXIMATE, None, (remark,)
    if share == 0:
        return Fidelity.EXACT, None, (f"{remark}, all of them zero",)
    return Fidelity.APPROXIMATE, math.sqrt(share), (f"{remark}, {100 * share:.0f} % of the kernel's energy",)


def _dropped_share(weight: Tensor, steps: Sequence[tuple[str, Step]]) -> float | None:
    """The share of the kernel's energy that goes; None where there are no values to look at."""
    weight = weight.detach()
    if weight.is_meta or not weight.isfinite().all():
        return None
    before = _applied(steps[:-1], weight)
    kept = _applied(steps[-1:], before)
    if torch.count_nonzero(before) == torch.count_nonzero(kept):
        return 0.0
    total, left = (float(tensor.abs().double().square().sum()) for tensor in (before, kept))
    return max(0.0, 1 - left / total)


# --- groups


def regrouped(weight: Tensor, old: int, new: int) -> Tensor:
    """A kernel of `old` groups as one of `new`: zeros between what were groups, or only the blocks on the diagonal."""
    rows, columns = weight.shape[0], weight.shape[1] * old
    dense = weight.new_zeros(old, rows // old, old, *weight.shape[1:])
    index = torch.arange(old, device=weight.device)
    dense[index, :, index] = weight.reshape(old, rows // old, *weight.shape[1:])
    dense = dense.reshape(new, rows // new, new, columns // new, *weight.shape[2:])
    index = torch.arange(new, device=weight.device)
    return dense[index, :, index].reshape(rows, columns // new, *weight.shape[2:])


def _regroups(weight: Tensor, old: int, new: int) -> bool:
    """Whether every connection that the kernel uses has a place in `new` groups."""
    if old % new == 0:
        return True
    if weight.is_meta:
        return False
    weight = weight.detach()
    return bool(torch.count_nonzero(regrouped(weight, old, new)) == torch.count_nonzero(weight))
