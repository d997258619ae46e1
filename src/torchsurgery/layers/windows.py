"""What a convolution looks at along one axis, and how a new window is laid over an old one.

It is the same for a transposed convolution: there tap `j` of input `i` goes to output `stride·i + dilation·j − left`,
and `right` is the padding less the output padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Window:
    """The taps along one axis: how many, how far apart, and how far out the first and last may look."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    left: int = 0
    right: int = 0

    @property
    def extent(self) -> int:
        """From the first tap to the last."""
        return self.dilation * (self.kernel - 1)


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to lay a new window over an old one: its padding, and which tap each old one becomes, as (new, old)."""

    left: int
    right: int
    taps: tuple[tuple[int, int], ...]


def fits_of(old: Window, kernel: int, dilation: int) -> list[Fit]:
    """The ways that keep the output's length; first those that keep most taps, then the most central ones.

    Every tap that stays looks where it did. If that is not possible for all of them, because the dilation is another,
    they keep their order and look elsewhere.
    """
    growth = dilation * (kernel - 1) - old.extent
    found = []
    for shift in range(min(0, growth), max(0, growth) + 1):
        places = {old.dilation * j + shift: j for j in range(old.kernel)}
        taps = tuple((i, places[dilation * i]) for i in range(kernel) if dilation * i in places)
        found.append((-len(taps), abs(2 * shift - growth), Fit(old.left + shift, old.right + growth - shift, taps)))
    found.sort(key=lambda entry: entry[:2])
    kept = -found[0][0]
    if dilation != old.dilation and (kept < old.kernel or kernel == old.kernel):
        return _in_order(old, kernel, dilation)
    return [fit for _, _, fit in found]


def _in_order(old: Window, kernel: int, dilation: int) -> list[Fit]:
    growth, more = dilation * (kernel - 1) - old.extent, kernel - old.kernel
    offset = more // 2
    taps = tuple((j + offset, j) for j in range(old.kernel) if 0 <= j + offset < kernel)
    shifts = dict.fromkeys((growth // 2, -(-growth // 2)))
    return [Fit(old.left + shift, old.right + growth - shift, taps) for shift in shifts]


def central(fits: Sequence[Fit], old: Window) -> list[Fit]:
    """Of fits in the order of `fits_of`, those as good as the first."""

    def rank(fit: Fit) -> tuple[int, int]:
        return len(fit.taps), abs((fit.left - old.left) - (fit.right - old.right))

    return [fit for fit in fits if rank(fit) == rank(fits[0])]


@dataclass(frozen=True, slots=True)
class Change:
    """What the windows of a convolution become, axis by axis, before any weight has been looked at."""

    old: tuple[Window, ...]
    new: tuple[Window, ...]
    fits: tuple[Fit, ...]

    @property
    def keeps_taps(self) -> bool:
        """Whether no tap goes."""
        return all(len(fit.taps) == window.kernel for fit, window in zip(self.fits, self.old, strict=True))

    @property
    def keeps_order(self) -> bool:
        """Whether every tap stays in its place in the kernel, and none comes or goes."""
        identity = [tuple((i, i) for i in range(window.kernel)) for window in self.old]
        sizes = [(old.kernel, new.kernel) for old, new in zip(self.old, self.new, strict=True)]
        return [fit.taps for fit in self.fits] == identity and all(old == new for old, new in sizes)

    @property
    def keeps_places(self) -> bool:
        """Whether every tap that stays looks where it did."""
        return all(
            new.dilation * i - fit.left == old.dilation * j - old.left
            for fit, old, new in zip(self.fits, self.old, self.new, strict=True)
            for i, j in fit.taps
        )

    @property
    def keeps_lengths(self) -> bool:
        """Whether the output is as long as it was along each axis, whatever the input."""
        return all(
            new.left + new.right - new.extent == old.left + old.right - old.extent and new.stride == old.stride
            for old, new in zip(self.old, self.new, strict=True)
        )


def per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """A number for each axis; one number stands for all."""
    return tuple(value) if isinstance(value, tuple | list) else (value,) * axes


def lifted(windows: Sequence[Window], axes: int) -> tuple[Window, ...]:
    """The windows for another number of axes: those in front come new, one tap wide, or go."""
    return (*[Window(1)] * (axes - len(windows)), *windows[-axes:])


def times(sizes: Iterable[int]) -> str:
    """As in "3×3"."""
    return "×".join(map(str, sizes))
