"""A model with stand-ins for its tensors, ready to run without computing; and put back as it was.

Parameters and buffers are replaced by tensors on meta (those of whole numbers by copies), whatever the forward stores
in a module is dropped afterwards, and the random state is put back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...containers import CONTAINERS, Contents
from ...progress import Advance, unheard, work
from ...randomness import random_state_kept
from ..attention import Attention, is_plain_attention
from ..constraints.atoms import Axis, Ledger
from ..constraints.record import Notes, Record
from .attributes import laid_into, pin
from .functions import Functions
from .hollow import hollow
from .operations import Operations
from .surroundings import surroundings_kept

_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


def stand_in(tensor: Tensor, on_meta: bool) -> Tensor:
    """A tensor of the same shape without values; of whole numbers, or where all is computed, a copy with them."""
    if on_meta and is_special(tensor):
        return torch.empty(tensor.shape, dtype=_plain_dtype(tensor), device="meta")
    if on_meta and (tensor.is_floating_point() or tensor.is_complex()):
        return hollow(tensor.shape, tensor.stride(), tensor.dtype)
    if tensor.is_meta and not on_meta:
        return torch.empty_like(tensor)
    # A model on meta has no whole numbers either; zero is at least inside of every table.
    real = torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor
    real = real.cpu() if on_meta and not real.is_cpu else real
    return real.detach().clone() if real.numel() <= 2**24 else real.detach()


def is_special(tensor: Tensor) -> bool:
    """Whether a tensor isn't plain numbers in rows: sparse, quantized, or of a class of its own."""
    return type(tensor) not in _PLAIN or tensor.layout is not torch.strided or tensor.is_quantized


def special_in_words(tensor: Tensor) -> str:
    """What kind of tensor it is: "a torch.sparse_coo tensor"."""
    if tensor.is_quantized:
        return f"a {tensor.dtype} tensor"
    return f"a {tensor.layout if tensor.layout is not torch.strided else type(tensor).__name__} tensor"


def _plain_dtype(tensor: Tensor) -> torch.dtype:
    return torch.get_default_dtype() if tensor.is_quantized else tensor.dtype


@contextmanager
def kept(names: Mapping[nn.Module, str], record: Record) -> Iterator[None]:
    """A block after which every module has the class, the attributes and the entries of containers that it had."""
    before = [(module, type(module), module.__dict__.copy()) for module in names]
    contents = Contents([value for _, _, state in before for value in state.values() if type(value) in CONTAINERS])
    try:
        with random_state_kept(), surroundings_kept(names):
            yield
    finally:
        filled = _filled(contents)
        for module, kind, state in before:
            if filled:
                caches = [key for key, value in state.items() if id(value) in filled and not key.startswith("_")]
                record.caches += [(names[module], key) for key in caches]
            if type(module) is not kind:
                object.__setattr__(module, "__class__", kind)
            _put_back(module.__dict__, state)
        contents.put_back()


def _filled(contents: Contents) -> set[int]:
    """The ids of dictionaries into which the forward has put tensors: caches, which fit these widths only."""
    pairs: list[tuple[Any, Any]] = [(held, {}) for held in contents.empty if held]
    pairs = [
        pair for pair in (*pairs, *contents.full) if isinstance(pair[0], dict) and pair[0].keys() != pair[1].keys()
    ]
    return {id(held) for held, content in pairs if _has_new_tensors(held, content)}


def _has_new_tensors(container: Mapping[Any, Any], content: Container[Any]) -> bool:
    return any(isinstance(value, Tensor) for key, value in container.items() if key not in content)


def _put_back(state: dict[str, Any], before: Mapping[str, Any]) -> None:
    state.update(before)
    if len(state) > len(before):
        for key in [key for key in state if key not in before]:
            del state[key]


def lay_in_tensors(record: Record, names: Mapping[nn.Module, str], on_meta: bool) -> None:
    """Put stand-ins into all slots, one for each tensor."""
    seen: dict[int, Tensor] = {}
    for module, name in names.items():
        for slots in (module._parameters, module._buffers):
            for key, tensor in slots.items():
                if tensor is None:
                    continue
                twin = seen.get(id(tensor))
                if twin is None:
                    leaf = f"{name}.{key}" if name else key
                    twin = seen[id(tensor)] = _leaf(record, leaf, tensor, on_meta)
                    if slots is module._parameters:
                        record.parameters.add(leaf)
                elif slots is module._parameters:
                    record.tied.setdefault(name, twin._coupling.leaf)  # type: ignore[attr-defined]
                slots[key] = twin  # type: ignore[assignment]


