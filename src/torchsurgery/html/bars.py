"""Bars that need no style of their own: a page's policy lets none be written at an element."""

from __future__ import annotations

_STEPS = 200  # of a bar's whole length


def bar(before: float, after: float, whole: float) -> str:
    """Grey for before and blue for after, as shares of `whole`; nothing for nothing."""
    if not whole or not (before or after):
        return ""
    return f'<i class="bar w{_step(before, whole)} n{_step(after, whole)}"></i>'


def _step(value: float, whole: float) -> int:
    return 0 if not value else max(1, min(_STEPS, round(_STEPS * value / whole)))


def lengths() -> str:
    """A rule of style for each length that a bar can have."""
    return "".join(f".w{i}::before,.n{i}::after{{width:{100 * i / _STEPS:g}%}}" for i in range(_STEPS + 1))
