"""What running a model may change, taken down beforehand and put back afterwards.

Nothing is swapped for a stand-in meanwhile: modules, tensors and containers stay the objects they are, so whoever holds
one from elsewhere (a closure, a hook, another thread's reference) runs the same model. Values are put back through
`.data`, which leaves no trace in the version counters; the counters themselves are set back to what they were.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..containers import CONTAINERS, Contents

# Parameters up to this many bytes are copied, to undo a forward that writes into them. Above it, a copy could be what
# no longer fits; such a forward is rare, and the caller is told.
COPIED_BYTES = 2**30

_PLAIN_TENSORS = frozenset({Tensor, nn.Parameter, nn.Buffer})


class Snapshot:
    """The state of all modules below `roots`, of their tensors, and of the random generators.

    Attributes:
        copied: Whether the parameters' values were copied, too; see `COPIED_BYTES`.
    """

    def __init__(self, roots: Iterable[nn.Module]) -> None:
        modules = list(dict.fromkeys(chain.from_iterable(root.modules() for root in roots)))
        parameters = {id(p): p for module in modules for p in module.parameters(recurse=False)}
        self.copied = sum(p.nbytes for p in parameters.values() if _is_copyable(p)) <= COPIED_BYTES
        self._seen: set[int] = set()
        self._contents = Contents()
        self._undo: list[Callable[[], None]] = []
        for parameter in parameters.values():
            self._take_tensor(parameter, self.copied)
        for module in modules:
            self._take_module(module)
        kinds = {p.device.type for p in parameters.values()}
        self._undo += [_undo_of(read, write) for read, write in _generators(kinds)]

    def restore(self) -> None:
        """Put everything back; may be called again and again."""
        self._contents.put_back()
        for undo in self._undo:
            undo()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A block after which everything is as it was at the snapshot, however the block ends."""
        try:
            yield
        finally:
            try:
                self.restore()
            except KeyboardInterrupt:
                # Whoever is impatient enough to interrupt twice still wants the model whole.
                self.restore()
                raise

    def _take_module(self, module: nn.Module) -> None:
        # A ScriptModule keeps its flag and its tensors outside of __dict__.
        kind, training = type(module), module.training
        for buffer in module.buffers(recurse=False):
            self._take_tensor(buffer, True)
        self._take_value(module.__dict__)

        def undo() -> None:
            if type(module) is not kind:
                module.__class__ = kind
            if module.training is not training:
                module.training = training

        self._undo.append(undo)

    def _take_value(self, value: Any) -> None:
        """Take down a value found in a module, if it is one that a forward can change without replacing it."""
        if isinstance(value, Tensor):
            self._take_tensor(value, True)
        elif isinstance(value, torch.Generator):
            self._undo.append(_undo_of(value.get_state, value.set_state))
        elif type(value) in CONTAINERS and id(value) not in self._seen:
            self._seen.add(id(value))
            self._contents.take(value)
            for item in list(value.values()) if isinstance(value, dict) else list(value):
                self._take_value(item)

    def _take_tensor(self, tensor: Tensor, copied: bool) -> None:
        if id(tensor) in self._seen:
            return
        self._seen.add(id(tensor))
        # An alias, not a copy: it brings back the storage should a forward assign to `.data`.
        alias, needs_grad = tensor.data, tensor.requires_grad
        version = None if tensor.is_inference() else tensor._version
        values = alias.clone() if copied and _is_copyable(tensor) else None
        grad = tensor.grad if tensor.is_leaf else None

        def undo() -> None:
            if not _shares(tensor, alias):
                tensor.data = alias
            if values is not None and not torch.equal(alias, values):
                alias.copy_(values)
            if version is not None and tensor._version != version:
                torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))
            if tensor.is_leaf and tensor.requires_grad is not needs_grad:
                tensor.requires_grad_(needs_grad)
            if tensor.is_leaf and tensor.grad is not grad:
                tensor.grad = grad

        self._undo.append(undo)


def _undo_of(read: Callable[[], Any], write: Callable[[Any], Any]) -> Callable[[], None]:
    state = read()
    return lambda: write(state)


def _is_copyable(tensor: Tensor) -> bool:
    """Whether its values can be copied and written back: no subclass with a storage of its own, nothing on meta."""
    return type(tensor) in _PLAIN_TENSORS and tensor.layout is torch.strided and not tensor.is_meta


def _shares(tensor: Tensor, alias: Tensor) -> bool:
    if not _is_copyable(tensor):
        return True
    return tensor.shape == alias.shape and tensor.data_ptr() == alias.data_ptr() and tensor.stride() == alias.stride()


def _generators(kinds: set[str]) -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How to read and write the state of each random generator that a forward may draw from."""
    yield random.getstate, random.setstate
    yield torch.get_rng_state, torch.set_rng_state
    if "numpy" in sys.modules:
        import numpy as np

        yield np.random.get_state, np.random.set_state
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        kinds = kinds | {"cuda"}
    for kind in sorted(kinds - {"cpu", "meta"}):
        device = torch.get_device_module(kind)
        every = "_all" if hasattr(device, "get_rng_state_all") else ""
        yield getattr(device, f"get_rng_state{every}"), getattr(device, f"set_rng_state{every}")
