"""Recurrent layers among themselves and their cells, with other sizes, layers, directions and projections.

The weights lie in blocks, one for each gate. A unit that goes on has its row in each block; its columns for units,
directions or inputs that come new are zeros, so that it computes what it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import ConfigError
from ..origins import Initialised, Origin, Same
from .arguments import argument_check, in_code, is_whole
from .building import declare_signature
from .conversion import Conversion, Fidelity
from .fills import filled
from .growing import Places, first, moved
from .pair import Pair
from .registry import conversion

LAYERS = (nn.RNN, nn.LSTM, nn.GRU)
CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
_TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_GATES = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3, nn.RNNCell: 1, nn.LSTMCell: 4, nn.GRUCell: 3}

_OPTIONS = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
declare_signature(nn.RNN, ("input_size", "hidden_size"), **_OPTIONS, nonlinearity="tanh")
declare_signature(nn.LSTM, ("input_size", "hidden_size"), **_OPTIONS, proj_size=0)
declare_signature(nn.GRU, ("input_size", "hidden_size"), **_OPTIONS)


def _kind(cls: type[nn.Module], kinds: tuple[type[nn.Module], ...]) -> type[nn.Module]:
    return next(kind for kind in kinds if issubclass(cls, kind))


# --- sizes


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What tells the shapes of a recurrent layer's tensors."""

    gates: int
    inputs: int
    hidden: int
    projected: int
    layers: int
    directions: int

    @classmethod
    def of(cls, kind: type[nn.Module], config: Mapping[str, Any]) -> _Sizes:
        return cls(
            _GATES[kind],
            config["input_size"],
            config["hidden_size"],
            config.get("proj_size", 0),
            config.get("num_layers", 1),
            2 if config.get("bidirectional") else 1,
        )

    @property
    def given(self) -> int:
        """The features that one direction hands on."""
        return self.projected or self.hidden

    @property
    def rows(self) -> int:
        return self.gates * self.hidden

    def taken(self, layer: int) -> int:
        """The features that a layer takes."""
        return self.given * self.directions if layer else self.inputs

    def suffixes(self) -> Iterator[tuple[int, str]]:
        """Each layer in each direction, and how the names of its tensors end."""
        for layer in range(self.layers):
            yield layer, f"_l{layer}"
            if self.directions == 2:
                yield layer, f"_l{layer}_reverse"


def _origins(old: _Sizes, new: _Sizes, bias: bool, ends: Mapping[str, str]) -> dict[str, Origin]:
    """Where the tensors come from that both layers have; what is left out is of one name and shape, and carries."""
    rows, units = first(old.hidden, new.hidden, old.gates), first(old.given, new.given)
    both = dict.fromkeys(suffix for _, suffix in old.suffixes())
    found: dict[str, Origin] = {}
    for layer, suffix in new.suffixes():
        if suffix not in both:
            continue
        end = ends.get(suffix, suffix)
        shapes: dict[str, tuple[int, int, Places]] = {
            "weight_ih": (old.taken(layer), new.taken(layer), _columns(old, new, layer)),
            "weight_hh": (old.given, new.given, units),
        }
        for name, (was, width, columns) in shapes.items():
            if (old.rows, was) != (new.rows, width):
                found[name + end] = moved(name + end, (new.rows, width), rows, columns)
        for name in ("bias_ih", "bias_hh"):
            if not bias:
                found[name + end] = filled(new.rows, 0.0)
            elif old.rows != new.rows:
                found[name + end] = moved(name + end, (new.rows,), rows)
        if (old.projected, old.hidden) != (new.projected, new.hidden) and new.projected:
            shape, across = (new.projected, new.hidden), first(old.hidden, new.hidden)
            found["weight_hr" + end] = moved("weight_hr" + end, shape, units, across)
    return found


def _columns(old: _Sizes, new: _Sizes, layer: int) -> Places:
    """Which inputs of a layer go on: those of the layer below, direction by direction."""
    if layer == 0:
        return first(old.inputs, new.inputs)
    units = first(old.given, new.given)
    both = range(min(old.directions, new.directions))
    return [(d * new.given + to, d * old.given + at) for d in both for to, at in units]


def _account(old: _Sizes, new: _Sizes) -> Iterator[tuple[Fidelity, str]]:
    """What other sizes come to."""
    for name, was, now in (("inputs", old.inputs, new.inputs), ("units", old.given, new.given)):
        if name == "inputs" and now > was:
            yield Fidelity.EXACT, "the new inputs count for nothing until trained"
        elif now != was:
            worst = Fidelity.INITIALISED if now > was else Fidelity.APPROXIMATE
            yield worst, f"the first {min(was, now)} {name} go on, of {max(was, now)}"
    if old.projected and old.hidden != new.hidden:
        worst = Fidelity.EXACT if new.hidden > old.hidden else Fidelity.APPROXIMATE
        yield worst, f"the first {min(old.hidden, new.hidden)} cells go on"
    if new.layers != old.layers:
        worst = Fidelity.INITIALISED if new.layers > old.layers else Fidelity.APPROXIMATE
        yield worst, f"the first {min(old.layers, new.layers)} of {max(old.layers, new.layers)} layers go on"
    if new.directions > old.directions:
        yield Fidelity.INITIALISED, "the forward half of the output is exact"
    elif new.directions < old.directions:
        exact = ", which is exact" if new.layers == 1 else ""
        yield Fidelity.APPROXIMATE, f"only the forward half of the output is left{exact}"


