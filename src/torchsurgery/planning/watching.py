"""Whether a user's factory has read the old layer's tensors, and so has seen to the weights itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

# What tells about a tensor without reading its values.
_METADATA = frozenset(
    {
        "shape",
        "dtype",
        "device",
        "ndim",
        "requires_grad",
        "layout",
        "is_meta",
        "is_leaf",
        "names",
        "itemsize",
        "is_cuda",
    }
)
_METADATA_CALLS = frozenset(
    {"size", "dim", "numel", "nelement", "is_floating_point", "is_contiguous", "stride", "__len__"}
)


class Watch(TorchFunctionMode):
    """Notes whether a function reads one of the given tensors."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self.touched = False
        self._ids = {id(tensor) for tensor in tensors}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.touched and not _asks_metadata(function):
            self.touched = any(id(leaf) in self._ids for leaf in tree_leaves((args, kwargs)))
        return function(*args, **(kwargs or {}))


def _asks_metadata(function: Any) -> bool:
    if getattr(function, "__name__", "") == "__get__":
        return getattr(getattr(function, "__self__", None), "__name__", "") in _METADATA
    return getattr(function, "__name__", "") in _METADATA_CALLS


@contextmanager
def watch(old: nn.Module) -> Iterator[Watch]:
    """Watch the tensors of `old` for as long as the context lasts."""
    with Watch([*old.parameters(), *old.buffers()]) as mode:
        yield mode
