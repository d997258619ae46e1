"""The mode that sees what a model's code calls, before PyTorch flattens it.

So rules know which sizes are integers of the code; and sizes that the code reads remember which axis they measure.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..constraints.atoms import Where, is_fixed
from ..constraints.integers import Site, expression_of
from ..constraints.record import Notes
from ..rules.strides import strides_read
from .operations import Operations


class Functions(TorchFunctionMode):
    """Shows rules what the code gave, and answers sizes that remember what they measure."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self.operations, self.record = operations, operations.record

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "__get__":
            return self._attribute(function(*args, **kwargs), args)
        if name in ("numel", "nelement"):
            return prod(self._shape(args[0], args[0].shape))
        if name == "size":
            return self._size(function(*args, **kwargs), args, kwargs)
        if name == "stride":
            return self._stride(function(*args, **kwargs), args, kwargs)
        if name == "multi_head_attention_forward":
            self._as_wide_as_its_stream(args, kwargs)
        outer, self.record.given = self.record.given, (name, tuple(args), kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            self.record.given = outer

    def _as_wide_as_its_stream(self, args: Any, kwargs: Any) -> None:
        """`F.multi_head_attention_forward` refuses heads that aren't together as wide as what they read."""
        stream = self._shape(args[0], args[0].shape)[-1]
        told: list[tuple[Any, int, Any]] = [
            (kwargs.get(key), 0, stream) for key in ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        ]
        # And it is told how wide that is.
        told.append((args[0], -1, args[3] if len(args) > 3 else kwargs.get("embed_dim_to_check")))
        told.append((args[5] if len(args) > 5 else kwargs.get("in_proj_weight"), 0, 3 * stream))
        float(stream)  # its scale is of the width of the heads
        where = Where("multi_head_attention_forward", self.operations.stack[-1])
        for tensor, dim, width in told:
            notes = getattr(tensor, "_coupling", None)
            if isinstance(notes, Notes) and isinstance(width, int) and len(notes.axes[dim]) > 1:
                self.record.integers.sites.append(Site(expression_of(width), notes.axes[dim], where))

    def _attribute(self, value: Any, args: Any) -> Any:
        return self._shape(args[0], value) if isinstance(value, torch.Size) else value

    def _size(self, value: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(value, torch.Size):
            return self._shape(args[0], value)
        dim = args[1] if len(args) > 1 else kwargs.get("dim")
        return self._shape(args[0], args[0].shape)[dim] if isinstance(dim, int) else value

    def _stride(self, value: Any, args: Any, kwargs: Any) -> Any:
        notes = getattr(args[0], "_coupling", None)
        if not isinstance(notes, Notes) or all(is_fixed(axis) for axis in notes.axes):
            return value
        strides = strides_read(args[0], notes.axes, self.record.integers)
        return strides if isinstance(value, tuple) else strides[args[1] if len(args) > 1 else kwargs["dim"]]

    def _shape(self, tensor: Tensor, shape: torch.Size) -> torch.Size:
        notes = getattr(tensor, "_coupling", None)
        if not isinstance(notes, Notes) or all(is_fixed(axis) for axis in notes.axes):
            return shape
        integers = self.record.integers
        return torch.Size([n if is_fixed(a) else integers.length(a) for n, a in zip(shape, notes.axes, strict=True)])
