"""The order in which a tensor's entries lie in memory, where it isn't that of its axes.

Files hold every tensor in the order of its axes. Kernels are chosen by how weights lie in memory, and other kernels add
in another order: a model in `channels_last` that came back in another layout would not answer the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import RecipeError
from ..recipes.strict import Field

# A name that torch has for it, or the axes from the outermost to the innermost.
Layout: TypeAlias = "str | tuple[int, ...]"

_FORMATS = {
    4: ("channels_last", torch.channels_last),
    5: ("channels_last_3d", torch.channels_last_3d),
}
_MOST_AXES = 64


def layout_of(tensor: Tensor) -> Layout | None:
    """How a tensor lies in memory; None where in the order of its axes, or with gaps, which aren't kept."""
    strides = tensor.stride()
    if strides == _strides(tensor.shape, None):
        return None
    axes: Layout = tuple(sorted(range(tensor.dim()), key=lambda axis: -strides[axis]))
    known: list[Layout] = [_FORMATS[tensor.dim()][0]] if tensor.dim() in _FORMATS else []
    return next((layout for layout in (*known, axes) if _strides(tensor.shape, layout) == strides), None)


def laid(tensor: Tensor, layout: Layout, name: str) -> Tensor:
    """The same entries, laid out so.

    Raises:
        RecipeError: if the tensor of this name has another number of axes.
    """
    if not _fits(tensor.dim(), layout):
        raise RecipeError(
            f"{name} has {tensor.dim()} axes, and can't lie in memory as {layout}.",
            name=name,
            expected=layout,
            got=tuple(tensor.shape),
            way_out="get the folder again from where it came, or save again",
        )
    return _empty(tensor.shape, layout, tensor.dtype, tensor.device).copy_(tensor)


def _fits(axes: int, layout: Layout) -> bool:
    return _FORMATS.get(axes, ("",))[0] == layout if isinstance(layout, str) else len(layout) == axes


def _strides(shape: torch.Size, layout: Layout | None) -> tuple[int, ...]:
    return _empty(shape, tuple(range(len(shape))) if layout is None else layout).stride()


def _empty(
    shape: torch.Size, layout: Layout, dtype: torch.dtype = torch.float32, device: str | torch.device = "meta"
) -> Tensor:
    if isinstance(layout, str):
        return torch.empty(shape, dtype=dtype, device=device, memory_format=_FORMATS[len(shape)][1])
    back = sorted(range(len(layout)), key=layout.__getitem__)
    return torch.empty([shape[axis] for axis in layout], dtype=dtype, device=device).permute(back)


def written(layouts: Mapping[str, Layout]) -> list[list[object]]:
    """Layouts by name as data: each with those that have it."""
    found: dict[Layout, list[str]] = {}
    for name, layout in layouts.items():
        found.setdefault(layout, []).append(name)
    return [[layout if isinstance(layout, str) else list(layout), sorted(names)] for layout, names in found.items()]


def read(rows: Iterable[Field]) -> dict[str, Layout]:
    """What was written.

    Raises:
        RecipeError: if it isn't what `written` makes.
    """
    found: dict[str, Layout] = {}
    for row in rows:
        how, names = row.row(2)
        layout = _read_layout(how)
        found.update((name.text(), layout) for name in names.items())
    return found


def _read_layout(how: Field) -> Layout:
    if isinstance(how.value, str):
        how.one_of(*(name for name, _ in _FORMATS.values()))
        return how.value
    axes = tuple(axis.whole(0, _MOST_AXES) for axis in how.items())
    if sorted(axes) != list(range(len(axes))):
        how.refuse("each axis once", str(list(axes)))
    return axes
