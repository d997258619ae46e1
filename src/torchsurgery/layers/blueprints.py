"""What a class makes of given arguments, laid out to be quickly compared: models have many layers of few sorts."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .comparing import HOOKS

_MISSING = object()


class Blueprint:
    """A freshly built layer on meta, and what makes a simple layer agree with it, laid out to be quick to compare."""

    def __init__(self, fresh: nn.Module, stale: Set[str]) -> None:
        self.fresh = fresh
        state = vars(fresh)
        names = [name for name in state if name not in _MODULE_STATE and name not in stale]
        self.plain = tuple((name, state[name], type(state[name])) for name in names)
        self.stale = tuple(name for name in state if name in stale)
        self.length = len(state)
        self.slots = tuple((slots, _shapes(state[slots])) for slots in ("_parameters", "_buffers"))
        self.simple = self._is_simple(state)

    def _is_simple(self, state: Mapping[str, Any]) -> bool:
        tensors = [t for slots in ("_parameters", "_buffers") for t in state[slots].values() if t is not None]
        return (
            not state["_modules"]
            and not state["_non_persistent_buffers_set"]
            and not any(state[name] for name in HOOKS)
            and all(_is_simple(value) for _, value, _ in self.plain)
            and not any(is_lazy(tensor) for tensor in tensors)
        )

    def exactly(self, module: nn.Module) -> bool:
        """Whether a layer agrees with this one in every way. A no is no verdict: `compare` looks closer."""
        state = vars(module)
        if not self.simple or len(state) != self.length or type(module) is not type(self.fresh):
            return False
        for name, value, kind in self.plain:
            mine = state.get(name, _MISSING)
            if mine is not value and (type(mine) is not kind or mine != value):
                return False
        for name in self.stale:
            if name not in state:
                return False
        for name in _MUST_BE_EMPTY:
            if state[name]:
                return False
        return _same_tensors(state, self.slots)


_MODULE_STATE = frozenset(vars(nn.Module()))
_MUST_BE_EMPTY = (*HOOKS, "_modules", "_non_persistent_buffers_set")
_SIMPLE = (bool, int, float, str, type(None))
_FIXED = frozenset({*_SIMPLE, types.FunctionType, types.BuiltinFunctionType, type, torch.dtype, torch.device})


def _is_simple(value: Any) -> bool:
    return isinstance(value, _SIMPLE) or (type(value) in (tuple, list) and all(type(v) in _SIMPLE for v in value))


def _shapes(tensors: Mapping[str, Tensor | None]) -> dict[str, tuple[torch.Size, type, torch.dtype] | None]:
    return {name: None if t is None or is_lazy(t) else (t.shape, _kind(t), t.dtype) for name, t in tensors.items()}


def _kind(tensor: Tensor) -> type:
    # Built while a fake tensor mode is on, it imitates what is meant.
    plain = nn.Parameter if isinstance(tensor, nn.Parameter) else Tensor
    return plain if type(tensor).__name__ == "FakeTensor" else type(tensor)


def _same_tensors(state: Mapping[str, Any], slots: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    first: Tensor | None = None
    seen: set[int] = set()
    count = 0
    for kind, expected in slots:
        tensors = state[kind]
        if len(tensors) != len(expected):
            return False
        for name, shape in expected.items():
            tensor = tensors.get(name, _MISSING)
            if tensor is None or shape is None or tensor is _MISSING:
                if tensor is not shape:
                    return False
                continue
            if type(tensor) is not shape[1] or tensor.shape != shape[0] or tensor.layout is not torch.strided:
                return False
            if shape[2].is_floating_point:
                if first is None:
                    first = tensor
                    if not tensor.dtype.is_floating_point:
                        return False
                elif tensor.dtype is not first.dtype:
                    return False
            elif tensor.dtype is not shape[2]:
                return False
            if first is not None and tensor.device != first.device:
                return False
            seen.add(id(tensor))
            count += 1
    return len(seen) == count


def key_of(config: Mapping[str, Any]) -> Any:
    """What a blueprint is kept under; None where a value can change, since then the layer made of it can, too."""
    values = tuple(config.values())
    kinds = tuple(map(type, values))
    for kind, value in zip(kinds, values, strict=True):
        if kind not in _FIXED and (kind is not tuple or not all(type(entry) in _FIXED for entry in value)):
            return None
    return tuple(config), kinds, values
