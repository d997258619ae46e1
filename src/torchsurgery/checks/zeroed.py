"""What was pruned, in numbers: the model as it was, with zeros in the places that went, answers the same.

Where nothing mixes channels this holds to the last digits, and it looks at nothing that the pruning was planned by: an
index that is swapped, a head that is shifted or an integer that is stale gives other numbers, whatever the trace says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .. import history
from ..edits import Prune, Recut
from ..errors import SurgeryError, VerificationError
from ..layers.building import tensors_of
from ..origins import Sliced, evaluate, is_plain_float
from .observing import copied, difference, is_finite, tensors_in
from .results import Finding, fails, holds, listing, remark
from .trials import Trial

TOLERANCE = 1e-9
_NAME = "pruned equals zeroed"
_FINE = (torch.float64, torch.complex128)


def zeroed(trial: Trial) -> Iterator[Finding]:
    """Hold a model that was pruned last against what it was, with zeros in the places that went, in float64."""
    surgeries = history.in_force(trial.model)
    prunings = list(map(_prunings, surgeries))
    if not any(prunings):
        if None in surgeries and _is_pruned(trial.model):
            yield remark(_NAME, "not compared: nobody holds what was done; keep it as  done = ts.prune(…)")
        return
    done = surgeries[-1]
    if done is None or not prunings[-1]:
        yield remark(_NAME, "not compared: only the last surgery can be taken back for it, as long as it is held")
        return
    for place, edit in prunings[-1].items():
        why_not = _why_not(trial, edit)
        yield remark(_NAME, f"not compared: {why_not}") if why_not else _compared(trial, done, place, edit)


def _is_pruned(model: nn.Module) -> bool:
    """Whether a surgery in force has pruned, as far as what was done can be told."""
    try:
        return any(operation.data["do"] == "prune" for operation in history.recipe_of(model).operations)
    except SurgeryError:
        return False


def _prunings(done: history.Done | None) -> dict[int, Prune]:
    """Which edits of a surgery prune."""
    planned = enumerate(done.planned if done else ())
    return {place: item.edit for place, item in planned if isinstance(item.edit, Prune)}


def _why_not(trial: Trial, edit: Prune) -> str | None:
    if edit.mixing:
        return f"{listing(list(edit.mixing), 2)} goes over what went"
    if trial.on_meta:
        return "no numbers on meta"
    if trial.sharded or not trial.snapshot.copied:
        return "too large, or sharded"
    return None


def _compared(trial: Trial, done: history.Done, place: int, edit: Prune) -> Finding:
    try:
        with done.taken_back(place + 1) as model:
            left, coarse = _answers(model, trial, {})
            again, _ = _answers(model, trial, {}, seed=1)
            now = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items() if name in edit.kept}
    except Exception as error:
        return remark(_NAME, f"not compared: does not run in float64 ({type(error).__name__})")
    try:
        with done.taken_back(place) as model:
            whole, _ = _answers(model, trial, _with_zeros(model, edit, now))
    except Exception as error:
        return remark(_NAME, f"not compared: the model before can't be run any more ({type(error).__name__})")
    # What isn't asked to keep its shape may be narrower: hidden states that are answered beside the logits.
    pairs = [(a, b) for a, b in zip(left, whole, strict=False) if a.shape == b.shape]
    if not pairs or not is_finite(whole) or difference(left, again) > TOLERANCE:
        return remark(_NAME, "not compared: random, not finite, or no answer of the same shape")
    return _found(edit, max(difference(a, b) for a, b in pairs), coarse)


def _found(edit: Recut, far: float, coarse: float) -> Finding:
    allowed = max(TOLERANCE, coarse)
    if far > allowed:
        return _differs(edit, far, allowed)
    exactly = f"to {far:.0e}" if far else "bit for bit"
    return holds(_NAME, f"they agree {exactly} in float64{', but for what it computes in less' if coarse else ''}")


def _differs(edit: Recut, far: float, allowed: float) -> Finding:
    name = next(iter(edit.layers), "")
    error = VerificationError(
        f"the pruned model answers otherwise than the one before with zeros in the places that went ({name}).",
        f"expected: answers that agree to {allowed:.0e} in float64, since nothing mixes these channels",
        f"got: a difference of {far:.0e}",
        name=name,
        expected=allowed,
        got=far,
        way_out=f"take it back with  .undo()  and leave this layer out with  ignore={name!r}",
    )
    return fails(_NAME, error)


def _answers(
    model: nn.Module, trial: Trial, values: Mapping[str, Tensor], seed: int = 0
) -> tuple[tuple[Tensor, ...], float]:
    """What a model answers in float64 with some tensors set, and how coarse the coarsest numbers are that it made."""
    args, kwargs = copied((trial.args, dict(trial.kwargs)), torch.float64)
    other = Trial.of(model, args, kwargs, ())
    with other.kept():
        torch.manual_seed(seed)
        for name, tensor in tensors_of(model).items():
            value = values.get(name, tensor).detach()
            tensor.data = value.double() if is_plain_float(value) else value
        with _Coarsest() as coarsest:
            return other.results(grad=False), coarsest.allowed


def _with_zeros(model: nn.Module, edit: Recut, now: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they were before they were cut: with today's numbers where these are left, and zeros elsewhere."""
    tensors = tensors_of(model)
    return {name: _spread(name, tensors[name], edit, now[name]) for name in edit.kept if name in now}


def _spread(name: str, old: Tensor, edit: Recut, now: Tensor) -> Tensor:
    places = torch.arange(old.numel(), device=old.device).reshape(old.shape)
    left = evaluate(Sliced.of(name, edit.kept[name], tuple(old.shape)), {name: places}).flatten()
    # Whole numbers are tables, to be read at these places; a variance of zero is another thing than none.
    blank = (is_plain_float(old) or old.is_complex()) and not name.endswith("running_var")
    whole = torch.zeros_like(old) if blank else old.detach().clone()
    whole = whole.contiguous().flatten()
    whole[left] = now.to(whole.device, whole.dtype).flatten()
    return whole.reshape(old.shape)


class _Coarsest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees in which precision a run computes: some code casts to float32 whatever the model's dtype."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.allowed = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        for tensor in tensors_in(answer):
            if (is_plain_float(tensor) or tensor.is_complex()) and tensor.dtype not in _FINE:
                self.allowed = max(self.allowed, math.sqrt(torch.finfo(tensor.dtype).eps))
        return answer
