"""One run of a model on stand-ins, and what each module did in it."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from ..checks.observing import tensors_in
from ..coupling.constraints.record import Record
from ..coupling.running.shortcuts import MULTIPLYING, Shortcut, shortcut_for
from ..coupling.running.substituting import kept, lay_in_tensors, plain_kernels, stand_in
from ..distributed import refuse_wrapped
from ..errors import TraceError
from ..inputs import Arguments, not_taken
from ..progress import Advance, unheard, work

Shapes = tuple[tuple[int, ...], ...]


class Watch:
    """Counts, while a model runs, what each module computes by itself.

    Attributes:
        names: The modules.
        running: Those whose forward is under way.
        innermost: The one to blame for a failure.
        macs: Multiply-adds in a module's own forward, without those of modules called in it.
        calls: How often each was called.
        outputs: The shapes of what each answered first.
    """

    def __init__(self, names: Mapping[nn.Module, str], counter: FlopCounterMode, advance: Advance = unheard) -> None:
        self.names, self.counter, self.advance = names, counter, advance
        self.running: list[nn.Module] = []
        self.innermost: nn.Module | None = None
        self.macs: Counter[nn.Module] = Counter()
        self.calls: Counter[nn.Module] = Counter()
        self.outputs: dict[nn.Module, Shapes] = {}
        self._counted = 0

    def _book(self) -> None:
        """What was computed since the last look belongs to the innermost module."""
        flops = self.counter.get_total_flops()
        if self.running and flops != self._counted:
            self.macs[self.running[-1]] += (flops - self._counted) // 2
        self._counted = flops

    def enter(self, module: nn.Module, args: Any) -> None:
        """A forward begins."""
        if module in self.names:
            self._book()
            if not self.calls[module]:
                self.advance(1)
            self.running.append(module)
            self.innermost = module
            self.calls[module] += 1

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """A forward has ended, well or not."""
        if module in self.names:
            self._book()
            self.running.pop()
            if output is not None:  # else it has failed, or answers nothing
                self.innermost = self.running[-1] if self.running else None
                self.outputs.setdefault(module, tuple(tuple(t.shape) for t in tensors_in(output)))


def run(model: nn.Module, arguments: Arguments) -> Watch:
    """Run a model in eval, on meta; where its code reads values, with numbers. It is left as it was.

    Args:
        model: Any module.
        arguments: Positional and keyword arguments.

    Raises:
        TraceError: if it fails on them, naming the module.
    """
    refuse_wrapped(model)
    try:
        return _one_run(model, arguments, on_meta=True)
    except TraceError:
        if any(tensor.is_meta for tensor in itertools.chain(model.parameters(), model.buffers())):
            raise
    return _one_run(model, arguments, on_meta=False)


def _one_run(model: nn.Module, arguments: Arguments, on_meta: bool) -> Watch:
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    record, counter = Record(), FlopCounterMode(display=False)
    with work("counting", len(names)) as advance:
        watch = Watch(names, counter, advance)
        _watched(model, arguments, on_meta, watch, record)
    return watch


def _watched(model: nn.Module, arguments: Arguments, on_meta: bool, watch: Watch, record: Record) -> None:
    names = watch.names
    try:
        with kept(names, record), plain_kernels(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in names:
                module.__dict__["training"] = False
            lay_in_tensors(record, names, on_meta)
            args, kwargs = tree_map(lambda v: stand_in(v, on_meta) if isinstance(v, Tensor) else v, arguments)
            with watch.counter, _watching(watch), Uncounted():
                model(*args, **kwargs)
    except Exception as error:
        name = names[watch.innermost] if watch.innermost is not None else ""
        raise not_taken(model, name, error, "inputs") from error


class Uncounted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers on meta what multiplies nothing, before it comes to the counter: most of the time would go there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[Any, Shortcut | None] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would wrap each operation otherwise."""
        return False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op not in self._known:
            self._known[op] = _uncounted(op)
        short, kwargs = self._known[op], kwargs or {}
        if short is not None and all(tensor.is_meta for tensor in tensors_in((args, kwargs))):
            answer = short(args, kwargs)
            if answer is not None:
                return answer
        return op(*args, **kwargs)


def _uncounted(op: Any) -> Shortcut | None:
    namespace, _, name = op._schema.name.partition("::")
    return shortcut_for(name, op) if namespace == "aten" and name not in MULTIPLYING else None


@contextmanager
def _watching(watch: Watch) -> Iterator[None]:
    handles = [
        register_module_forward_pre_hook(watch.enter),
        register_module_forward_hook(watch.leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
