"""Fresh layers to compare with, on the meta device or with values but uninitialised; copies of what they are given."""

from __future__ import annotations

import contextlib
import copy
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from ..randomness import random_state_kept
from .comparing import Fails

_RANDOM = ("uniform_", "normal_", "bernoulli_", "exponential_", "random_", "log_normal_", "cauchy_", "geometric_")
_LIGHT = (bool, int, float, complex, str, bytes, type, type(None), types.FunctionType, types.BuiltinFunctionType)


class _NoRandomNumbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Skips filling tensors with random numbers: what follows from the arguments is computed, and nothing else."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket.__name__ in _RANDOM:
            return args[0]
        return func(*args, **(kwargs or {}))


def construct(cls: type[nn.Module], config: Mapping[str, Any], device: str) -> nn.Module:
    """A layer on the meta device, or on the CPU with values, though not random ones. The random state stays as it is.

    Raises:
        Fails: if the constructor raises.
    """
    with _quietly(), torch.device(device), _without_random_numbers(device):
        try:
            return cls(**config)
        except Exception as error:
            arguments = ", ".join(f"{name}={value!r}" for name, value in config.items())
            where = " on the meta device" if device == "meta" and isinstance(error, NotImplementedError) else ""
            reason = f"its constructor fails{where} on ({arguments[:60]}): {type(error).__name__}: {error}"
            raise Fails(" ".join(reason.split())) from error


def _without_random_numbers(device: str) -> contextlib.AbstractContextManager[Any]:
    # On meta, there is nothing to fill.
    return contextlib.nullcontext() if device == "meta" else _NoRandomNumbers()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- copies


def independent(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with copies for all tensors and layers among them."""
    memo: dict[int, Any] = {}
    return {
        name: value if isinstance(value, _LIGHT) else _copied(value, memo, _clone) for name, value in config.items()
    }


def on_meta(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with copies on the meta device for all tensors and layers among them."""
    memo: dict[int, Any] = {}
    return {name: value if isinstance(value, _LIGHT) else _copied(value, memo, _meta) for name, value in config.items()}


def _copied(value: Any, memo: dict[int, Any], tensor: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return memo.setdefault(id(value), tensor(value))
    if isinstance(value, nn.Module):
        for part in (*value.parameters(), *value.buffers()):
            memo.setdefault(id(part), tensor(part))
        try:
            return copy.deepcopy(value, memo)
        except Exception as error:
            raise Fails(f"its {type(value).__name__} can't be copied: {type(error).__name__}: {error}") from error
    if type(value) in (list, tuple):
        return type(value)(_copied(entry, memo, tensor) for entry in value)
    if isinstance(value, dict):
        new = copy.copy(value)
        new.update({key: _copied(entry, memo, tensor) for key, entry in value.items()})
        return new
    return value


def _clone(tensor: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter) or is_lazy(tensor):
        copied: Tensor = copy.deepcopy(tensor)
        return copied
    return tensor.detach().clone()


def _meta(tensor: Tensor) -> Tensor:
    if is_lazy(tensor):
        copied: Tensor = copy.deepcopy(tensor)
        return copied
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
