"""Convolutions over other numbers of axes, plain and transposed: inflated, centred, summed up, or cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..origins import Computed, Origin
from .conv import CONVS, GEOMETRY, TRANSPOSED, windows_of
from .conversion import Conversion, Fidelity
from .dimensions import ENDS, Axes, led, over_axes
from .padded import PADDED
from .pair import Pair
from .windows import Window


@over_axes(*CONVS)
@over_axes(*PADDED)
def _conv(pair: Pair, own: int, axes: Axes) -> Conversion:
    windows = windows_of(pair.config, pair.old)
    lead = _lead(windows[0], axes)
    new = led(windows, axes.new, lead)
    more = axes.new - own
    weight = _lifted(more, _taps(lead, axes)) if more > 0 else _lowered(-more, axes, windows)
    fidelity, remarks = _conv_fidelity(windows, lead, own, axes)
    given = {
        "kernel_size": tuple(window.kernel for window in new),
        "stride": tuple(window.stride for window in new),
        "dilation": tuple(window.dilation for window in new),
        **_padding(pair, new),
    }
    cls = PADDED[axes.new - 1] if "pads" in given else CONVS[axes.new - 1]
    origins: dict[str, str | Origin] = {"weight": weight}
    return pair.carry(given, origins, fidelity, uses=GEOMETRY, ignores=GEOMETRY, remarks=remarks, into=cls)


def _lead(first: Window, axes: Axes) -> Window:
    """What a convolution looks at along a new axis."""
    stride = first.stride if axes.strided else 1
    if not axes.strided and first.kernel <= first.stride:
        return Window(axes.kernel or 1)  # each tap was of another patch
    kernel = axes.kernel or first.kernel
    more = first.dilation * (kernel - first.kernel)
    if not axes.strided and kernel % 2 == 0:
        extent = first.dilation * (kernel - 1)
        return Window(kernel, stride, first.dilation, extent // 2, extent - extent // 2)
    left, right = (max(0, side + more // 2) for side in (first.left, first.right))
    return Window(kernel, stride, first.dilation, left, right)


def _padding(pair: Pair, windows: Sequence[Window]) -> dict[str, Any]:
    same = [(w.extent // 2, w.extent - w.extent // 2) == (w.left, w.right) and w.stride == 1 for w in windows]
    if pair.config.get("padding") == "same" and all(same):
        return {"padding": "same"}
    if all(window.left == window.right >= 0 for window in windows):
        return {"padding": tuple(window.left for window in windows)}
    return {"pads": tuple((window.left, window.right) for window in windows)}


def _taps(lead: Window, axes: Axes) -> list[float]:
    """How much of the old weight each tap along a new axis gets."""
    if not axes.centred:
        return [1 / lead.kernel] * lead.kernel
    return [float(tap == (lead.kernel - 1) // 2) for tap in range(lead.kernel)]


def _lifted(more: int, taps: Sequence[float]) -> Computed:
    """The old weight, times `taps` along each of the new axes."""

    def lift(weight: Tensor) -> Tensor:
        for _ in range(more):
            scale = weight.new_tensor(taps).reshape(-1, *[1] * (weight.dim() - 2))
            weight = weight.unsqueeze(2) * scale
        return weight.contiguous()

    moved = sorted(taps)[:-1] == [0.0] * (len(taps) - 1) and max(taps) == 1
    words = f"in the middle of {len(taps)} along the new axis" if moved else f"shared out among {len(taps)} taps"
    return Computed(("weight",), lift, words if len(taps) > 1 else "reshaped", per_entry=moved)


def _lowered(gone: int, axes: Axes, windows: Sequence[Window]) -> str | Computed:
    """The old weight summed up along the axes that go, or what lies in their middle."""
    if not gone:
        return "weight"
    if not axes.centred:
        return Computed(("weight",), lambda weight: weight.sum(tuple(range(2, 2 + gone))), "summed up along what goes")
    middles = [(window.kernel - 1) // 2 for window in windows[:gone]]

    def middle(weight: Tensor) -> Tensor:
        return (
            weight.movedim((0, 1), (-2, -1))[tuple(middles)]
            .movedim((-2, -1), (0, 1))
            .clone(memory_format=torch.contiguous_format)
        )

    return Computed(("weight",), middle, "the middle of what goes", per_entry=True)


def _conv_fidelity(windows: Sequence[Window], lead: Window, own: int, axes: Axes) -> tuple[Fidelity, list[str]]:
    gone = windows[: own - axes.new] if axes.new < own else ()
    if axes.new <= own:
        if all(window.kernel == 1 and not window.left and not window.right for window in gone):
            return Fidelity.EXACT, []
        way = "has length 1" if axes.centred else "is constant, away from its ends"
        return Fidelity.APPROXIMATE, [f"exact where the input {way} along the axis that goes"]
    middle = (lead.kernel - 1) // 2
    if axes.centred or lead.kernel == 1:
        before, after = lead.dilation * middle, lead.dilation * (lead.kernel - 1 - middle)
        inside = lead.left == before and lead.right <= after
        return (Fidelity.EXACT, []) if inside else (Fidelity.APPROXIMATE, ["exact away from the ends of the new axis"])
    return Fidelity.APPROXIMATE, [ENDS]


# --- transposed convolutions


@over_axes(*TRANSPOSED)
def _transposed(pair: Pair, own: int, axes: Axes) -> Conversion:
    windows = windows_of(pair.config, pair.old)
    lead = _transposed_lead(windows[0], axes)
    new = led(windows, axes.new, lead)
    given = {
        "kernel_size": tuple(window.kernel for window in new),
        "stride": tuple(window.stride for window in new),
        "dilation": tuple(window.dilation for window in new),
        "padding": tuple(window.left for window in new),
        "output_padding": tuple(window.left - window.right for window in new),
    }
    if axes.new > own:
        weight = _lifted(axes.new - own, _spread(lead, axes))
        exact = _one_tap_each(lead, axes)
        fidelity, remarks = (Fidelity.EXACT, []) if exact else (Fidelity.APPROXIMATE, [ENDS])
    else:
        weight = _unspread(windows[: own - axes.new], axes)  # nothing is done where no axis goes
        remarks = ["exact where the input is constant along the axis that goes, away from its ends"]
        fidelity = Fidelity.APPROXIMATE if axes.new < own else Fidelity.EXACT
    return pair.carry(given, {"weight": weight}, fidelity, uses=GEOMETRY, ignores=GEOMETRY, remarks=remarks)


def _transposed_lead(first: Window, axes: Axes) -> Window:
    if not axes.strided:
        return Window(1)
    if axes.kernel is None:
        return first
    kernel = max(axes.kernel, first.stride)
    left = -(-(kernel - first.stride) // 2)
    return Window(kernel, first.stride, 1, left, kernel - first.stride - left)


def _spread(lead: Window, axes: Axes) -> list[float]:
    """What each tap gets, such that every output along the new axis gets the old weight once."""
    groups: dict[int, list[int]] = {}
    for tap in sorted(range(lead.kernel), key=lambda tap: abs(2 * tap - lead.kernel + 1)):
        groups.setdefault(lead.dilation * tap % lead.stride, []).append(tap)
    taps = [0.0] * lead.kernel
    for group in groups.values():
        for tap in group[:1] if axes.centred else group:
            taps[tap] = 1.0 if axes.centred else 1 / len(group)
    return taps


def _one_tap_each(lead: Window, axes: Axes) -> bool:
    """Whether each slice of the output is made of one slice of the input, up to the ends."""
    used = sorted(lead.dilation * tap - lead.left for tap, share in enumerate(_spread(lead, axes)) if share)
    fills = used == list(range(lead.stride))
    return fills and lead.extent + 1 - lead.stride == lead.left + lead.right


def _unspread(gone: Sequence[Window], axes: Axes) -> Computed:
    shares = [torch.tensor(_spread(window, axes), dtype=torch.float64) for window in gone]

    def lower(weight: Tensor) -> Tensor:
        for window, share in zip(gone, shares, strict=True):
            groups = len({window.dilation * tap % window.stride for tap in range(window.kernel)})
            scale = (share if axes.centred else torch.ones_like(share)).to(weight) / groups
            weight = torch.tensordot(weight, scale, dims=([2], [0]))
        return weight.contiguous()

    return Computed(("weight",), lower, "summed up along what goes")
