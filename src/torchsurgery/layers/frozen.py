"""Batch norms that stay as they are: the statistics are those tracked so far, in training as in evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from ..origins import Origin
from .conv import CONVS, axes_of
from .conversion import Conversion, Fidelity
from .converting import convert
from .fills import filled
from .foreign import ACTIVATED
from .norm import BATCH, CHANNELS_LAST, INSTANCE, RESPONSE
from .pair import Pair
from .registry import conversion, rule_for

TIMM = "timm.layers.norm_act.BatchNormAct2d"


class FrozenBatchNorm(nn.Module):
    """What a batch norm of any number of axes computes in evaluation, in training, too; nothing in it is trained.

    Its state dict has a batch norm's keys, so that each loads what the other has saved.

    Args:
        num_features: As in `nn.BatchNorm2d`.
        eps: As in `nn.BatchNorm2d`.
        trainable: Whether weight and bias are Parameters, so that only the statistics stay as they are.

    Example:
        >>> frozen = ts.like(nn.BatchNorm2d(8), ts.FrozenBatchNorm)
        >>> frozen, list(frozen.parameters())
        (FrozenBatchNorm(8, eps=1e-05, trainable=False), [])
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, num_features: int, eps: float = 1e-5, trainable: bool = False, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.trainable = num_features, eps, trainable
        made = {"device": device, "dtype": dtype}
        for name, tensor in (("weight", torch.ones(num_features, **made)), ("bias", torch.zeros(num_features, **made))):
            if trainable:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        self.register_buffer("running_mean", torch.zeros(num_features, **made))
        self.register_buffer("running_var", torch.ones(num_features, **made))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long, device=device))

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, trainable={self.trainable}"


class FrozenBatchNormAct(FrozenBatchNorm):
    """A `FrozenBatchNorm` with a dropout and an activation behind it, as timm's `BatchNormAct2d`."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        trainable: bool = False,
        act: nn.Module | None = None,
        drop: nn.Module | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, trainable, device, dtype)
        self.drop, self.act = drop or nn.Identity(), act or nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        answer: Tensor = self.act(self.drop(super().forward(input)))
        return answer


@conversion(BATCH, FrozenBatchNorm)
def frozen(pair: Pair) -> Conversion:
    """Exact in eval; in training the statistics are no longer those of the batch."""
    if pair.old.running_mean is None:
        raise ConfigError(
            f"{type(pair.old).__name__} tracks no statistics that could be frozen.",
            expected="track_running_stats=True",
            way_out="train it with track_running_stats=True first",
        )
    size = pair.config["num_features"]
    origins: dict[str, Origin] = {
        name: filled(size, value) for name, value in (("weight", 1.0), ("bias", 0.0)) if getattr(pair.old, name) is None
    }
    result = pair.carry(
        origins=origins, fidelity=Fidelity.EXACT_IN_EVAL, uses=("momentum", "affine", "bias", "track_running_stats")
    )
    same = result.config["eps"] == pair.config["eps"]
    return result if same else result.limited(Fidelity.APPROXIMATE)


@conversion(FrozenBatchNorm, BATCH)
def thawed(pair: Pair) -> Conversion:
    """Back again: what was frozen is trained from then on."""
    return pair.carry({"track_running_stats": True}, fidelity=Fidelity.EXACT_IN_EVAL, uses=("trainable",))


@conversion(FrozenBatchNorm, (*INSTANCE, nn.GroupNorm, *CHANNELS_LAST, *RESPONSE, *CONVS))
def as_a_batch_norm(pair: Pair) -> Conversion:
    """What the batch norm that it is in eval comes to."""
    config = {name: pair.config[name] for name in ("num_features", "eps")} | {"track_running_stats": True}
    like = BATCH[axes_of(pair.new) - 1] if issubclass(pair.new, CONVS) else nn.BatchNorm2d
    rule, *_ = rule_for(like, pair.new) or (thawed,)
    result = rule(Pair(pair.old, pair.new, config, pair.overrides))
    return replace(result, dropped=tuple(name for name in result.dropped if "track" not in name))


def with_activation(old: nn.Module) -> bool:
    """Whether it is a batch norm with an activation behind it, timm's or ours."""
    return type(old) in ACTIVATED or f"{type(old).__module__}.{type(old).__qualname__}" == TIMM


def frozen_with_activation(old: Any, trainable: bool) -> Conversion:
    """What a batch norm with an activation behind it comes to; the latter stays the very same object."""
    config = {"num_features": old.num_features, "eps": old.eps, "affine": old.affine}
    pair = Pair(old, FrozenBatchNormAct, config, {"trainable": trainable, "act": old.act, "drop": old.drop})
    return frozen(pair)


def held(old: nn.Module, trainable: bool) -> Conversion:
    """What a batch norm comes to that is held as it is; `trainable` says whether weight and bias go on.

    Raises:
        ConfigError: if it is none.
    """
    if with_activation(old):
        return frozen_with_activation(old, trainable)
    if not isinstance(old, BATCH):
        raise ConfigError(f"{type(old).__name__} is no batch norm.", got=type(old))
    return convert(old, FrozenBatchNorm, {"trainable": trainable})
