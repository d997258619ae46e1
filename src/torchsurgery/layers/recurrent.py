"""Recurrent layers among themselves and their cells: tensors of one name and shape carry."""

from __future__ import annotations

from torch import nn

from ..errors import ConfigError
from ..origins import Initialised, Origin, Same
from .building import declare_signature
from .conversion import Conversion, Fidelity
from .pair import Pair
from .registry import conversion

LAYERS = (nn.RNN, nn.LSTM, nn.GRU)
CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
_TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# What does not change what a sequence comes to in evaluation.
_SILENT = ("dropout",)

_OPTIONS = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
declare_signature(nn.RNN, ("input_size", "hidden_size"), **_OPTIONS, nonlinearity="tanh")
declare_signature(nn.LSTM, ("input_size", "hidden_size"), **_OPTIONS, proj_size=0)
declare_signature(nn.GRU, ("input_size", "hidden_size"), **_OPTIONS)


@conversion(LAYERS, LAYERS)
def layer_to_layer(pair: Pair) -> Conversion:
    """One kind carries; other kinds have other gates, and only the sizes in common."""
    same_kind = _kind(pair.new, LAYERS) is _kind(type(pair.old), LAYERS)
    result = pair.carry(fidelity=Fidelity.EXACT)
    if not same_kind:
        remark = f"{pair.new.__name__} has other gates than {type(pair.old).__name__}"
        return _afresh(pair, remark)
    changed = [name for name, value in pair.config.items() if result.config.get(name, value) != value]
    if "bidirectional" in changed and result.config["bidirectional"] and result.config["num_layers"] == 1:
        return result.limited(Fidelity.INITIALISED, None, "the forward half of the output is exact")
    loud = [name for name in changed if name not in _SILENT]
    if "batch_first" in loud:
        result = result.limited(Fidelity.APPROXIMATE, None, "time and batch are the other way round")
    if set(loud) - {"batch_first"}:
        return result.limited(Fidelity.APPROXIMATE)
    return result.limited(Fidelity.EXACT_IN_EVAL) if set(changed) & set(_SILENT) else result


def _kind(cls: type[nn.Module], kinds: tuple[type[nn.Module], ...]) -> type[nn.Module]:
    return next(kind for kind in kinds if issubclass(cls, kind))


def _afresh(pair: Pair, remark: str) -> Conversion:
    """The sizes carry; tensors that happen to have one shape mean another thing."""
    names = pair.old._parameters
    origins: dict[str, str | Origin] = {name: Initialised("other gates") for name in names}
    return pair.carry(origins=origins, fidelity=Fidelity.INITIALISED, remarks=(remark,), ignores=("nonlinearity",))


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


@conversion(CELLS, CELLS)
def cell_to_cell(pair: Pair) -> Conversion:
    """As for layers."""
    if _kind(pair.new, CELLS) is not _kind(type(pair.old), CELLS):
        return _afresh(pair, f"{pair.new.__name__} has other gates than {type(pair.old).__name__}")
    result = pair.carry(fidelity=Fidelity.EXACT)
    same = all(result.config.get(name, value) == value for name, value in pair.config.items())
    return result if same else result.limited(Fidelity.APPROXIMATE)