def _leaf(record: Record, name: str, tensor: Tensor, on_meta: bool) -> Tensor:
    shape = None if record.instead is None else record.instead.shapes.get(name)
    twin = stand_in(tensor, on_meta) if shape is None else torch.empty(shape, dtype=tensor.dtype, device="meta")
    axes = record.leaves.get(name)
    if axes is None:
        axes = record.leaves[name] = _own_axes(record.ledger, tensor, twin.shape)
    twin._coupling = Notes(axes, leaf=name)  # type: ignore[attr-defined]
    return twin


def _own_axes(ledger: Ledger, tensor: Tensor, shape: torch.Size) -> list[Axis]:
    """The axes that a parameter or buffer starts with."""
    why = "whole numbers"
    if is_special(tensor):
        why = f"entries of {special_in_words(tensor)} can't be taken out or copied"
    elif tensor.is_floating_point() or tensor.is_complex():
        return [ledger.fresh(size) for size in shape]
    return [ledger.fixed(size, why) for size in shape]


@contextmanager
def naming_modules(names: Mapping[nn.Module, str], operations: Operations) -> Iterator[None]:
    """A block in which it is known whose forward runs; afterwards the modules must be put back, see `kept`.

    By a `_call_impl` of each module's own: hooks for all modules would have PyTorch take its long way through each
    call, and would run for those of other threads, too.
    """
    with work("tracing", len(names)) as advance:
        for module, name in names.items():
            call = module._call_impl if advance is unheard else _counted(module._call_impl, advance)
            module.__dict__["_call_impl"] = _named(call, name, operations)
            if module._compiled_call_impl is not None:
                module.__dict__["_compiled_call_impl"] = None
        yield


def _named(call: Callable[..., Any], name: str, operations: Operations) -> Callable[..., Any]:
    stack = operations.stack

    def named(*args: Any, **kwargs: Any) -> Any:
        stack.append(name)
        operations.innermost = name
        try:
            output = call(*args, **kwargs)
        except BaseException:  # then the innermost one is to blame
            stack.pop()
            raise
        stack.pop()
        operations.innermost = stack[-1]
        return output

    return named


def _counted(call: Callable[..., Any], advance: Advance) -> Callable[..., Any]:
    """A call that is a piece of work when it is made for the first time."""
    left = [1]

    def counted(*args: Any, **kwargs: Any) -> Any:
        if left:
            advance(left.pop())
        return call(*args, **kwargs)

    return counted


@contextmanager
def plain_kernels() -> Iterator[None]:
    """A block without fused fast paths of whole layers and without compiled graphs."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else ExitStack():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def run(
    model: nn.Module,
    names: Mapping[nn.Module, str],
    record: Record,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    on_meta: bool,
    flipped: bool,
    see: Callable[[Any, Operations], None],
    contrary: bool = False,
) -> None:
    """Run the model once, without computing, and leave it as it was.

    Args:
        model: The model.
        names: Its modules.
        record: Where to gather.
        arguments: Stand-ins for what the model is called with.
        on_meta: Whether floating-point tensors are on meta.
        flipped: Whether to run in train where the model is in eval, and the other way round.
        see: Is given the output, before anything is put back.
        contrary: Whether to have the code go the other way wherever values decide.
    """
    operations = Operations(record, on_meta, contrary)
    with kept(names, record), plain_kernels(), torch.inference_mode():
        for module in names:
            if is_plain_attention(module):
                object.__setattr__(module, "__class__", Attention)
            if flipped:
                module.__dict__["training"] = not module.__dict__["training"]
        lay_in_tensors(record, names, on_meta)
        with naming_modules(names, operations), laid_into(names, record.integers):
            try:
                with operations, Functions(operations):
                    output = model(*arguments[0], **arguments[1])
                see(output, operations)
                pin(names, record.integers)
            except Exception as error:
                error._running = operations.innermost  # type: ignore[attr-defined]
                raise
