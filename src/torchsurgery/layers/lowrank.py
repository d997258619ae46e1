"""Linear layers and convolutions as two thinner ones, by singular values; the pair is a plain `nn.Sequential`.

Linear            in → rank, rank → out
Conv              k×k to rank channels, 1×1 to out
Conv, separated   each input channel by itself to rank channels (k×k, grouped), 1×1 to out
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .building import once_per_class
from .config import arguments_of
from .conv import CONVS
from .conversion import Conversion, Fidelity
from .padded import PADDED
from .refusals import refuse

FACTORS = (nn.Linear, *CONVS)


@dataclass(frozen=True)
class Factoring:
    """How one layer would be split in two.

    Args:
        layer: The layer.
        separated: Whether a convolution comes to one of each input channel by itself and a 1×1; else to a thinner one
            and a 1×1.
    """

    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    separated: bool = False

    @property
    def matrices(self) -> Tensor:
        """What is to be factored: (count, rows, columns), one matrix, or one for each input channel."""
        return _matrices(self.layer.weight.detach(), self.separated)

    @property
    def full_rank(self) -> int:
        """The rank at which nothing is lost."""
        return min(self.matrices.shape[1:])

    @cached_property
    def values(self) -> Tensor:
        """The singular values in double precision, largest first: (count, full rank)."""
        values: Tensor = torch.linalg.svdvals(self.matrices.double())
        return values

    def rank_for(self, energy: float) -> int:
        """The smallest rank that keeps this share of the squared singular values."""
        kept = self.values.square().sum(0).cumsum(0)
        return min(int((kept < energy * kept[-1] * (1 - 1e-12)).sum()) + 1, len(kept))

    def size(self, rank: int) -> int:
        """How many weights the two layers would have, without biases."""
        count, rows, columns = self.matrices.shape
        return count * rank * (rows + columns)

    def error(self, rank: int) -> float | None:
        """The relative error, root mean square, that a rank means for white noise; None where there are no values."""
        if self.layer.weight.is_meta:
            return None
        energy = self.values.square()
        return math.sqrt(float(energy[:, rank:].sum() / energy.sum())) if energy.sum() else 0.0

    def conversion(self, rank: int) -> Conversion:
        """What it comes to with `rank`, of which there is no use above `full_rank`."""
        rank = min(rank, self.full_rank)
        config = arguments_of(self.layer)
        first, second = self._factors(rank)
        origins: dict[str, Origin] = {"0.weight": first, "1.weight": second}
        if config["bias"]:
            origins["1.bias"] = Computed(("bias",), torch.clone, "copied", per_entry=True)
        kind = _linears if isinstance(self.layer, nn.Linear) else _convs
        arguments = {"like": {**config, "cls": type(self.layer)}, "rank": rank, "separated": self.separated}
        # A plain Sequential can't be made of keywords: in the place of the class stands what makes one.
        made = cast("type[nn.Module]", kind)
        full = rank == self.full_rank
        fidelity = Fidelity.EXACT if full else Fidelity.APPROXIMATE
        return Conversion(made, arguments, origins, fidelity, None if full else self.error(rank))

    def _factors(self, rank: int) -> list[Computed]:
        """The two weights. The first time that they are asked for they come of one decomposition."""
        weight, separated = self.layer.weight.detach(), self.separated
        ready = factors(weight, rank, separated)

        def factor(which: int) -> Callable[[Tensor], Tensor]:
            def computed(weight: Tensor) -> Tensor:
                return ready.pop(which) if which in ready else factors(weight, rank, separated)[which]

            return computed

        words = f"truncated SVD, rank {rank}"
        return [Computed(("weight",), factor(which), words) for which in (0, 1)]


def factoring(layer: nn.Module, separated: bool = False) -> Factoring:
    """How `layer` would be split in two.

    Raises:
        ConfigError: if it can't be; the first line is a reason that reads after its name.
    """
    base = _base(type(layer))
    if base is None:
        raise ConfigError("neither a Linear nor a convolution", got=type(layer))
    if type(layer).forward is not base.forward:
        raise ConfigError("it has a forward of its own", got=type(layer))
    refuse(layer, nn.Sequential)
    if isinstance(layer, PADDED):
        raise ConfigError("it pads each side by itself", got=layer)
    if getattr(layer, "groups", 1) != 1:
        raise ConfigError("it is grouped", got=layer)
    if separated and isinstance(layer, nn.Linear):
        separated = False
    return Factoring(layer, separated)  # type: ignore[arg-type]


@once_per_class
def _base(cls: type[nn.Module]) -> type[nn.Module] | None:
    return next((base for base in cls.__mro__ if base in FACTORS), None)


# --- the matrices


def _matrices(weight: Tensor, separated: bool) -> Tensor:
    return weight.flatten(2).transpose(0, 1) if separated else weight.flatten(1).unsqueeze(0)


def factors(weight: Tensor, rank: int, separated: bool) -> dict[int, Tensor]:
    """The weights of the two layers, the singular values shared out evenly between them."""
    left, values, right = torch.linalg.svd(_matrices(weight, separated).double(), full_matrices=False)
    roots = values[:, :rank].sqrt()
    thin = roots.unsqueeze(2) * right[:, :rank]  # (count, rank, columns)
    wide = left[:, :, :rank] * roots.unsqueeze(1)  # (count, rows, rank)
    first = (-1, 1, *weight.shape[2:]) if separated else (rank, *weight.shape[1:])
    second = (weight.shape[0], -1, *[1] * (weight.dim() - 2))
    shaped = (thin.reshape(first), wide.transpose(0, 1).reshape(second).contiguous())
    return {which: tensor.to(weight.dtype) for which, tensor in enumerate(shaped)}


# --- the layers


def _linears(like: dict[str, Any], rank: int, separated: bool) -> nn.Sequential:
    first = nn.Linear(like["in_features"], rank, bias=False)
    return nn.Sequential(first, nn.Linear(rank, like["out_features"], like["bias"]))


def _convs(like: dict[str, Any], rank: int, separated: bool) -> nn.Sequential:
    cls = next(base for base in like["cls"].__mro__ if base in CONVS)
    across = {name: like[name] for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    count = like["in_channels"] if separated else 1
    first = cls(like["in_channels"], count * rank, groups=count, bias=False, **across)
    return nn.Sequential(first, cls(count * rank, like["out_channels"], 1, bias=like["bias"]))
