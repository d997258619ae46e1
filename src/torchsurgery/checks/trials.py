"""One model with its inputs and its new layers, ready to be run in any mode and put back."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..progress import Advance, unheard
from .observing import copied, observed, tensors_in, tolerance
from .snapshots import Snapshot

See = Callable[[nn.Module, Any, Any, bool], None]


def _ignore(module: nn.Module, given: Any, output: Any, grad_enabled: bool) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Trial:
    """What all parts of a check share.

    Attributes:
        model: The model.
        args: Positional arguments of its forward.
        kwargs: Keyword arguments of its forward.
        layers: The new layers.
        names: Fully-qualified name of every module of the model, the first one of a shared module, and of the new
            layers that lie outside of the tree.
        snapshot: The state to return to after each run.
        advance: Is told of each run that has ended.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    layers: tuple[nn.Module, ...]
    names: Mapping[nn.Module, str]
    snapshot: Snapshot
    advance: Advance = unheard

    @classmethod
    def of(
        cls, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], layers: Iterable[nn.Module]
    ) -> Trial:
        layers = tuple(dict.fromkeys(layers))
        names: dict[nn.Module, str] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            names.setdefault(module, name)
        for layer in layers:
            outside = "" if layer in names else f"<{type(layer).__name__} outside of the module tree>"
            for name, module in layer.named_modules(prefix=outside) if outside else ():
                names.setdefault(module, name)
        return cls(model, args, kwargs, layers, names, Snapshot([model, *layers]))

    @functools.cached_property
    def family(self) -> frozenset[nn.Module]:
        """The new layers and all modules in them."""
        return frozenset(chain.from_iterable(layer.modules() for layer in self.layers))

    @functools.cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Parameters and buffers of the model."""
        return (*self.model.parameters(), *self.model.buffers())

    @functools.cached_property
    def on_meta(self) -> bool:
        """Whether there are no numbers to compute with: all tensors on meta, and no hook that would load them."""
        offloaded = any("_hf_hook" in module.__dict__ for module in self.names)
        return bool(self.tensors) and all(tensor.is_meta for tensor in self.tensors) and not offloaded

    @functools.cached_property
    def tolerance(self) -> float:
        """How far two runs of this model may be from each other; see `observing.tolerance`."""
        return tolerance(chain(self.tensors, tensors_in((self.args, self.kwargs))))

    @functools.cached_property
    def sharded(self) -> tuple[nn.Module, ...]:
        """The units of FSDP2, whose parameters gather for a forward and must be told to scatter again."""
        fsdp = sys.modules.get("torch.distributed.fsdp")
        return tuple(m for m in self.names if isinstance(m, fsdp.FSDPModule)) if fsdp else ()

    @functools.cached_property
    def at(self) -> Mapping[str, nn.Module]:
        """The module of each name."""
        return {name: module for module, name in self.names.items()}

    def label(self, module: nn.Module) -> str:
        """Name and type, as a message's first line shows them."""
        return f"{self.names.get(module, '?') or 'the model itself'} ({type(module).__name__})"

    def parent(self, module: nn.Module) -> nn.Module | None:
        """The module that holds this one under the name which is shown."""
        above = self.at.get(self.names.get(module, "").rpartition(".")[0])
        return None if above is module else above

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A block after which the model is as it was, however the block ends."""
        with self.snapshot.kept():
            try:
                yield
            finally:
                for unit in self.sharded:
                    unit.reshard()  # type: ignore[operator]

    def run(self, *, train: bool, grad: bool, watch: Iterable[nn.Module] = (), see: See = _ignore) -> Any:
        """One forward on a fresh copy of the inputs; call it inside of `kept`."""
        # A model in train mode may have parts that are kept in eval, such as frozen BatchNorms: so it stays.
        if train is not self.model.training or not train:
            self.model.train(train)
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(grad))
            stack.enter_context(_eager())
            for module in self.names:
                if isinstance(module, DistributedDataParallel):
                    # Otherwise its reducer waits for a backward that fills .grad.
                    stack.enter_context(module.no_sync())
            args, kwargs = copied((self.args, dict(self.kwargs)))
            stack.enter_context(observed(watch, see))
            output = self.model(*args, **kwargs)
        self.advance(1)
        return output

    def results(self, *, grad: bool, watch: Iterable[nn.Module] = (), see: See = _ignore) -> tuple[Tensor, ...]:
        """The tensors of an output in eval, free of the graph and of the model's own storage."""
        output = self.run(train=False, grad=grad, watch=watch, see=see)
        return tuple(tensor.detach().clone() for tensor in tensors_in(output))

    def callers(self, *, train: bool, grad: bool, watch: Iterable[nn.Module]) -> frozenset[nn.Module]:
        """Which of the modules are called in such a run."""
        seen: set[nn.Module] = set()
        with self.kept():
            self.run(train=train, grad=grad, watch=watch, see=lambda module, *_: seen.add(module))
        return frozenset(seen)


def _eager() -> AbstractContextManager[Any]:
    """Compiled parts are run as they were written: a check should neither wait for compilers nor fill their caches."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
