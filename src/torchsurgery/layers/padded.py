"""Convolutions with a padding of their own on each side, where torch can only pad both sides alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

Pads = tuple[tuple[int, int], ...]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class _Padded:
    """What the three classes share; `pads` has a (left, right) for each axis, negative where the input is cropped."""

    pads: Pads
    padding_mode: PaddingMode

    def _pad(self, input: Tensor) -> Tensor:
        if self.padding_mode == "zeros":
            return F.pad(input, _flat(self.pads))
        # The other modes of F.pad don't crop.
        for axis, (left, right) in enumerate(self.pads, input.dim() - len(self.pads)):
            start, cut = max(-left, 0), max(-left, 0) + max(-right, 0)
            if cut:
                input = input.narrow(axis, start, input.shape[axis] - cut)
        return F.pad(input, _flat([(max(left, 0), max(right, 0)) for left, right in self.pads]), self.padding_mode)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, pads={self.pads}"  # type: ignore[misc]


def _flat(pads: Iterable[tuple[int, int]]) -> list[int]:
    return [side for pair in reversed(list(pads)) for side in pair]


class PaddedConv1d(_Padded, nn.Conv1d):
    """A `Conv1d` whose `pads`, ((left, right),), may differ, and be negative to crop; `padding` is 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        pads: Pads,
        stride: int | tuple[int] = 1,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias, padding_mode, device, dtype
        )
        self.pads = _checked_pads(pads, 1)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv1d(self._pad(input), weight, bias, self.stride, 0, self.dilation, self.groups)


class PaddedConv2d(_Padded, nn.Conv2d):
    """A `Conv2d` whose `pads`, (left, right) for each axis, may differ, and be negative to crop; `padding` is 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        pads: Pads,
        stride: int | tuple[int, int] = 1,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias, padding_mode, device, dtype
        )
        self.pads = _checked_pads(pads, 2)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(self._pad(input), weight, bias, self.stride, 0, self.dilation, self.groups)


class PaddedConv3d(_Padded, nn.Conv3d):
    """A `Conv3d` whose `pads`, (left, right) for each axis, may differ, and be negative to crop; `padding` is 0."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        pads: Pads,
        stride: int | tuple[int, int, int] = 1,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, 0, dilation, groups, bias, padding_mode, device, dtype
        )
        self.pads = _checked_pads(pads, 3)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv3d(self._pad(input), weight, bias, self.stride, 0, self.dilation, self.groups)


PADDED = (PaddedConv1d, PaddedConv2d, PaddedConv3d)


def _checked_pads(pads: Pads, axes: int) -> Pads:
    found = tuple((int(left), int(right)) for left, right in pads)
    if len(found) != axes:
        raise ValueError(f"pads needs a (left, right) for each of {axes} axes, and got {pads}")
    return found
