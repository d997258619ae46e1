"""Where each tensor of a new layer comes from.

An origin is known before anything is computed. Applying, undoing, what a plan prints, the optimizer's momentum: all
read the same origins, and nothing else keeps books about tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor

from .slicing import Entries as Entries
from .slicing import Reader as Reader
from .slicing import blocks_of as blocks_of
from .slicing import index_of, taken

# Dtypes of floating-point numbers that may be cast to each other: no quantized one, no 8-bit storage format.
PLAIN_FLOATS = frozenset([torch.float16, torch.bfloat16, torch.float32, torch.float64])


def number_of(entries: Entries) -> int:
    """How many entries an axis has then."""
    return len(blocks_of(entries)[0])


@dataclass(frozen=True, slots=True)
class Same:
    """The very same tensor object as the old layer's `source`: ties, optimizers and freezing follow for free."""

    source: str

    def describe(self) -> str:
        return "carried"


@dataclass(frozen=True, slots=True)
class Computed:
    """`function` of the old layer's tensors, in the order of `sources`.

    Args:
        sources: Names of the old layer's tensors.
        function: From those tensors to the new one; pure, keeps dtype and device.
        what: In a few words, for the plan: "zero-padded from 1×1 to 3×3". Empty where `describe` works it out.
        per_entry: Whether the function only moves, drops or zero-fills entries of one source, so that it takes an
            optimizer's momentum of the same shape along, too.
    """

    sources: tuple[str, ...]
    function: Callable[..., Tensor]
    what: str
    per_entry: bool = False

    def describe(self) -> str:
        return self.what

    def for_momentum(self) -> Computed:
        """What an optimizer's momentum for the tensor comes from."""
        return self


@dataclass(frozen=True, slots=True)
class Sliced(Computed):
    """Some entries of one tensor, along one axis or more; an optimizer's momentum is sliced alike.

    Args:
        indices: Axis → the entries that are kept, in order; see `Entries`.
        shape: The tensor's, before.
    """

    indices: Mapping[int, Entries] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, source: str, indices: Mapping[int, Entries], shape: tuple[int, ...], reader: Reader | None = None
    ) -> Sliced:
        """These entries of the tensor `source`, which has this shape; `reader` has read lists of other tensors."""
        return cls((source,), _Take(indices, reader or Reader()), "", True, indices, shape)

    def describe(self) -> str:
        kept = self.indices
        sizes = (f"{size} → {number_of(kept[i])}" if i in kept else f"{size}" for i, size in enumerate(self.shape))
        return f"({', '.join(sizes)})"


@dataclass(frozen=True, slots=True)
class _Take:
    """Takes entries along some axes, and keeps the memory format."""

    indices: Mapping[int, Entries]
    reader: Reader = field(default_factory=Reader, repr=False, compare=False)

    def __call__(self, tensor: Tensor) -> Tensor:
        value = taken(tensor, self.indices, self.reader)
        layout = layout_of(tensor)
        if layout is not torch.contiguous_format:
            return value.contiguous(memory_format=layout)
        return value.clone() if value is tensor else value


@dataclass(frozen=True, slots=True)
class Copied(Sliced):
    """Entries of one tensor, some of them several times, multiplied by shares along the axes that are summed over.

    Args:
        shares: Axis → what each of its entries is multiplied by.
        noise: The standard deviation, relative to the tensor's, of numbers that are added to the shares of one entry so
            that they go different ways in training. They come to zero, so that the sum stays what it was.
        seed: Where the noise begins: it must be the same whenever this is computed.
    """

    shares: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    noise: float = 0.0
    seed: int = 0

    def for_momentum(self) -> Computed:
        """As the weights, so that a step goes on where it went; without the noise."""
        kept = {axis: blocks_of(entries)[0] for axis, entries in self.indices.items()}
        return replace(self, function=_Copy(kept, self.shares, 0.0, 0), noise=0.0)


def copied(
    source: str,
    indices: Mapping[int, tuple[int, ...]],
    shape: tuple[int, ...],
    shares: Mapping[int, tuple[float, ...]],
    noise: float,
    seed: int,
) -> Copied:
    """These entries of the tensor `source`, which has this shape; see `Copied`."""
    function = _Copy(indices, shares, noise, seed)
    return Copied((source,), function, "", True, indices, shape, shares, noise, seed)


