"""Whole networks converted, all their layers in one plan: `ts.convert.dims`.

A namespace: use it as `ts.convert.dims(model, 3)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal, overload

from torch import nn

from .edits import Replace
from .errors import ConfigError, PlanError
from .layers.dimensions import Axes, axes_of_layer, sets_axes
from .layers.foreign import known_elsewhere, turned
from .plans import Plan, plan
from .recipes.ways import converter
from .selection import Place, Selection, Target, resolve
from .spatial import signs
from .surgery import Surgery

_MOST = 12  # rows of an error


@overload
def dims(
    model: nn.Module,
    n: int,
    /,
    *,
    mode: Literal["inflate", "centre"] = ...,
    kernel: int | None = ...,
    strided: bool = ...,
    ignore: Target | None = ...,
    check: Any = ...,
) -> Surgery: ...
@overload
def dims(
    model: Plan,
    n: int,
    /,
    *,
    mode: Literal["inflate", "centre"] = ...,
    kernel: int | None = ...,
    strided: bool = ...,
    ignore: Target | None = ...,
) -> Plan: ...
def dims(
    model: nn.Module | Plan,
    n: int,
    /,
    *,
    mode: Literal["inflate", "centre"] = "inflate",
    kernel: int | None = None,
    strided: bool = True,
    ignore: Target | None = None,
    check: Any = None,
) -> Surgery | Plan:
    """Turn a network over images into one over volumes or signals: all its layers at once, in place, all or nothing.

    The new axis comes in front of the old ones, (N, C, D, H, W), and is treated as the first old one was; to fewer
    axes, the first ones go. Adaptive pools leave one place along a new axis, so that a classifier behind them keeps its
    width. timm's and torchvision's own layers follow where they are known, and are refused by name where not.

    Args:
        model: A network, which is changed in place; or a plan for one, which grows by what is to be done.
        n: How many spatial axes it is to have: 1, 2 or 3.
        mode: What kernels hold along a new axis. "inflate": the old weights, shared out evenly, so that a volume of
            equal slices gives what the slice gave, away from the ends. "centre": the old weights in the middle and
            zeros around them, so that each slice gives what it gave as an image. Along an axis that goes, "inflate"
            sums the weights up, and "centre" takes the middle ones.
        kernel: Taps along a new axis; by default as many as along the first one.
        strided: Whether strides and pools work along a new axis as along the first one, or leave its length alone.
        ignore: Layers to be left as they are, and modules whose own forward is vouched for, though it looks as if it
            were written for one number of axes. What lies inside of them is converted.
        check: Inputs for `ts.check`; when it fails, everything is taken back.

    Returns:
        The surgery that was done; `surgery.undo()` takes it back. For a plan, the longer plan.

    Raises:
        PlanError: if a layer or a forward can't follow; names them all with the reasons. Nothing has changed then.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> ts.convert.dims(net, 3)
        Surgery on Sequential: 3 layers replaced · params 240 → 672 · undo() takes it back
        >>> net(torch.randn(2, 3, 5, 16, 16)).shape
        torch.Size([2, 8])
    """
    _refuse_bad(n, mode, kernel)
    begun = model if isinstance(model, Plan) else plan(model)
    longer = _plan(begun, Axes(n, mode == "centre", kernel, strided), ignore)
    return longer if isinstance(model, Plan) else longer.apply(check=check)


def _refuse_bad(n: Any, mode: str, kernel: Any) -> None:
    if isinstance(n, bool) or n not in (1, 2, 3):
        raise PlanError(f"layers have 1, 2 or 3 axes, not {n!r}.", got=n, way_out="ts.convert.dims(model, 3)")
    if mode not in ("inflate", "centre"):
        raise PlanError(f"the mode is 'inflate' or 'centre', not {mode!r}.", got=mode)
    if kernel is not None and (not isinstance(kernel, int) or isinstance(kernel, bool) or kernel < 1):
        raise PlanError(f"kernel is a number of taps, and got {kernel!r}.", got=kernel, way_out="kernel=3")


def _plan(begun: Plan, axes: Axes, ignore: Target | None) -> Plan:
    draft = begun.draft
    left = set() if ignore is None else {p.module for p in resolve(draft, (ignore,), {}, None, False)}
    places = [Place(module, tuple(s.names)) for module, s in draft.spots().items() if module not in left]
    own = _axes_of(places, axes)
    decided = _decided(places, own, axes)
    # Those with parts come first: of nested layers an edit takes the outer one, whose parts stay what they are.
    outer = {module for module in decided if known_elsewhere(module, axes) and module._modules}
    for modules in (outer, decided - outer):
        begun = _with(begun, modules, _converter(own, axes))
    return begun


def _with(begun: Plan, modules: set[nn.Module], converter: Any) -> Plan:
    there = begun.draft.spots().items()
    places = tuple(Place(module, tuple(spots.names)) for module, spots in there if module in modules)
    return begun.then(Replace(Selection(begun.draft.model, places), converter)) if places else begun


def _converter(own: int, axes: Axes) -> Any:
    """What an edit takes for a new layer; a Conversion is decided anew for a copy of the model, such as an average."""
    words = f"its counterpart over {axes.new} {'axis' if axes.new == 1 else 'axes'}"
    return converter(words, "axes", {"own": own, **asdict(axes)})


def _axes_of(places: Iterable[Place], axes: Axes) -> int:
    """The number of axes that the model works on."""
    found: dict[int, str] = {}
    for place in places:
        if sets_axes(type(place.module)):
            found.setdefault(axes_of_layer(type(place.module)) or 0, place.name)
    if not found:
        raise PlanError(
            "no layer here works on spatial axes.",
            "looked for convolutions, pools and paddings of torch.nn.",
            way_out="name the layers yourself:  ts.replace(model, MyLayer, MyLayer3d)",
        )
    if len(found) > 1:
        rows = [f"{name}: {count} {'axis' if count == 1 else 'axes'}" for count, name in sorted(found.items())]
        one = found[min(found)]
        raise PlanError(
            "the layers work on different numbers of axes, so that it is not clear which are meant.",
            *rows,
            got=tuple(sorted(found)),
            way_out=f"leave those out that are to stay:  ts.convert.dims(model, {axes.new}, ignore={one!r})",
        )
    return next(iter(found))


def _decided(places: Iterable[Place], own: int, axes: Axes) -> set[nn.Module]:
    """The layers that have to change.

    Raises:
        PlanError: naming all that can't follow.
    """
    refusals: dict[str, str] = {}
    changing: set[nn.Module] = set()
    for place in places if own != axes.new else ():
        try:
            conversion = turned(place.module, own, axes)
        except ConfigError as err:
            refusals[place.name] = str(err).partition("\n")[0]
            continue
        if conversion is not None:
            changing.add(place.module)
        elif found := signs(place.module, own):
            refusals[place.name] = "; ".join([*map(str, found[:3]), *["…"] * (len(found) > 3)])
    if refusals:
        raise _refusal(refusals, axes)
    return changing


def _refusal(refusals: Mapping[str, str], axes: Axes) -> PlanError:
    """One row for each reason, with the first of the names it holds for."""
    counts = Counter(refusals.values())
    first = {why: name for name, why in reversed(list(refusals.items()))}
    rows = [f"{_with_others(first[why], count)}: {why}" for why, count in counts.items()]
    more = [f"… and {len(rows) - _MOST} more"] if len(rows) > _MOST else []
    name = next(iter(refusals))
    vouch = f"replace them first, or vouch for them:  ts.convert.dims(model, {axes.new}, ignore={name!r})"
    return PlanError(
        f"{len(refusals)} of the modules can't follow to {axes.new} {'axis' if axes.new == 1 else 'axes'}, "
        f"{name or 'the model itself'} first.",
        *rows[:_MOST],
        *more,
        name=name,
        expected=axes.new,
        got=dict(refusals),
        way_out=vouch if " has " in refusals[name] else f"replace them first:  ts.replace(model, {name!r}, …)",
    )


def _with_others(name: str, count: int) -> str:
    others = f" and {count - 1} more like it" if count > 1 else ""
    return f"{name or 'the model itself'}{others}"