# --- layers and cells of one kind


@conversion(LAYERS, LAYERS)
def layer_to_layer(pair: Pair) -> Conversion:
    """One kind carries; other kinds have other gates, and only the arguments in common."""
    if _kind(pair.new, LAYERS) is not _kind(type(pair.old), LAYERS):
        return _afresh(pair, f"{pair.new.__name__} has other gates than {type(pair.old).__name__}")
    result = _resized(pair, _kind(pair.new, LAYERS), {})
    if result.config.get("batch_first") != pair.config["batch_first"]:
        result = result.limited(Fidelity.APPROXIMATE, None, "time and batch are the other way round")
    # A dropout does nothing in evaluation.
    same = result.config.get("dropout") == pair.config["dropout"]
    return result if same else result.limited(Fidelity.EXACT_IN_EVAL)


@conversion(CELLS, CELLS)
def cell_to_cell(pair: Pair) -> Conversion:
    """As for layers."""
    if _kind(pair.new, CELLS) is not _kind(type(pair.old), CELLS):
        return _afresh(pair, f"{pair.new.__name__} has other gates than {type(pair.old).__name__}")
    return _resized(pair, _kind(pair.new, CELLS), {"_l0": ""})


def _resized(pair: Pair, kind: type[nn.Module], ends: Mapping[str, str]) -> Conversion:
    check_recurrent(pair.old, pair.new, {**pair.config, **pair.overrides})
    old, new = _Sizes.of(kind, pair.config), _Sizes.of(kind, {**pair.config, **pair.overrides})
    if bool(old.projected) != bool(new.projected):
        remark = "a unit with a projection is another thing than one without"
        return _afresh(pair, remark)
    result = pair.carry(origins=_origins(old, new, pair.config["bias"], ends), fidelity=Fidelity.EXACT)
    for fidelity, remark in _account(old, new):
        result = result.limited(fidelity, None, remark)
    if pair.config["bias"] and not result.config.get("bias", True):
        result = result.limited(Fidelity.APPROXIMATE, None, "the bias goes")
    same = result.config.get("nonlinearity") == pair.config.get("nonlinearity")
    return result if same else result.limited(Fidelity.APPROXIMATE)


def _afresh(pair: Pair, remark: str) -> Conversion:
    """The sizes carry; tensors that happen to have one shape mean another thing."""
    names = pair.old._parameters
    origins: dict[str, str | Origin] = {name: Initialised("other gates") for name in names}
    return pair.carry(origins=origins, fidelity=Fidelity.INITIALISED, remarks=(remark,), ignores=("nonlinearity",))


# --- a layer as its cell, and back


@conversion(LAYERS, CELLS)
def layer_to_cell(pair: Pair) -> Conversion:
    """One layer in one direction is its cell, step after step."""
    if LAYERS.index(_kind(type(pair.old), LAYERS)) != CELLS.index(_kind(pair.new, CELLS)):
        return pair.carry(fidelity=Fidelity.INITIALISED, ignores=("nonlinearity",))
    if pair.config["num_layers"] != 1 or pair.config["bidirectional"] or pair.config.get("proj_size"):
        raise ConfigError(
            f"{type(pair.old).__name__} can't be made one {pair.new.__name__}: it is several, or projects.",
            expected="num_layers=1, bidirectional=False",
            got=dict(pair.config),
            way_out=f"ts.like(layer, nn.{type(pair.old).__name__}, num_layers=1)",
        )
    result = pair.carry(
        origins={name: f"{name}_l0" for name in _TENSORS}, fidelity=Fidelity.EXACT, uses=("num_layers",)
    )
    return result.limited(Fidelity.EXACT, None, "takes one step at a time")


@conversion(CELLS, LAYERS)
def cell_to_layer(pair: Pair) -> Conversion:
    """A layer of that one cell."""
    if CELLS.index(_kind(type(pair.old), CELLS)) != LAYERS.index(_kind(pair.new, LAYERS)):
        return pair.carry(fidelity=Fidelity.INITIALISED, ignores=("nonlinearity",))
    origins: dict[str, str | Origin] = {f"{name}_l0": Same(name) for name in _TENSORS}
    return pair.carry(origins=origins, fidelity=Fidelity.EXACT, remarks=("takes whole sequences",))


# --- arguments


@argument_check(*LAYERS, *CELLS, input_size="64", hidden_size="64")
def check_recurrent(old: nn.Module, new: type[nn.Module], config: Mapping[str, Any]) -> None:
    """Sizes that torch would refuse, or take to mean something else."""
    for name, least in (("input_size", 1), ("hidden_size", 1), ("num_layers", 1), ("proj_size", 0)):
        if not is_whole(config.get(name, least), least):
            raise ConfigError(
                f"{new.__name__} needs a whole number of at least {least} for {name}, and got {config[name]!r}.",
                got=config[name],
                way_out=f"ts.like(old, {in_code(new)}, {name}={max(least, 1)})",
            )
    if config.get("proj_size", 0) >= config.get("hidden_size", 1 + config.get("proj_size", 0)):
        raise ConfigError(
            f"{new.__name__} projects to fewer features than it has units, and got proj_size={config['proj_size']} "
            f"with hidden_size={config['hidden_size']}.",
            got=config["proj_size"],
            way_out=f"ts.like(old, {in_code(new)}, proj_size={config['hidden_size'] // 2})",
        )
