"""Which configuration says what was changed: found by building candidates on the meta device and comparing them."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..randomness import random_state_kept
from ..recipes.structure import structure_of

_ROUNDS, _BEAM = 4, 6
_INSIDE = ("inner", "ffn", "intermediate", "head_dim")
Lines = Mapping[str, str]


def lines_of(model: nn.Module) -> dict[str, str]:
    """The structure of a model but for what a block's place tells: its number, and how many there are."""
    lines = structure_of(model, ties=False).lines
    return {name: _PLACE.sub("", what) for name, what in lines.items()}


# The last is an attribute of transformers' Conv1D that nothing reads; its weight tells.
_PLACE = re.compile(r"layer_idx=\d+(, )?|(?<=^nn\.ModuleList\(\)).*|(?<=^Conv1D\().*(?=nx)nx=\d+")


def built(model: nn.Module, config: Any) -> nn.Module | None:
    """A model of this class and a configuration, on the meta device; None where there can't be one."""
    try:
        with random_state_kept(), warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            fresh: nn.Module = type(model)(copy.deepcopy(config))
        return fresh
    except Exception:  # of sizes that don't go together
        return None


@dataclass(order=True)
class _Candidate:
    """A configuration, and by how many lines its model differs."""

    misses: int
    config: Any = field(compare=False)
    sizes: tuple[tuple[int, int], ...] = field(compare=False, default=())


def settled(model: nn.Module, wanted: Lines, config: Any) -> Any:
    """The configuration nearest to `config` whose model has these lines, as far as one is found."""
    best = _judged(model, wanted, config)
    beam, seen = [best], {str(config.to_dict())}
    for _ in range(_ROUNDS):
        if not best.misses:
            break
        found = []
        for candidate in beam:
            for other in _neighbours(candidate):
                if (known := str(other.to_dict())) not in seen:
                    seen.add(known)
                    found.append(_judged(model, wanted, other))
        beam = sorted(found)[:_BEAM]
        best = min([best, *beam])
    return best.config


def _judged(model: nn.Module, wanted: Lines, config: Any) -> _Candidate:
    fresh = built(model, config)
    there = {} if fresh is None else lines_of(fresh)
    sizes: dict[tuple[int, int], None] = {}
    misses = len(there.keys() - wanted.keys())
    for name, what in wanted.items():
        own = there.get(name, "")
        if own != what:
            misses += 1
            pairs = zip(re.findall(r"\d+", own), re.findall(r"\d+", what), strict=False)
            sizes.update({(int(a), int(b)): None for a, b in pairs if a != b})
    return _Candidate(misses, config, tuple(sizes))


def _neighbours(candidate: _Candidate) -> Iterator[Any]:
    """Configurations of which one number is another, such that one of the sizes may become what is wanted."""
    for own, want in candidate.sizes:
        for name, value in _numbers(candidate.config):
            new = want if value is None else (value * want // own if own and value * want % own == 0 else 0)
            if new > 0 and new != value:
                other = copy.deepcopy(candidate.config)
                setattr(other, name, new)
                yield other


def _numbers(config: Any) -> Iterator[tuple[str, int | None]]:
    """The sizes that a configuration says, and those that it leaves to be worked out."""
    for name, value in vars(config).items():
        if name.startswith("_") or name.endswith("_token_id"):
            continue
        if (type(value) is int and value > 0) or (value is None and any(word in name for word in _INSIDE)):
            yield name, value
    if isinstance(getattr(config, "id2label", None), dict):
        yield "num_labels", len(config.id2label)
