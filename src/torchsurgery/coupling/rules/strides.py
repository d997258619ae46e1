"""`as_strided`: entries taken in steps through memory, as windows that overlap are.

In a tensor that lies in memory without gaps each axis has a step, which is as long as all that lies inside of it. An
axis of the result that goes by such steps from the first entry to the last is that axis. The rest may be windows over
what keeps its size. The sizes and the steps are integers of the code, and both must follow what is pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from torch import Tensor

from ..constraints.atoms import Axis, is_fixed
from ..constraints.integers import Expression, Integers, Length, Term, Traced, expression_of
from .call import Call, freeze_all
from .registry import serves


def strides_read(tensor: Tensor, axes: Sequence[Axis], integers: Integers) -> tuple[int, ...]:
    """What `tensor.stride()` answers, as code will see it: products of the lengths of what lies inside.

    Args:
        tensor: The tensor that is asked.
        axes: The ids along its axes.
        integers: Remembers the lengths.
    """
    strides, step = list(tensor.stride()), 1
    for i in reversed(_in_memory(tensor) or ()):
        strides[i] = step
        length = tensor.shape[i] if is_fixed(axes[i]) else integers.length(axes[i])
        step = length if int(step) == 1 else step * length
    return tuple(strides)


def _in_memory(tensor: Tensor) -> list[int] | None:
    """Axes of several entries, the outermost first; None if there are gaps between entries, or some overlap."""
    strides = tensor.stride()
    order = sorted((i for i, size in enumerate(tensor.shape) if size > 1), key=lambda i: -strides[i])
    dense = all(strides[i] == prod(tensor.shape[j] for j in order[n + 1 :]) for n, i in enumerate(order))
    return order if dense and tensor.numel() else None


class Level(NamedTuple):
    """One axis of a tensor that is walked as it is, or neighbours in memory that keep their size.

    Attributes:
        axes: Its axes, the outermost first.
        is_whole: Whether one axis of the result is this one.
        step: How many entries of memory lie between neighbours.
        length: How many of them there are.
        inside: The axes that lie inside of it in memory, the outermost first.
    """

    axes: tuple[int, ...]
    is_whole: bool
    step: int
    length: int
    inside: list[int]


class Way(NamedTuple):
    """How an axis of the result goes through memory: on which level, by how many entries of it, how often."""

    axis: int
    level: Level
    at_once: int
    size: int


@serves("as_strided")
def as_strided(call: Call) -> None:
    """Axes that are walked as they are stay what they are; windows are taken of what keeps its size."""
    x, out = call.args[0], call.out
    order = _in_memory(x)
    # A place to begin at would be a sum of steps; and where `x` itself is changed, its axes are no longer known.
    if order is None or call.arg("storage_offset") is not None or out is x:
        return freeze_all(call, "as_strided works by numbers")
    axes = call.axes(x)
    levels = _levels(x, axes, order, out)
    ways = _ways(levels, out)
    if ways is None:
        return freeze_all(call, "as_strided works by numbers")
    result = [call.fixed(size, "windows of as_strided") for size in out.shape]
    for level in levels:
        for i in () if level.is_whole else level.axes:
            call.freeze(axes[i], "as_strided takes windows of it")
    for way in ways:
        if way.level.is_whole:
            result[way.axis] = axes[way.level.axes[0]]
    call.give(out, result)
    return _say_numbers(call, axes, result, ways)


def _levels(x: Tensor, axes: list[Axis], order: list[int], out: Tensor) -> list[Level]:
    """How a tensor lies in memory, the outermost first."""
    walked = [(step, size) for step, size in zip(out.stride(), out.shape, strict=True) if size > 1]
    levels: list[Level] = []
    for n, i in enumerate(order):
        step, length = x.stride(i), x.shape[i]
        here = [way for way in walked if step <= way[0] < step * length]
        is_whole = not is_fixed(axes[i]) and here == [(step, length)]
        level = Level((i,), is_whole, step, length, order[n + 1 :])
        if levels and not is_whole and not levels[-1].is_whole:
            outer = levels.pop()
            level = level._replace(axes=(*outer.axes, i), length=outer.length * length)
        levels.append(level)
    return levels


def _ways(levels: list[Level], out: Tensor) -> list[Way] | None:
    """The way of each axis of several entries; None unless each provably stays on one level."""
    ways: list[Way] = []
    for i, (step, size) in enumerate(zip(out.stride(), out.shape, strict=True)):
        if size > 1:
            level = next((level for level in levels if level.step <= step), None)
            if level is None or step % level.step:
                return None
            ways.append(Way(i, level, step // level.step, size))
    return ways if all(_is_inside(level, [way for way in ways if way.level is level]) for level in levels) else None


def _is_inside(level: Level, ways: list[Way]) -> bool:
    """Whether all ways on a level together stay on it."""
    return sum(way.at_once * (way.size - 1) for way in ways) < level.length


def _say_numbers(call: Call, axes: list[Axis], result: list[Axis], ways: list[Way]) -> None:
    """Hold the sizes and the steps that the code gives to what they measure."""
    given = call.given("as_strided")
    args, kwargs = given if given is not None else (call.args, call.kwargs)
    sizes, steps = (args[i] if len(args) > i else kwargs[name] for i, name in ((1, "size"), (2, "stride")))
    for size, axis in zip(sizes, result, strict=True):
        call.size(size, axis)
    for way in ways:
        _say_step(call, steps[way.axis], way.at_once, [axes[i] for i in way.level.inside])


def _say_step(call: Call, said: int, at_once: int, inside: list[Axis]) -> None:
    """A step is as long as all that lies inside of it, times so many at once."""
    live = [axis for axis in inside if not is_fixed(axis)]
    held = prod(len(axis) for axis in inside if is_fixed(axis))
    if _factors(expression_of(said), call.record.integers.lengths) == (at_once * held, sorted(map(id, live))):
        return
    if isinstance(said, Traced):
        parts = [call.fixed(at_once * held, "windows of as_strided"), *live]
        call.size(said, call.ledger.merge(parts, [len(axis) for axis in parts]))
    else:
        for axis in live:
            call.freeze(axis, f"the code says {said}")


def _factors(expression: Expression, lengths: Sequence[Axis]) -> tuple[int, list[int]] | None:
    """A product as a number and the axes whose lengths it is made of; None for what is no such product."""
    if isinstance(expression, int):
        return expression, []
    if isinstance(expression, Length):
        return 1, [id(lengths[expression.number])]
    if isinstance(expression, Term):
        one, other = _factors(expression.one, lengths), _factors(expression.other, lengths)
        if one is not None and other is not None:
            if expression.function == "mul":
                return one[0] * other[0], sorted(one[1] + other[1])
            if expression.function == "floordiv" and not other[1] and other[0] > 0 and one[0] % other[0] == 0:
                return one[0] // other[0], one[1]
    return None
