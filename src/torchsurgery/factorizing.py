"""Layers as products of two thinner ones: `ts.factorize`."""

from __future__ import annotations

from collections import Counter
from typing import Any, overload

from torch import nn

from .calls.reading import never_called
from .edits import Replace
from .errors import ConfigError, PlanError
from .layers.conversion import Conversion, Converter
from .layers.lowrank import Factoring, Scheme, factoring
from .plans import Plan, plan
from .selection import Place, Selection, Target, resolve
from .surgery import Surgery
from .tree import Draft


@overload
def factorize(
    model: nn.Module,
    target: Target = ...,
    /,
    *,
    rank: int | None = ...,
    energy: float | None = ...,
    separated: bool = ...,
    check: Any = ...,
) -> Surgery: ...
@overload
def factorize(
    model: Plan,
    target: Target = ...,
    /,
    *,
    rank: int | None = ...,
    energy: float | None = ...,
    separated: bool = ...,
) -> Plan: ...
def factorize(
    model: nn.Module | Plan,
    target: Target = (nn.Linear, nn.Conv2d),
    /,
    *,
    rank: int | None = None,
    energy: float | None = None,
    separated: bool = False,
    check: Any = None,
) -> Surgery | Plan:
    """Split layers in two thinner ones by truncated singular value decomposition, where that saves weights.

    A Linear comes to two, a convolution to one of `rank` channels and a 1×1, each pair a plain `nn.Sequential` of
    torch's own layers. Their keys in the state dict are new: checkpoints from before don't load.

    Args:
        model: The model, which is changed in place; or a plan for one, which grows by what is to be done.
        target: See `select`. Layers that can't be split, or wouldn't save weights, stay; the plan says why.
        rank: The rank of all products; or
        energy: the share of the squared singular values that each product keeps, in (0, 1].
        separated: Whether convolutions come to one of each input channel by itself, with `rank` channels for each, and
            a 1×1. Nothing is lost at the rank k².
        check: Inputs for `ts.check`; when it fails, everything is taken back.

    Returns:
        The surgery that was done, whose changes have the relative error of each layer for white noise. For a plan, the
        longer plan.

    Raises:
        SelectionError: if nothing is selected.
        PlanError: if neither or both of `rank` and `energy` are given, or no layer can be split.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> plan = ts.factorize(ts.plan(net), rank=8)
        >>> [change.name for change in plan.changes], plan.planned[0].left
        (['0', '2'], {})
        >>> ts.factorize(net, rank=8)
        Surgery on Sequential: 2 layers replaced · params 4,810 → 1,690 · undo() takes it back

    Source: Denton et al., Exploiting linear structure within convolutional networks, NeurIPS 2014.
    """
    _refuse_bad(rank, energy)
    begun = model if isinstance(model, Plan) else plan(model)
    longer = _plan(begun, target, rank, energy, separated)
    return longer if isinstance(model, Plan) else longer.apply(check=check)


def _refuse_bad(rank: Any, energy: Any) -> None:
    if (rank is None) is (energy is None):
        raise PlanError("factorize needs one of rank= and energy=.", way_out="ts.factorize(model, energy=0.9)")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise PlanError(f"rank is a whole number of at least 1, and got {rank!r}.", got=rank, way_out="rank=8")
    if energy is not None and (isinstance(energy, bool) or not isinstance(energy, int | float) or not 0 < energy <= 1):
        raise PlanError(f"energy is a share in (0, 1], and got {energy!r}.", got=energy, way_out="energy=0.9")


def _plan(begun: Plan, target: Target, rank: int | None, energy: float | None, separated: bool) -> Plan:
    draft = begun.draft
    tied = _tied(draft)
    ranks: dict[str, tuple[Factoring, int]] = {}
    left: dict[str, str] = {}
    places = resolve(draft, (target,), {}, None, False)
    for place in places:
        try:
            ranks[place.name] = _rank(draft, place, tied, rank, energy, separated)
        except ConfigError as err:
            left[place.name] = str(err).partition("\n")[0].rstrip(".")
    if not ranks:
        raise _nothing(left)
    chosen = Selection(draft.model, tuple(Place(p.module, p.names) for p in places if p.name in ranks))
    return begun.then(Replace(chosen, _converter(ranks, separated), left=left))


def _converter(ranks: dict[str, tuple[Factoring, int]], separated: bool) -> Any:
    def decide(old: nn.Module, name: str) -> Conversion:
        found, rank = ranks[name]
        # A copy of the model, such as an average, has layers of its own, which get the same ranks.
        return (found if found.layer is old else factoring(old, _scheme(separated))).conversion(rank)

    return Converter(
        "two thinner layers", decide, lambda name: ("low rank", {"rank": ranks[name][1], "separated": separated})
    )


def _scheme(separated: bool) -> Scheme:
    return "depthwise" if separated else "thin"


def _rank(
    draft: Draft, place: Place, tied: set[int], rank: int | None, energy: float | None, separated: bool
) -> tuple[Factoring, int]:
    """How one layer is split, and its rank.

    Raises:
        ConfigError: with the reason, if it is better left as it is.
    """
    found = factoring(place.module, _scheme(separated))
    if never_called(draft.ancestors(place.name)):
        raise ConfigError("its weight is read, it is never called")
    if id(found.layer.weight) in tied:
        raise ConfigError("its weight is tied to that of another layer")
    if energy is not None and found.layer.weight.is_meta:
        raise ConfigError("on the meta device it has no singular values: give rank=")
    chosen = rank if rank is not None else found.rank_for(energy or 1.0)
    if found.size(min(chosen, found.full_rank)) >= found.layer.weight.numel():
        raise ConfigError(f"rank {chosen} saves nothing")
    return found, chosen


def _tied(draft: Draft) -> set[int]:
    """The Parameters that several layers hold."""
    held = Counter(id(p) for module in draft.spots() for p in module._parameters.values() if p is not None)
    return {parameter for parameter, count in held.items() if count > 1}


def _nothing(left: dict[str, str]) -> PlanError:
    rows = [f"{name}: {why}" for name, why in list(left.items())[:8]]
    return PlanError(
        f"none of the {len(left)} layers can be split and save weights.",
        *rows,
        got=left,
        way_out="take a smaller rank or energy:  ts.factorize(model, rank=4)",
    )
