"""Scores from what flows through the channels on a user's data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from ..checks.trials import Trial
from ..coupling.constraints.record import layer_of
from ..errors import CouplingError
from ..inputs import arguments_of
from .scoring import Importance, Slice, summed

# Parameters whose input channels are those of what their layer is given.
_TAKING = frozenset({"weight", "weight_v", "weight_orig", "in_proj_weight", "weight_ih_l0", "weight_ih_l0_reverse"})


@dataclass
class _Mean:
    """The mean of each channel, over all else and all batches."""

    total: Tensor | None = None
    count: int = 0

    def add(self, values: Tensor, axis: int) -> None:
        """Values of any shape, with channels along an axis."""
        rows = values.movedim(axis, -1).flatten(0, -2).double().cpu()
        if rows.shape[-1:] == (self.total.shape if self.total is not None else rows.shape[-1:]) and len(rows):
            self.total = rows.sum(0) if self.total is None else self.total + rows.sum(0)
            self.count += len(rows)

    @property
    def value(self) -> Tensor | None:
        return None if self.total is None else self.total / self.count


@dataclass(frozen=True)
class Recorded:
    """An importance that has seen what layers were given and what they gave.

    Attributes:
        given: Layer → the statistic of each channel that it takes.
        made: Layer → the statistic of each channel that it gives.
    """

    given: Mapping[str, Tensor]
    made: Mapping[str, Tensor]

    @property
    def __name__(self) -> str:
        return "activation"

    def __call__(self, slices: Sequence[Slice]) -> Tensor:
        taken = [found for s in slices if s.role == "in" and (found := self._of(s, self.given)) is not None]
        made = [found for s in slices if s.role != "in" and (found := self._of(s, self.made)) is not None]
        if not taken and not made:
            raise CouplingError(
                f"no layer that has the channels of {slices[0].name} was called on the batches.",
                name=slices[0].name,
                way_out="leave them alone with  ignore=, or score them otherwise:  by=ts.importance.l2",
            )
        # What is taken has passed the normalisation and the activation between.
        return summed(taken or made)

    def _of(self, piece: Slice, recorded: Mapping[str, Tensor]) -> Tensor | None:
        """(channels,): the statistic of each channel along an axis of a parameter."""
        statistic = recorded.get(layer_of(piece.name))
        known = piece.name.rpartition(".")[2] in _TAKING or ".parametrizations." in piece.name
        if statistic is None or not known:
            return None
        per = _per_group(statistic, piece)
        return None if per is None else per[piece.entries].mean(1)


def _per_group(statistic: Tensor, piece: Slice) -> Tensor | None:
    """Of a grouped convolution, which counts the channels of a group, the mean over the groups."""
    if len(statistic) == piece.length:
        return statistic
    groups, rest = divmod(len(statistic), piece.length)
    return None if rest or piece.role != "in" or piece.dim != 1 else statistic.view(groups, -1).mean(0)


def activation(model: nn.Module, batches: Iterable[Any], *, of: Callable[[Tensor], Tensor] = torch.abs) -> Importance:
    """How much flows through each channel on some data: the mean of `of` over batches and positions.

    It is measured where the channels are taken, behind normalisations and activation functions; where no layer takes
    them, as they are given. The model is run in eval without gradients and left as it was.

    Args:
        model: The model that is to be pruned.
        batches: What it is called with, each a tensor, a tuple of positional or a dict of keyword arguments:
            `(images for images, labels in loader)`.
        of: What is averaged, as a function of a layer's input or output that keeps its shape: `torch.abs` by default,
            `torch.square`, or `lambda x: (x > 0).float()` for how often a channel is active.

    Returns:
        An importance for `by=`: it answers (channels,).

    Raises:
        CouplingError: if there are no batches; later, when channels are scored that no layer had in them.

    Example:
        >>> batches = [torch.randn(2, 3, 64, 64) for _ in range(2)]
        >>> by = ts.importance.activation(model, batches)
        >>> done = ts.prune(model, "layer1.0.conv1", 0.5, example_inputs=x, by=by)
        >>> model.layer1[0].conv1.out_channels
        32

    Source: Hu et al., Network Trimming, 2016, for how often a channel is zero.
    """
    given, made = dict[nn.Module, _Mean](), dict[nn.Module, _Mean]()
    layers = [layer for layer in model.modules() if layer._parameters or "parametrizations" in layer._modules]

    def see(layer: nn.Module, args: Any, output: Any, grad_enabled: bool) -> None:
        for values, means in ((_first(args), given), (_first(output), made)):
            if values is not None and values.is_floating_point() and values.dim() > 1:
                means.setdefault(layer, _Mean()).add(of(values.detach()), _channels(layer, values))

    seen = False
    for batch in batches:
        trial = Trial.of(model, *arguments_of(batch), ())
        with trial.kept(), _each_layer_called(), _Multiplied(model, see):
            trial.run(train=False, grad=False, watch=layers, see=see)
        seen = True
    if not seen:
        raise CouplingError("there are no batches to record activations on.", way_out="give some:  [x]")
    return Recorded(_by_name(model, given), _by_name(model, made))


class _Multiplied(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what the output projections of torch's attentions are given, which are read and never called."""

    def __init__(self, model: nn.Module, see: Callable[[nn.Module, Any, Any, bool], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        projections = [module.out_proj for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
        self.see, self.layers = see, {layer.weight.data_ptr(): layer for layer in projections}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if self.layers and isinstance(answer, Tensor) and func.overloadpacket.__name__ in _PRODUCTS:
            tensors = [value for value in args if isinstance(value, Tensor) and value.dim() > 1]
            for layer in [self.layers[t.data_ptr()] for t in tensors if t.data_ptr() in self.layers]:
                given = next(t for t in tensors if t.data_ptr() not in self.layers)
                self.see(layer, (given,), answer, False)
        return answer


_PRODUCTS = frozenset({"addmm", "mm", "linear", "baddbmm", "bmm"})


@contextmanager
def _each_layer_called() -> Iterator[None]:
    """A block in which torch's transformer layers call their children instead of a kernel for all of them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _channels(layer: nn.Module, values: Tensor) -> int:
    """The axis of a layer's input or output along which its channels are."""
    if isinstance(layer, _ConvNd):
        return -1 - len(layer.kernel_size)
    return 1 if isinstance(layer, _NormBase | nn.GroupNorm | nn.PReLU) else -1


def _first(value: Any) -> Tensor | None:
    """The first tensor of what a layer is given or answers."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    parts = value if isinstance(value, tuple | list) else ()
    return next((found for part in parts if (found := _first(part)) is not None), None)


def _by_name(model: nn.Module, means: Mapping[nn.Module, _Mean]) -> dict[str, Tensor]:
    names = {layer: name for name, layer in model.named_modules()}
    return {names[layer]: mean.value for layer, mean in means.items() if mean.value is not None}
