"""The mode that sees every operation of PyTorch while a model is traced.

It runs each without computing (floating-point tensors are on the meta device, whole numbers are real) and applies its
rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..constraints.atoms import Where, is_fixed, words
from ..constraints.record import NO_ROOTS, Notes, Record
from ..rules.call import Call, freeze_all, tensors_in
from ..rules.elementwise import FACTORIES, elementwise
from ..rules.registry import Rule, is_composite, rule_for
from ..rules.views import LOOKING, MOVING
from .filled import asks, filled_after, fills, on_cpu, told
from .hollow import hollow
from .shortcuts import Shortcut, shortcut_for

# These tell about a tensor and make none.
_TELLING = words(
    """device size sym_size stride sym_stride numel sym_numel _local_scalar_dense item is_nonzero equal is_same_size
    storage_offset sym_storage_offset is_contiguous _has_compatible_shallow_copy_type is_pinned _version"""
)
# And these are what an `if` of the code asks, if the tensor says true or false.
_DECIDING = words("_local_scalar_dense item is_nonzero")
_MOST_DECISIONS = 1000


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operations without computing and applies their rules.

    Attributes:
        record: What is gathered.
        on_meta: Whether floating-point tensors are on meta; else all is computed.
        contrary: Whether the code is told the contrary wherever it asks whether something is true.
        stack: The names of the modules whose forward is running.
        innermost: The module to blame for a failure.
    """

    def __init__(self, record: Record, on_meta: bool, contrary: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record, self.on_meta = record, on_meta
        self.contrary, self._decisions = contrary, 0
        self.stack: list[str] = [""]
        self.innermost = ""
        self._known: dict[int, Known] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch would wrap each operation otherwise; while a model is traced, nothing is compiled."""
        return False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # By its id, as each is there once for good, and PyTorch would work out its hash in Python.
        known = self._known.get(id(op))
        if known is None:
            known = self._known[id(op)] = _known(op)
        if known.tells:
            if known.name in _DECIDING and args and args[0].dtype is torch.bool:
                self.record.deciding.setdefault(self.stack[-1])
                if self.contrary:
                    return self._contrary(op(*args, **kwargs))
            return op(*args, **kwargs)
        if known.composite:
            with self:
                result = op.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return self._follow(op, known, args, kwargs)

    def _contrary(self, answer: Any) -> bool:
        """The other answer, so that the code goes the other way; a loop that waits for the right one ends here."""
        self._decisions += 1
        if self._decisions > _MOST_DECISIONS:
            raise RuntimeError("the code goes round in a circle")
        return not answer

    def _follow(self, op: Any, known: Known, args: Any, kwargs: Any) -> Any:
        self.record.ledger.where = Where(known.name, self.stack[-1])
        tensors = tensors_in((*args, kwargs)) if kwargs else tensors_in(args)
        # An operation may answer the very tensor that it was given.
        pending, roots = self._pending(known.name, tensors), _roots(tensors)
        filled = filled_after(known.name, op, args, kwargs, tensors) if known.fills else None
        out = self._execute(op, known, args, kwargs, tensors)
        call = Call(self.record, op, known.name, (tuple(args), kwargs), tensors, out)
        self._apply(known.rule, call)
        if self.record.ledger.unused:
            self._note_used(known, tensors)
        if pending or call.pending or roots or filled:
            for tensor in call.outs:
                notes = getattr(tensor, "_coupling", None)
                if isinstance(notes, Notes):
                    notes.pending, notes.roots, notes.filled = (*pending, *call.pending), roots, filled
        return out

    def _apply(self, rule: Callable[[Call], None] | None, call: Call) -> None:
        ledger = self.record.ledger
        if rule is None:
            if any(not is_fixed(axis) for tensor in call.tensors for axis in call.axes(tensor)):
                self.record.unknown[call.op._schema.name] = self.record.unknown.get(call.op._schema.name, 0) + 1
            return freeze_all(call, f"{call.op._schema.name} is not known")
        marks = len(ledger.ties), len(ledger.products), len(ledger.frozen)
        try:
            return rule(call)
        except Exception as error:
            # A rule that fails has said nothing: what it is about stays as it is, and is named.
            del ledger.ties[marks[0] :], ledger.frozen[marks[2] :]
            self.record.unknown[call.op._schema.name] = self.record.unknown.get(call.op._schema.name, 0) + 1
            return freeze_all(call, f"{call.name} can't be followed here ({type(error).__name__}: {error})")

    def _note_used(self, known: Known, tensors: list[Tensor]) -> None:
        """Where an operation does more than to move axes about or to go entry by entry, places in rows matter."""
        if known.name in MOVING or (known.rule is elementwise and len(tensors) == 1):
            return
        for tensor in tensors:
            notes = getattr(tensor, "_coupling", None)
            for axis in notes.axes if isinstance(notes, Notes) else ():
                split = self.record.ledger.unused.pop(id(axis), None)
                if split is not None:
                    split.is_used = True

    def _pending(self, name: str, tensors: list[Tensor]) -> tuple[Any, ...]:
        """What is to be frozen because of the values used; handed on by an operation that only looks."""
        found: tuple[Any, ...] = ()
        for tensor in tensors:
            notes = getattr(tensor, "_coupling", None)
            if notes is not None:
                found += notes.pending
                if notes.leaf is not None:
                    self.record.touched.add(notes.leaf)
        if not found or name in LOOKING:
            return found
        self.record.ledger.frozen += [(axis, reason) for axis, reason in found if not is_fixed(axis)]
        return ()

    # --- running without computing

    def _execute(self, op: Any, known: Known, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        if not self.on_meta:
            return op(*args, **kwargs)
        name, meta = known.name, [tensor.is_meta for tensor in tensors]
        if not any(meta):
            return op(*_placed(args), **self._placed_factory(name, args, kwargs))
        if known.asks and (answer := told(op, args, kwargs)) is not None:
            return answer
        if not all(meta):
            if name == "index" and args[0].is_meta:
                args = (args[0], [None if i is None else _to_meta(i) for i in _without_masks(args[1])])
            elif op._schema.is_mutable and not tensors[0].is_meta:
                # A real tensor of whole numbers is written from floating-point ones: its values are of no account.
                return args[0]
            else:
                args, kwargs = _all_to_meta(args), {key: _all_to_meta(value) for key, value in kwargs.items()}
        out = known.short(args, kwargs) if known.short is not None else None
        if out is not None:
            return out
        return op(*_on_meta(args), **{k: _meta_device(v) for k, v in kwargs.items()})

    def _placed_factory(self, name: str, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Floating-point tensors that are made by size come on meta, all else for real."""
        kwargs = {k: on_cpu(v) for k, v in kwargs.items()}
        if name in FACTORIES and (not args or not isinstance(args[0], Tensor) or name.startswith("new_")):
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            if name.startswith("new_") and kwargs.get("dtype") is None:
                dtype = args[0].dtype
            filled = name == "full" and kwargs.get("dtype") is None and not isinstance(args[1], float)
            if dtype.is_floating_point and not filled:
                kwargs["device"] = torch.device("meta")
        return kwargs


class Known(NamedTuple):
    """What is the same whenever an operation is called.

    Attributes:
        name: Its name without namespace.
        rule: What it says about axes, if that is known.
        tells: Whether it only tells about a tensor.
        composite: Whether it has no rule, but is made of operations that may have one.
        short: Its shortcut on meta, if it has one.
        fills: Whether it has to do with tensors of one value.
        asks: Whether it tells what such a tensor is filled with.
    """

    name: str
    rule: Rule | None
    tells: bool
    composite: bool
    short: Shortcut | None
    fills: bool
    asks: bool


def _known(op: Any) -> Known:
    name, rule = rule_for(op)
    tells = name in _TELLING or op.namespace == "prim"
    composite = rule is None and is_composite(op)
    return Known(name, rule, tells, composite, shortcut_for(name, op), fills(name, op), asks(name))


def _roots(tensors: list[Tensor]) -> frozenset[str]:
    """The parameters and buffers that a result is made of, if it is made of nothing else."""
    found = NO_ROOTS
    for tensor in tensors:
        notes = getattr(tensor, "_coupling", None)
        if notes is None or not notes.roots:
            return NO_ROOTS
        found |= notes.roots
    return found


def _to_meta(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.is_meta:
        return value
    twin = hollow(value.shape, value.stride(), value.dtype)
    notes = getattr(value, "_coupling", None)
    if notes is not None:
        twin._coupling = notes  # type: ignore[attr-defined]
    return twin


def _all_to_meta(value: Any) -> Any:
    return type(value)(map(_all_to_meta, value)) if isinstance(value, (list, tuple)) else _to_meta(value)


def _without_masks(indices: Any) -> list[Any]:
    """Masks as the numbers of their true entries, so that the size of the result is known."""
    spelled: list[Any] = []
    for item in indices:
        real_mask = item is not None and item.dtype in (torch.bool, torch.uint8) and not item.is_meta
        spelled += torch.nonzero(item, as_tuple=True) if real_mask else [item]
    return spelled


def _meta_device(value: Any) -> Any:
    return torch.device("meta") if isinstance(value, torch.device) else value


def _on_meta(args: Any) -> tuple[Any, ...]:
    return tuple(_meta_device(value) for value in args)


def _placed(args: Any) -> tuple[Any, ...]:
    return tuple(on_cpu(value) for value in args)
