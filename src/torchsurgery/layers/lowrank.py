"""Linear layers and convolutions as two thinner ones, by singular values.

thin          in → rank, rank → out; of a convolution the first one has the kernel, the second is 1×1
depthwise     each input channel by itself to rank channels, with the kernel; then a 1×1 to out
asymmetric    the kernel's column to rank channels, k×1; then its row to out, 1×k
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..origins import Computed, Origin
from .building import once_per_class
from .config import arguments_of
from .conv import CONVS
from .conversion import Conversion, Fidelity
from .fills import precise
from .padded import PADDED
from .refusals import refuse

FACTORS = (nn.Linear, *CONVS)
Scheme = Literal["thin", "depthwise", "asymmetric"]


@dataclass(frozen=True)
class Factoring:
    """How one layer would be split in two.

    Args:
        layer: The layer.
        scheme: In which way; a Linear knows only "thin".
    """

    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    scheme: Scheme = "thin"

    @property
    def matrices(self) -> Tensor:
        """What is to be factored: (count, rows, columns), one matrix, or one for each input channel."""
        return _matrices(self.layer.weight.detach(), self.scheme)

    @property
    def full_rank(self) -> int:
        """The rank at which nothing is lost."""
        return min(self.matrices.shape[1:])

    @cached_property
    def values(self) -> Tensor:
        """The singular values in double precision, largest first: (count, full rank)."""
        values: Tensor = torch.linalg.svdvals(precise(self.matrices))
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

    def holds(self, rank: int) -> tuple[Fidelity, float | None]:
        """How far the two compute what the one did, and the predicted error."""
        return (Fidelity.EXACT, None) if rank >= self.full_rank else (Fidelity.APPROXIMATE, self.error(rank))

    def origins(self, rank: int) -> dict[str, Origin]:
        """Where the tensors of the two layers come from."""
        first, second = self._factors(rank)
        bias = Computed(("bias",), torch.clone, "copied", per_entry=True)
        has_bias = self.layer._parameters["bias"] is not None
        return {"0.weight": first, "1.weight": second, **({"1.bias": bias} if has_bias else {})}

    def conversion(self, rank: int) -> Conversion:
        """What it comes to with `rank`, of which there is no use above `full_rank`, as a plain `nn.Sequential`."""
        rank = min(rank, self.full_rank)
        arguments = {
            "like": {**arguments_of(self.layer), "cls": type(self.layer)},
            "rank": rank,
            "depthwise": self.scheme == "depthwise",
        }
        # A plain Sequential can't be made of keywords: in the place of the class stands what makes one.
        made = cast("type[nn.Module]", _linears if isinstance(self.layer, nn.Linear) else _convs)
        return Conversion(made, arguments, self.origins(rank), *self.holds(rank))

    def _factors(self, rank: int) -> list[Computed]:
        """The two weights. The first time that they are asked for they come of one decomposition."""
        weight, scheme = self.layer.weight.detach(), self.scheme
        ready = factors(weight, rank, scheme)

        def factor(which: int) -> Callable[[Tensor], Tensor]:
            def computed(weight: Tensor) -> Tensor:
                return ready.pop(which) if which in ready else factors(weight, rank, scheme)[which]

            return computed

        words = f"truncated SVD, rank {rank}"
        return [Computed(("weight",), factor(which), words) for which in (0, 1)]


def factoring(layer: nn.Module, scheme: Scheme = "thin") -> Factoring:
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
        raise ConfigError("it pads each side by itself", got=layer, way_out="ts.like(conv, nn.Conv2d, padding=1) first")
    if getattr(layer, "groups", 1) != 1:
        raise ConfigError("it is grouped", got=layer, way_out="ts.like(conv, nn.Conv2d, groups=1) first")
    if not layer.weight.is_meta and not layer.weight.isfinite().all():  # type: ignore[operator]
        raise ConfigError("its weight has numbers that are not finite", got=layer)
    return Factoring(layer, "thin" if isinstance(layer, nn.Linear) else scheme)  # type: ignore[arg-type]


@once_per_class
def _base(cls: type[nn.Module]) -> type[nn.Module] | None:
    return next((base for base in cls.__mro__ if base in FACTORS), None)


# --- the matrices


def _matrices(weight: Tensor, scheme: Scheme) -> Tensor:
    if scheme == "thin":
        return weight.flatten(1).unsqueeze(0)
    if scheme == "depthwise":
        return weight.flatten(2).transpose(0, 1)
    rows, columns, tall, wide = weight.shape
    return weight.permute(0, 3, 1, 2).reshape(1, rows * wide, columns * tall)


def factors(weight: Tensor, rank: int, scheme: Scheme) -> dict[int, Tensor]:
    """The weights of the two layers, the singular values shared out evenly between them; zeros beyond the full rank."""
    left, values, right = torch.linalg.svd(precise(_matrices(weight, scheme)), full_matrices=False)
    roots, kept = values[:, :rank].sqrt(), min(rank, values.shape[1])
    thin = left.new_zeros(len(values), rank, right.shape[2])
    wide = left.new_zeros(len(values), left.shape[1], rank)
    thin[:, :kept] = roots.unsqueeze(2) * right[:, :rank]
    wide[:, :, :kept] = left[:, :, :rank] * roots.unsqueeze(1)
    shaped = _shaped(thin, wide, weight.shape, scheme)
    return {which: tensor.to(weight.dtype).contiguous() for which, tensor in enumerate(shaped)}


def _shaped(thin: Tensor, wide: Tensor, shape: torch.Size, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """(count, rank, columns) and (count, rows, rank) as the weights of two layers; `shape` is that of the one."""
    rank = thin.shape[1]
    if scheme == "asymmetric":
        out, columns, tall, across = shape
        row = wide.reshape(out, across, rank).transpose(1, 2)
        return thin.reshape(rank, columns, tall, 1), row.reshape(out, rank, 1, across)
    first = (-1, 1, *shape[2:]) if scheme == "depthwise" else (rank, *shape[1:])
    return thin.reshape(first), wide.transpose(0, 1).reshape(shape[0], -1, *[1] * (len(shape) - 2))


# --- the layers


def _linears(like: Mapping[str, Any], rank: int, depthwise: bool) -> nn.Sequential:
    first = nn.Linear(like["in_features"], rank, bias=False)
    return nn.Sequential(first, nn.Linear(rank, like["out_features"], like["bias"]))


def _convs(like: Mapping[str, Any], rank: int, depthwise: bool) -> nn.Sequential:
    cls = next(base for base in like["cls"].__mro__ if base in CONVS)
    across = {name: like[name] for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    count = like["in_channels"] if depthwise else 1
    first = cls(like["in_channels"], count * rank, groups=count, bias=False, **across)
    return nn.Sequential(first, cls(count * rank, like["out_channels"], 1, bias=like["bias"]))
