"""Layers over other numbers of spatial axes: images to volumes or to signals, and back.

New axes come in front of the old ones, and of axes that go the first ones go. A new axis is treated as the first old
one is: as many taps, the same stride, the same padding. What the new taps hold is a choice: *inflated*, every one the
same share of the old weight, so that an input that is constant along the new axis gives what it gave; or *centred*, the
old weight in the middle and zeros around it, so that each slice by itself gives what it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .building import adopted
from .config import arguments_of
from .conv import CONVS, GEOMETRY, TRANSPOSED, windows_of
from .conversion import EMPTY, Conversion, Fidelity, Pair, convert
from .dropout import DROPOUTS
from .fresh import on_meta
from .norm import BATCH, CHANNELS_LAST, INSTANCE
from .padded import PADDED
from .pooling import ADAPTIVE_AVERAGE, ADAPTIVE_MAX, AVERAGE, FRACTIONAL, MAX, POWER, UNPOOL
from .refusals import own_forward, refuse
from .windows import Window, per_axis

CONSTANT = "exact where the input is constant along the new axis"
ENDS = f"{CONSTANT}, away from its ends"


@dataclass(frozen=True, slots=True)
class Axes:
    """How layers go over to another number of axes.

    Args:
        new: How many axes they are to have.
        centred: Whether the old weight lies in the middle of the new axis rather than shared out along it.
        kernel: Taps of convolutions along a new axis, or None for as many as along the first one.
        strided: Whether strides, pools and upsampling work along a new axis as along the first one, or not at all.
    """

    new: int
    centred: bool = False
    kernel: int | None = None
    strided: bool = True


Turn = Callable[[Pair, int, Axes], Conversion]


@dataclass(frozen=True, slots=True)
class _Family:
    axes: int
    members: Mapping[int, type[nn.Module]]
    turn: Turn


_FAMILIES: dict[type, _Family] = {}
_NOWHERE: dict[type, str] = {}


def over_axes(*members: type[nn.Module], first: int = 1) -> Callable[[Turn], Turn]:
    """Registers how layers of these classes, one for each number of axes from `first`, turn into each other."""

    def register(turn: Turn) -> Turn:
        numbered = dict(enumerate(members, first))
        for axes, cls in numbered.items():
            _FAMILIES[cls] = _Family(axes, numbered, turn)
        return turn

    return register


def axes_of_layer(cls: type) -> int | None:
    """The spatial axes that layers of a class work on; None where they work on any number, or on none."""
    family = next((_FAMILIES[base] for base in cls.__mro__ if base in _FAMILIES), None)
    return family.axes if family else None


def families() -> list[Mapping[int, type[nn.Module]]]:
    """The layers that turn into each other, by their numbers of axes."""
    return list({id(family.members): family.members for family in _FAMILIES.values()}.values())


def sets_axes(cls: type) -> bool:
    """Whether a layer of this class tells how many axes its model has; a norm may also stand where none is left."""
    return axes_of_layer(cls) is not None and not issubclass(cls, (*BATCH, *INSTANCE, *DROPOUTS))


def over(old: nn.Module, axes: Axes) -> Conversion:
    """What `old` comes to over `axes.new` axes.

    Raises:
        ConfigError: if there is no such layer.
    """
    base, family = next((base, _FAMILIES[base]) for base in type(old).__mro__ if base in _FAMILIES)
    new = family.members.get(axes.new)
    if new is None:
        raise ConfigError(f"torch.nn has no {base.__name__} over {_axes(axes.new)}.", got=type(old))
    refuse(old, new)
    if type(old).forward is not base.forward:  # type: ignore[attr-defined]
        raise own_forward(old, base, new)
    plain = old if type(old) is base or type(old).__init__ is base.__init__ else adopted(base, old)  # type: ignore[misc]
    return family.turn(Pair(old, new, on_meta(arguments_of(plain)), EMPTY), family.axes, axes)


def _axes(count: int) -> str:
    return f"{count} {'axis' if count == 1 else 'axes'}"


def _led(values: Sequence[Any], new: int, lead: Any) -> tuple[Any, ...]:
    """One value for each new axis: those in front get `lead`, or go."""
    return (*[lead] * (new - len(values)), *values[-new:])


# --- convolutions


@over_axes(*CONVS)
@over_axes(*PADDED)
def _conv(pair: Pair, own: int, axes: Axes) -> Conversion:
    windows = windows_of(pair.config, pair.old)
    lead = _lead(windows[0], axes)
    new = _led(windows, axes.new, lead)
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
    new = _led(windows, axes.new, lead)
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


# --- what has no weights, or the same for all


@over_axes(*BATCH[:3])
@over_axes(*INSTANCE)
@over_axes(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
def _as_it_is(pair: Pair, own: int, axes: Axes) -> Conversion:
    return convert(pair.old, pair.new, accept_subclass=True)


_POOL_SIZES = ("kernel_size", "stride", "padding", "dilation")
_NOT_POOLED = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


@over_axes(*MAX)
@over_axes(*AVERAGE)
@over_axes(*POWER)
@over_axes(*UNPOOL)
def _pool(pair: Pair, own: int, axes: Axes) -> Conversion:
    config = {**pair.config, "stride": pair.config.get("stride") or pair.config["kernel_size"]}
    sizes = {name: per_axis(config[name], own) for name in _POOL_SIZES if name in config}
    leads = {name: values[0] if axes.strided else _NOT_POOLED[name] for name, values in sizes.items()}
    given: dict[str, Any] = {name: _of(_led(sizes[name], axes.new, leads[name])) for name in sizes}
    taps = [leads["kernel_size"]] * (axes.new - own) or list(sizes["kernel_size"][: own - axes.new])
    if config.get("divisor_override"):
        factor = torch.Size(taps).numel()
        given["divisor_override"] = config["divisor_override"] * factor if axes.new > own else None
    result = _plainly(pair.carry(given, uses=("kernel_size", "stride")), taps)
    if isinstance(pair.old, POWER) and set(taps) != {1}:
        return replace(result, remarks=(f"sums up over {torch.Size(taps).numel()} as many",))
    padded = isinstance(pair.old, AVERAGE) and any(values != 0 for values in sizes["padding"][:1])
    return replace(result, remarks=(ENDS,)) if result.remarks and padded else result


def _of(values: tuple[Any, ...]) -> Any:
    # LPPool1d takes one number, and nothing else.
    return values[0] if len(set(values)) == 1 else values


def _plainly(result: Conversion, taps: Iterable[int]) -> Conversion:
    """There is nothing to be carried: what holds follows from the windows along the axis that comes or goes."""
    if set(taps) <= {1}:
        return replace(result, fidelity=Fidelity.EXACT)
    return replace(result, fidelity=Fidelity.APPROXIMATE, remarks=(CONSTANT,))


@over_axes(*ADAPTIVE_MAX)
@over_axes(*ADAPTIVE_AVERAGE)
def _adaptive(pair: Pair, own: int, axes: Axes) -> Conversion:
    sizes = per_axis(pair.config["output_size"], own)
    gone = [size for size in sizes[: own - axes.new] if size != 1] if axes.new < own else []
    if gone:
        raise ConfigError(
            f"{type(pair.old).__name__}(output_size={sizes}) can't lose an axis: it leaves {gone[0]} places along it.",
            "what comes after it is made for all of them.",
            got=sizes,
            way_out="ts.replace(model, name, type(layer), output_size=1), and what is behind it, first",
        )
    # One place along a new axis: what is flattened afterwards keeps its length.
    lead = None if sizes[0] is None else 1
    result = pair.carry({"output_size": _of(_led(sizes, axes.new, lead))})
    return _plainly(result, [1] if lead is None else [2])


@over_axes(*FRACTIONAL, first=2)
def _fractional(pair: Pair, own: int, axes: Axes) -> Conversion:
    names = ("kernel_size", "output_size", "output_ratio")
    sizes = {name: per_axis(pair.config[name], own) for name in names if pair.config.get(name) is not None}
    result = pair.carry({name: _led(values, axes.new, values[0]) for name, values in sizes.items()})
    return replace(result, fidelity=Fidelity.APPROXIMATE, remarks=("its windows are random",))


@over_axes(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
@over_axes(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
@over_axes(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d)
@over_axes(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d)
@over_axes(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
def _pad(pair: Pair, own: int, axes: Axes) -> Conversion:
    # In torch's order: the last axis comes first.
    padding = tuple(pair.config["padding"])
    first = padding[-2:]
    given = {"padding": (*padding[: 2 * axes.new], *first * (axes.new - own))}
    constant = isinstance(
        pair.old, nn.ConstantPad1d | nn.ConstantPad2d | nn.ConstantPad3d | nn.ZeroPad1d | nn.ZeroPad2d | nn.ZeroPad3d
    )
    result = _plainly(pair.carry(given, uses=["value"]), [1] if first == (0, 0) else [2])
    return replace(result, remarks=(ENDS,)) if result.remarks and constant else result


# --- layers of any number of axes that may yet be set for one


def settled_for(old: nn.Module, own: int, axes: Axes) -> Conversion | None:
    """What becomes of a layer that is not of a family; None where it works on any number of axes as it is.

    Raises:
        ConfigError: if it works on `own` axes only.
    """
    for base in type(old).__mro__:
        if base in _NOWHERE:
            raise ConfigError(f"{base.__name__} {_NOWHERE[base]}.", got=type(old))
        if base in _SETTLED:
            return _SETTLED[base](old, own, axes)
    return None


Settle = Callable[[Any, int, Axes], Conversion | None]
_SETTLED: dict[type, Settle] = {}
for _cls in (nn.PixelShuffle, nn.PixelUnshuffle, nn.Fold, nn.Unfold, nn.CrossMapLRN2d):
    _NOWHERE[_cls] = "has no counterpart over another number of axes"


def settles(*classes: type[nn.Module]) -> Callable[[Settle], Settle]:
    """Registers what becomes of a layer whose class does for several numbers of axes."""
    return lambda settle: (_SETTLED.update(dict.fromkeys(classes, settle)), settle)[1]


_LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@settles(nn.Upsample)
def _upsample(old: nn.Upsample, own: int, axes: Axes) -> Conversion | None:
    if old.mode == "bicubic":
        raise ConfigError(
            f"{type(old).__name__} knows mode='bicubic' over 2 axes only.",
            got=old.mode,
            way_out="ts.replace(model, nn.Upsample, nn.Upsample, mode='bilinear') first",
        )
    given: dict[str, Any] = {"mode": _LINEAR_MODES[axes.new] if old.mode in _LINEAR_MODES.values() else old.mode}
    for name in ("size", "scale_factor"):
        if (value := getattr(old, name)) is not None:
            given[name] = _resized(old, name, per_axis(value, own), axes)
    align = old.align_corners if given["mode"] in _LINEAR_MODES.values() else None
    config = on_meta({"recompute_scale_factor": old.recompute_scale_factor, "align_corners": align})
    result = Pair(old, nn.Upsample, config, EMPTY).carry(given)
    return _plainly(result, [2] if axes.strided or axes.new < own else [1])


def _resized(old: nn.Upsample, name: str, values: tuple[Any, ...], axes: Axes) -> Any:
    if axes.strided or axes.new <= len(values):
        return _of(_led(values, axes.new, values[0]))
    if name == "size":
        raise ConfigError(
            f"{type(old).__name__}(size={old.size}) does not tell the length along an axis that it is not to change.",
            got=old.size,
            way_out="ts.replace(model, name, nn.Upsample(scale_factor=2)) first",
        )
    return _led(values, axes.new, 1.0)


@settles(nn.Flatten)
def _flatten(old: nn.Flatten, own: int, axes: Axes) -> Conversion | None:
    last = own + 1
    if (old.start_dim in (0, 1, 2) and old.end_dim == -1) or old.end_dim in (0, 1):
        return None
    if old.start_dim in (0, 1, 2) and old.end_dim == last:
        result = Pair(old, nn.Flatten, {"start_dim": old.start_dim}, EMPTY).carry({"end_dim": -1})
        return replace(result, fidelity=Fidelity.EXACT)
    raise ConfigError(
        f"Flatten(start_dim={old.start_dim}, end_dim={old.end_dim}) is written for {_axes(own)}.",
        way_out="ts.replace(model, name, nn.Flatten(1)) first, if that is what is meant",
    )


@settles(nn.Softmax2d)
def _softmax(old: nn.Softmax2d, own: int, axes: Axes) -> Conversion | None:
    return convert(old, nn.Softmax, {"dim": -1 - axes.new})


@settles(nn.Unflatten)
def _unflatten(old: nn.Unflatten, own: int, axes: Axes) -> Conversion | None:
    raise ConfigError(f"Unflatten({old.dim}, {tuple(old.unflattened_size)}) fixes the axes that it makes.")


@settles(*CHANNELS_LAST)
def _over_the_last(old: nn.LayerNorm | nn.RMSNorm, own: int, axes: Axes) -> Conversion | None:
    if len(old.normalized_shape) > 1:
        raise ConfigError(
            f"{type(old).__name__}({tuple(old.normalized_shape)}) has weights for {len(old.normalized_shape)} axes.",
            got=tuple(old.normalized_shape),
            way_out="ts.replace(model, name, nn.GroupNorm, num_groups=1) first",
        )
    return None


@settles(nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU)
def _along(old: nn.Softmax | nn.LogSoftmax | nn.Softmin | nn.GLU, own: int, axes: Axes) -> Conversion | None:
    if old.dim is None or -1 <= old.dim <= 1:
        return None
    raise ConfigError(
        f"{type(old).__name__}(dim={old.dim}) works along an axis that is another one then.",
        got=old.dim,
        way_out="ts.replace(model, name, type(layer), dim=1) first, if that is what is meant",
    )