@dataclass(frozen=True, slots=True)
class _Copy:
    """Takes entries along some axes, by shares along some of these."""

    indices: Mapping[int, tuple[int, ...]]
    shares: Mapping[int, tuple[float, ...]]
    noise: float
    seed: int

    def __call__(self, tensor: Tensor) -> Tensor:
        taken = _Take(self.indices)(tensor)
        for axis, shares in self.shares.items():
            factors = torch.tensor(shares, dtype=taken.dtype, device=taken.device)
            taken *= factors.view([-1 if i == axis else 1 for i in range(taken.dim())])
            # Where an entry has all the weight, its copies are told apart already.
            if self.noise and not taken.is_meta and all(shares):
                taken += self._noise(taken, axis) * tensor.std(correction=0)
        return taken

    def _noise(self, like: Tensor, axis: int) -> Tensor:
        """Numbers that come to zero over the copies of each entry."""
        generator = torch.Generator().manual_seed(self.seed + axis)
        drawn = torch.randn(like.shape, dtype=torch.float64, generator=generator).mul_(self.noise)
        index = index_of(self.indices[axis]).tensor
        mean = torch.zeros_like(drawn.narrow(axis, 0, 1)).repeat_interleave(int(index.max()) + 1, axis)
        mean.index_add_(axis, index, drawn)
        counts = torch.bincount(index).clamp_(min=1).view([-1 if i == axis else 1 for i in range(drawn.dim())])
        return (drawn - (mean / counts).index_select(axis, index)).to(like.device, like.dtype)


@dataclass(frozen=True, slots=True)
class Lengthened(Computed):
    """A tensor with further entries at the end of one axis; an optimizer's momentum for these begins at zero.

    Args:
        axis: Which axis.
        number: How many entries come.
    """

    axis: int = 0
    number: int = 0

    @classmethod
    def of(cls, source: str, axis: int, number: int, shape: tuple[int, ...], rows: Tensor | None) -> Lengthened:
        """So many entries behind those of the tensor `source`, which has this shape: given ones, or the mean."""
        sizes = [f"{size} → {size + number}" if i == axis else f"{size}" for i, size in enumerate(shape)]
        what = f"({', '.join(sizes)}), new ones {'the mean of the old' if rows is None else 'as given'}"
        return cls((source,), _Lengthen(axis, number, rows), what, True, axis, number)

    def for_momentum(self) -> Computed:
        """Nothing has moved the new entries yet."""
        return replace(self, function=_Lengthen(self.axis, self.number, torch.zeros(())))


@dataclass(frozen=True, slots=True)
class _Lengthen:
    """Puts entries at the end of one axis."""

    axis: int
    number: int
    rows: Tensor | None

    def __call__(self, tensor: Tensor) -> Tensor:
        rows = tensor.float().mean(self.axis, keepdim=True) if self.rows is None else self.rows
        shape = [self.number if i == self.axis else size for i, size in enumerate(tensor.shape)]
        return torch.cat([tensor, rows.to(tensor.device, tensor.dtype).expand(shape)], self.axis)


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def layout_of(tensor: Tensor) -> torch.memory_format:
    """The memory format of a tensor: channels_last, channels_last_3d, or contiguous where it is neither.

    A kernel of 1×1 is contiguous in both; what it was brought to shows in its strides only.
    """
    layout = _CHANNELS_LAST.get(tensor.dim())
    if layout is None or not tensor.is_contiguous(memory_format=layout):
        return torch.contiguous_format
    # What strides from the last axis on would be.
    plain = accumulate(tensor.shape[:0:-1], operator.mul, initial=1)
    return torch.contiguous_format if tensor.stride()[::-1] == tuple(plain) else layout


def is_plain_float(tensor: Tensor) -> bool:
    """Whether a tensor holds floating-point numbers that may be cast."""
    return tensor.dtype in PLAIN_FLOATS


@dataclass(frozen=True, slots=True)
class Grown(Computed):
    """Entries of old tensors in their new places, among others that begin as the new layer's constructor draws them.

    `function` takes the drawn tensor before those of `sources`, and keeps the dtype and device of these.

    Args:
        drawn: That tensor, once there is a layer.
    """

    drawn: list[Tensor] = field(default_factory=list, repr=False, compare=False)

    def for_momentum(self) -> Computed:
        """The same with zeros instead of what was drawn."""
        return replace(self, drawn=[torch.zeros_like(tensor) for tensor in self.drawn])


@dataclass(frozen=True, slots=True)
class Initialised:
    """What the new layer's constructor puts there; nothing of the old layer is in it."""

    why: str = ""

    def describe(self) -> str:
        return f"initialised ({self.why})" if self.why else "initialised"


Origin = Same | Computed | Initialised


def evaluate(origin: Same | Computed, tensors: Mapping[str, Tensor]) -> Tensor:
    """The tensor that `origin` stands for, given the old layer's tensors by name.

    Returns:
        The same object for `Same`; for `Computed` a new tensor without a graph, in the dtype and on the device of its
        first source.
    """
    if isinstance(origin, Same):
        return tensors[origin.source]
    with torch.no_grad():
        drawn = origin.drawn if isinstance(origin, Grown) else ()
        return origin.function(*drawn, *(tensors[name].detach() for name in origin.sources))
