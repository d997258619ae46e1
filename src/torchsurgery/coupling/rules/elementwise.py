"""Rules of operations that work entry by entry, make new tensors, reduce, or look along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..constraints.atoms import Axis, words
from ..constraints.integers import Traced
from .call import Call, freeze_all
from .registry import serves


# PyTorch tags most of these as pointwise; the rest is named here.
@serves(
    """_elementwise dropout feature_dropout native_dropout alpha_dropout feature_alpha_dropout to contiguous type_as
    _to_copy hardswish hardsigmoid elu selu celu relu6 rsub copy fill bernoulli masked_fill type detach alias clone
    zero float half bool int long double bfloat16 __and__ __or__ __xor__ exponential
    uniform normal random nan_to_num where isfinite isnan isinf xlogy rrelu rrelu_with_noise threshold hardtanh softplus
    log_sigmoid hardshrink softshrink cast conj resolve_conj resolve_neg isclose mish logit square requires_grad _conj
    _neg_view real imag to_dense lift_fresh lift cpu cuda positive data"""
)
def elementwise(call: Call) -> None:
    """Entry by entry; where two tensors meet, their axes are one."""
    outs = call.outs
    if not outs:
        return
    for tensor in outs:
        call.give(tensor, call.broadcast(call.tensors, tensor.shape))


FACTORIES = words(
    """zeros ones empty full rand randn new_zeros new_ones new_empty new_full zeros_like ones_like empty_like full_like
    rand_like randn_like empty_strided new_empty_strided empty_permuted"""
)


@serves(" ".join(FACTORIES))
def factory(call: Call) -> None:
    """A new tensor: as wide as it is asked to be."""
    if call.name.endswith("_like"):
        return call.give(call.out, call.axes(call.args[0]))
    sizes, rank = _sizes(call), call.out.dim()
    said = sizes if sizes is not None and len(sizes) == rank else [None] * rank
    return call.give(call.out, [_made(call, *pair) for pair in zip(call.out.shape, said, strict=True)])


def _made(call: Call, size: int, said: Any) -> Axis:
    """PyTorch itself computes the sizes of what it makes; in the model's code they are what they are."""
    if said is None and not call.inside_torch:
        return call.fixed(size, "made in the model's code")
    if said is not None and not isinstance(said, Traced):
        return call.fixed(size, f"the code says {size}")
    axis = call.ledger.fresh(size)
    if said is not None:
        call.size(said, axis)
    return axis


def _sizes(call: Call) -> list[Any] | None:
    given = call.given(
        "zeros", "ones", "empty", "full", "rand", "randn", "new_zeros", "new_ones", "new_empty", "new_full"
    )
    if given is None:
        return None
    args, kwargs = given
    own: Sequence[Any] = args[1:] if call.name.startswith("new_") else args
    own = own or (kwargs.get("size", ()),)
    own = own[0] if own and isinstance(own[0], (tuple, list)) else own
    # One that is a tensor, such as the number of sequences in a packed one, is what it is.
    return [value for value in own if isinstance(value, int | Tensor)]


@serves("arange linspace logspace eye scalar_tensor tril_indices triu_indices hann_window range _tensor complex polar")
def constant(call: Call) -> None:
    """Numbers that depend on sizes only."""
    if call.tensors:
        return freeze_all(call, f"{call.name} is not followed")
    return call.give_fixed(f"made by {call.name}")


@serves(
    """_reduction mean sum amax amin var std prod any all argmax argmin logsumexp norm linalg_vector_norm var_mean
    std_mean max min median count_nonzero aminmax nansum nanmean"""
)
def reduction(call: Call) -> None:
    """Some axes go; what was along them has been mixed."""
    if len(call.args) > 1 and isinstance(call.args[1], Tensor):
        return elementwise(call)  # max(x, y)
    x = call.args[0]
    dims = dims_of(call.arg("dim") if call.has("dim") else None, x.dim())
    keep = bool(call.arg("keepdim", False)) if call.has("keepdim") else False
    axes = call.axes(x)
    for i in dims:
        call.mixes(axes[i], f"{call.name} over it")
        if call.name in ("argmax", "argmin") or (call.name in ("max", "min", "median") and len(call.outs) > 1):
            call.freeze(axes[i], f"{call.name} over it counts its entries")
    left = [call.fixed(1, "") if i in dims else axis for i, axis in enumerate(axes) if keep or i not in dims]
    for tensor in call.outs:
        call.give(tensor, left)
    return None


@serves(
    """softmax log_softmax _softmax _log_softmax _safe_softmax cumsum cumprod logcumsumexp sort argsort msort cummax
    cummin"""
)
def along_an_axis(call: Call) -> None:
    """Every entry of the axis depends on all others, or on its place among them."""
    x = call.args[0]
    axes = call.axes(x)
    if x.dim():
        name, dim = call.name.strip("_"), call.dim(default=-1)
        why = f"{'softmax' if 'softmax' in name else name} over it"
        call.freeze(axes[dim], why)
        axes[dim] = call.fixed(len(axes[dim]), why)
    for tensor in call.outs:
        call.give(tensor, axes)


@serves("topk kthvalue")
def chosen_entries(call: Call) -> None:
    """Some entries of an axis, by their values."""
    x = call.args[0]
    axes, dim = call.axes(x), call.dim(default=-1)
    call.freeze(axes[dim], f"{call.name} chooses among its entries")
    for tensor in call.outs:
        here = list(axes)
        if tensor.dim() == x.dim():
            here[dim] = call.fixed(tensor.shape[dim], f"chosen by {call.name}")
        else:
            here.pop(dim)
        call.give(tensor, here)


@serves("tril triu")
def triangle(call: Call) -> None:
    """Which entries are zeroed depends on their places along the last two axes."""
    axes = call.axes(call.args[0])
    for axis in axes[-2:]:
        call.freeze(axis, f"{call.name} goes by its entries' places")
    call.give(call.out, axes)


@serves("prelu _prelu_kernel")
def prelu(call: Call) -> None:
    """The slopes are those of the second axis; the kernel gets them in the shape to be broadcast."""
    x, slopes = call.args
    if call.name == "_prelu_kernel" or x.dim() < 2 or slopes.numel() == 1:
        return elementwise(call)
    axes, own = call.axes(x), call.axes(slopes)[0]
    call.tie(axes[1], own)
    call.role(own, "both")
    return call.give(call.out, axes)


@serves("glu")
def gated(call: Call) -> None:
    """One half of the axis gates the other, entry by entry."""
    axes, dim = call.axes(call.args[0]), call.dim(default=-1)
    half = len(axes[dim]) // 2
    one, other = axes[dim][:half], axes[dim][half:]
    call.tie(one, other)
    axes[dim] = one
    call.give(call.out, axes)


_FFT = " ".join(f"fft_{i}{r}fft{n}" for i in ("", "i") for r in ("", "r") for n in ("", "2", "n"))


@serves(f"{_FFT} _fft_r2c _fft_c2r _fft_c2c")
def fourier(call: Call) -> None:
    """What is transformed keeps its size."""
    axes = call.axes(call.args[0])
    dims = dims_of(call.arg("dim"), len(axes))
    for i in dims:
        call.freeze(axes[i], f"{call.name} over it")
        axes[i] = call.fixed(call.out.shape[i], f"{call.name} over it")
    call.give(call.out, axes)


def dims_of(dim: Any, rank: int) -> list[int]:
    """The axes that a `dim` argument names, from the front; all for None."""
    if dim is None or dim == []:
        return list(range(rank))
    dims = [dim] if isinstance(dim, int) else list(dim)
    return [d % rank for d in dims] if rank else []
