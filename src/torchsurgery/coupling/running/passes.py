"""Passes over a model: as it is, in the other mode, and on the way that values don't take.

One shows how a model computes its answer. Layers that it doesn't run may need the same channels all the same: an
auxiliary head in train, the other branch of an `if`. So these ways are gone, too, as far as they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ...errors import TraceError
from ...inputs import Arguments, not_taken
from ..constraints.atoms import NOWHERE
from ..constraints.integers import Widths
from ..constraints.record import Notes, Record
from .operations import Operations
from .substituting import run, stand_in


@dataclass(frozen=True, eq=False, slots=True)
class Passes:
    """A model and what it is run on.

    Attributes:
        model: The model.
        names: Its modules.
        given: What it is called with.
        outputs: What of its answer must keep its shape, as a function of the answer; None stands for all of it.
    """

    model: nn.Module
    names: Mapping[nn.Module, str]
    given: Arguments
    outputs: Callable[[Any], Any] | None

    def first(self, instead: Widths | None = None) -> Record:
        """What one pass on meta gathers; where the model reads values, one that computes.

        Args:
            instead: What the model is taken to be of, by default what it is.

        Raises:
            TraceError: if it fails.
        """
        record = Record(instead=instead)
        try:
            self._run(record, on_meta=True)
            return record
        except Exception as on_meta:
            if instead is not None or any(p.is_meta for p in self.model.parameters()):
                raise self._failure(on_meta) from on_meta
        record = Record(computed=True)
        try:
            self._run(record, on_meta=False)
            return record
        except Exception as error:
            raise self._failure(error) from error

    def further(self, record: Record) -> tuple[str, ...]:
        """Gather what holds for layers that the first pass has not run; answers the modes that were of use."""
        modes = ["train" if self.model.training else "eval"]
        # What only the other mode runs, such as an auxiliary head, needs its channels, too.
        if record.unseen() and self._other_mode(record):
            modes.append("eval" if self.model.training else "train")
        # And so does what other values would have run.
        if record.deciding and record.unseen():
            self._once_more(record, on_meta=not record.computed, contrary=True)
        return tuple(modes)

    def _other_mode(self, record: Record) -> bool:
        """Run in train what is in eval and the other way round; answers whether that showed more of the model."""
        seen = set(record.touched)
        # Batch norms in train refuse one value a channel, so that one image may be too few.
        for copies in (1, 2):
            if self._once_more(record, on_meta=True, flipped=True, copies=copies):
                break
        return bool(record.touched - seen)

    def _once_more(self, record: Record, **how: Any) -> bool:
        """Gather what holds on another way, if it shows more of the model; answers whether it can be run so."""
        seen, answers, work = set(record.touched), list(record.answers), len(record.work)
        gathered = tuple(_gathered(record))
        marks = [len(one) for one in gathered]
        runs = False
        # It may not run so, as a detector without targets in train: what it would need then isn't known.
        with suppress(Exception):
            self._run(record, **how)
            runs = True
        if not runs or not record.touched - seen:
            for one, mark in zip(gathered, marks, strict=True):
                del one[mark:]
            record.touched &= seen
        # Budgets are of what the model answers with on these inputs.
        record.answers = answers
        del record.work[work:]
        return runs

    def _run(
        self, record: Record, *, on_meta: bool, flipped: bool = False, copies: int = 1, contrary: bool = False
    ) -> None:
        def stand(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.repeat(copies, *[1] * (value.dim() - 1)) if copies > 1 and value.dim() else value
            twin = stand_in(value, on_meta)
            twin._coupling = Notes([record.ledger.fixed(n, "the model's input") for n in value.shape])  # type: ignore[attr-defined]
            return twin

        record.ledger.where = NOWHERE
        with torch.inference_mode():
            args, kwargs = tree_map(stand, self.given)

        def see(output: Any, operations: Operations) -> None:
            answer = self.outputs(output) if self.outputs is not None else output
            _freeze_output(answer, record, type(self.model).__name__)

        run(self.model, self.names, record, (args, kwargs), on_meta, flipped, see, contrary)

    def _failure(self, error: Exception) -> TraceError:
        return not_taken(self.model, getattr(error, "_running", "") or "", error, "example_inputs")


def _gathered(record: Record) -> Iterator[list[Any]]:
    """What says something about the model: sums and products of themselves ask for nothing."""
    yield from (record.ledger.ties, record.ledger.frozen, record.balanced, record.apart, record.mixing)
    yield from (record.integers.sites, record.integers.equations)


def _freeze_output(output: Any, record: Record, model: str) -> None:
    """Who uses the model relies on the shape of its answer."""
    ledger = record.ledger
    for tensor in _tensors(output, set()):
        notes = getattr(tensor, "_coupling", None)
        if not isinstance(notes, Notes):
            continue
        record.answers.append(notes.axes)
        ledger.frozen += [(axis, reason) for axis, reason in notes.pending]
        ledger.where = notes.where
        for axis in notes.axes:
            ledger.freeze(axis, f"the model's output ({model}.forward returns {notes.where.module or 'it'})")


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """All tensors in an answer, caches of keys and values left out: they are as wide as the model likes."""
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, (str, bytes, int, float, nn.Module)) or value is None:
        return
    seen.add(id(value))
    if type(value).__name__.endswith("Cache"):
        return
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        parts = list(value)
    else:
        parts = list(vars(value).values()) if hasattr(value, "__dict__") else []
    for part in parts:
        yield from _tensors(part, seen)
