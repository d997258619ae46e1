"""Batch norms as what they are in eval, a scale s and a shift t for each channel; and layers that can take these over.

Of a layer norm or an RMS norm, these are its weight and its bias; the norming itself stays.

After a layer, s (W x + b) + t is (s W) x + (s b + t). Before a layer, W (s x + t) + b is (W s) x + (b + W t), but not
where zeros are padded, which have no shift.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..origins import Computed, Origin
from .building import adopted, skeleton, tensors_of
from .conv import CONVS, TRANSPOSED, axes_of
from .conversion import Conversion, Fidelity

NORMING = (nn.LayerNorm, nn.RMSNorm)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# Under which names the origins of a layer's tensors speak of a norm's.
BEFORE, AFTER = "before:", "after:"

_STATISTICS = ("running_mean", "running_var")


# --- which can be folded


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a layer is a batch norm of any kind: torch's, one of its subclasses, a frozen one of the field."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) or _is_frozen(module)


def is_layer_norm(module: nn.Module) -> bool:
    """Whether a layer norms each position by itself, over one axis, and then scales."""
    return isinstance(module, NORMING) and len(module.normalized_shape) == 1 and module.weight is not None


def _is_frozen(module: nn.Module) -> bool:
    """Torchvision's, detectron2's and timm's `FrozenBatchNorm2d`, which are no relatives of torch's."""
    return type(module).__name__ == "FrozenBatchNorm2d" and {*_STATISTICS, "weight", "bias"} == set(module._buffers)


def _acts(module: nn.Module) -> bool:
    """A norm of timm's with an activation: when the norm goes, its two children are left, in this order."""
    return type(module).__name__ == "BatchNormAct2d" and list(module._modules) == ["drop", "act"]


def why_no_affine(norm: nn.Module) -> str | None:
    """What keeps a batch norm from being a fixed scale and shift in eval; None where it is one."""
    if is_layer_norm(norm):
        plain = type(norm).forward in {cls.forward for cls in NORMING}
        return None if plain else f"has a forward of its own ({type(norm).__name__})"
    own = {*norm._buffers, *norm._parameters}
    if any(getattr(norm, name, None) is None for name in _STATISTICS):
        return "has no running statistics"
    if not {*_STATISTICS, "weight", "bias"} <= own:
        return "has tensors that something else computes"
    known = _is_frozen(norm) or _acts(norm) or type(norm).forward in {cls.forward for cls in NORMS}
    return None if known else f"has a forward of its own ({type(norm).__name__})"


def acts_itself(norm: nn.Module) -> bool:
    """Whether a norm does more than to scale and to shift."""
    return _acts(norm) and any(type(child) is not nn.Identity for child in norm.children())


def remainder(norm: nn.Module) -> nn.Module:
    """What stays in a norm's place."""
    if is_layer_norm(norm):
        bare: nn.Module = skeleton(_kind(norm), {**_shape_and_eps(norm), "elementwise_affine": False})
        return bare.train(norm.training)
    if not _acts(norm):
        return nn.Identity()
    return nn.Sequential(OrderedDict(norm.named_children()))


def _kind(norm: nn.Module) -> type[nn.Module]:
    return next(cls for cls in NORMING if isinstance(norm, cls))


def _shape_and_eps(norm: Any) -> dict[str, Any]:
    return {"normalized_shape": tuple(norm.normalized_shape), "eps": norm.eps}


def why_no_taker(layer: nn.Module) -> str | None:
    """What keeps a layer from taking over a norm: "is no convolution". None where it can."""
    family = next((cls for cls in (*CONVS, *TRANSPOSED, nn.Linear) if isinstance(layer, cls)), None)
    if family is None:
        return "is neither a convolution nor linear"
    if not isinstance(layer._parameters.get("weight"), nn.Parameter) or "bias" not in layer._parameters:
        return "has a weight that something else computes"
    inner = "_conv_forward" if issubclass(family, CONVS) else "forward"
    if type(layer).forward is not family.forward or getattr(type(layer), inner) is not getattr(family, inner):
        return "has a forward of its own"
    return None


def along_the_last(layer: nn.Module) -> bool:
    """Whether a layer's channels lie on the last axis, however many there are."""
    return isinstance(layer, nn.Linear)


def rank_of_output(layer: nn.Module) -> int:
    """How many axes a batch has for this layer if axis 1 are its channels."""
    return 2 if isinstance(layer, nn.Linear) else axes_of(type(layer)) + 2


def why_no_norm_before(layer: nn.Module) -> str | None:
    """What keeps a layer from taking over the norm before it: at a border of zeros, the shift is missing."""
    if isinstance(layer, TRANSPOSED):
        return "lets fewer taps reach its borders"
    if isinstance(layer, CONVS) and layer.padding_mode == "zeros" and not _is_unpadded(layer):
        return "pads with zeros"
    return None


def _is_unpadded(conv: Any) -> bool:
    if conv.padding == "same":
        return all(size == 1 for size in conv.kernel_size)
    return conv.padding == "valid" or not any(conv.padding)


# --- folding


def folded(layer: nn.Module, before: tuple[str, nn.Module] | None, after: tuple[str, nn.Module] | None) -> Conversion:
    """What a layer becomes that does what the norms beside it did, exactly in eval.

    Args:
        layer: A convolution or linear layer that can take norms over.
        before: Name and layer of the norm that it is fed by, or None.
        after: Name and layer of the norm that it feeds, or None.
    """
    norms = {prefix: given for prefix, given in ((BEFORE, before), (AFTER, after)) if given is not None}
    beside = {prefix: norm for prefix, (_, norm) in norms.items()}
    sources = tuple(f"{prefix}{name}" for prefix, norm in beside.items() for name in tensors_of(norm))
    sources = tuple(name for name in sources if not name.endswith("num_batches_tracked"))
    # A layer norm goes on norming: its eps is its own.
    eps = {prefix: 0.0 if is_layer_norm(norm) else float(norm.eps) for prefix, norm in beside.items()}  # type: ignore[arg-type]
    fold = _Fold(layer, eps)
    names = " and ".join(name for name, _ in norms.values())
    bias = ("bias",) if layer._parameters["bias"] is not None else ()
    origins: dict[str, Origin] = {
        "weight": _computed(("weight", *sources), fold.weight, f"times the scale of {names}"),
        "bias": _computed((*bias, "weight", *sources), fold.bias, f"from the shift of {names}"),
    }
    if layer._parameters["bias"] is None and not any(_shifts(norm) for norm in beside.values()):
        del origins["bias"]
    spare = _with_bias(layer) if "bias" in origins else adopted(type(layer), layer)
    fidelity = Fidelity.EXACT if all(map(is_layer_norm, beside.values())) else Fidelity.EXACT_IN_EVAL
    return Conversion(type(layer), {}, origins, fidelity, beside=beside, spare=[spare])


def _shifts(norm: nn.Module) -> bool:
    return not is_layer_norm(norm) or norm._parameters.get("bias") is not None


def _with_bias(layer: nn.Module) -> nn.Module:
    """A twin of the layer that has a bias. No constructor is asked: a subclass may take other arguments."""
    twin = adopted(type(layer), layer)
    if twin._parameters["bias"] is None:
        twin._parameters["bias"] = nn.Parameter(torch.empty(0, device="meta"))
    return twin


def _computed(sources: tuple[str, ...], make: Callable[[Mapping[str, Tensor]], Tensor], what: str) -> Computed:
    def compute(*tensors: Tensor) -> Tensor:
        # In the layer's own dtype, whatever the norm's is; worked out in double precision.
        exact = {name: tensor.double() for name, tensor in zip(sources, tensors, strict=True)}
        return make(exact).to(tensors[0].dtype)

    return Computed(sources, compute, what)


class _Fold:
    """The arithmetic for one layer, on the weight as (groups, out, in, …)."""

    def __init__(self, layer: nn.Module, eps: Mapping[str, float]) -> None:
        self.groups: int = getattr(layer, "groups", 1)
        self.transposed = isinstance(layer, TRANSPOSED)
        self.eps = eps

    def weight(self, tensors: Mapping[str, Tensor]) -> Tensor:
        grouped = self._grouped(tensors["weight"])
        for prefix, axis in ((AFTER, 1), (BEFORE, 2)):
            if prefix in self.eps:
                grouped = grouped * self._along(self._scale(tensors, prefix), axis, grouped.dim())
        return (grouped.transpose(1, 2) if self.transposed else grouped).reshape(tensors["weight"].shape)

    def bias(self, tensors: Mapping[str, Tensor]) -> Tensor:
        grouped = self._grouped(tensors["weight"])
        bias = tensors.get("bias", grouped.new_zeros(grouped.shape[0] * grouped.shape[1]))
        if BEFORE in self.eps:
            shift = self._along(self._shift(tensors, BEFORE), 2, grouped.dim())
            bias = bias + (grouped * shift).flatten(2).sum(2).flatten()
        return bias * self._scale(tensors, AFTER) + self._shift(tensors, AFTER) if AFTER in self.eps else bias

    def _grouped(self, weight: Tensor) -> Tensor:
        parts = weight.reshape(self.groups, -1, *weight.shape[1:])
        return parts.transpose(1, 2) if self.transposed else parts

    def _along(self, values: Tensor, axis: int, rank: int) -> Tensor:
        shape = [self.groups] + [1] * (rank - 1)
        shape[axis] = -1
        return values.reshape(shape)

    def _scale(self, tensors: Mapping[str, Tensor], prefix: str) -> Tensor:
        if f"{prefix}running_var" not in tensors:
            return tensors[f"{prefix}weight"]
        spread = (tensors[f"{prefix}running_var"] + self.eps[prefix]).rsqrt()
        return spread * tensors[f"{prefix}weight"] if f"{prefix}weight" in tensors else spread

    def _shift(self, tensors: Mapping[str, Tensor], prefix: str) -> Tensor:
        if f"{prefix}running_mean" not in tensors:
            return tensors.get(f"{prefix}bias", torch.zeros_like(tensors[f"{prefix}weight"]))
        shift = -tensors[f"{prefix}running_mean"] * self._scale(tensors, prefix)
        return shift + tensors[f"{prefix}bias"] if f"{prefix}bias" in tensors else shift
