"""What is looked at in train: gradients reach the new layers, and no neighbour overwrites what a backward needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import VerificationError
from .inference import raised
from .observing import Call, flat, note, tensors_in
from .results import Finding, fails, holds, listing, remark
from .trials import Trial

_TOO_FEW_VALUES = "Expected more than 1"  # a norm in train, given one value per channel
_IN_PLACE = ("inplace operation", "in-place operation", "modified inplace", "modified in-place")
_REENTRANT = "use_reentrant"


@dataclass
class Lesson:
    """One forward in train and the gradients that came of it.

    Attributes:
        calls: What the modules of the new layers were given and returned.
        grads: The gradient of each trainable parameter, None where it gets none.
    """

    calls: list[Call] = field(default_factory=list)
    grads: dict[str, Tensor | None] = field(default_factory=dict)

    def called(self) -> frozenset[nn.Module]:
        return frozenset(call.module for call in self.calls)

    def outputs(self) -> dict[nn.Module, list[Tensor]]:
        """What each module returned that could have a gradient, in calls with gradients on."""
        found: dict[nn.Module, list[Tensor]] = {}
        for call in self.calls:
            if call.grad_enabled:
                numbers = [tensor for tensor in call.outputs if tensor.is_floating_point() or tensor.is_complex()]
                found.setdefault(call.module, []).extend(numbers)
        return found


def gradients(trial: Trial, lesson: Lesson) -> Iterator[Finding]:
    """Run in train, run backward, and say what the gradients reach; `lesson` is filled for those who ask next."""
    trainable = {name: p for name, p in _parameters(trial).items() if p.requires_grad}
    if trial.sharded:
        yield remark("gradients not checked", "FSDP2 keeps them in shards of its own")
        return
    if not trainable:
        yield remark("gradients not checked", "every parameter is frozen")
    for train in (True, False):
        with trial.kept():
            try:
                yield from _learn(trial, trainable, lesson, train)
                return
            except _TrainModeNeedsMore as more:
                yield remark("train mode not run", f"{more} needs more than one value per channel: give a larger batch")


class _TrainModeNeedsMore(Exception):
    """A norm that was there before can't compute its statistics on these inputs; eval still tells about gradients."""


def _parameters(trial: Trial) -> dict[str, nn.Parameter]:
    """The model's parameters by name, and those of new layers outside of its tree."""
    found = {id(p): (name, p) for name, p in trial.model.named_parameters()}
    for layer in trial.layers:
        for name, parameter in layer.named_parameters(prefix=trial.names[layer]):
            found.setdefault(id(parameter), (name, parameter))
    return dict(found.values())


def _learn(trial: Trial, trainable: dict[str, nn.Parameter], lesson: Lesson, train: bool) -> Iterator[Finding]:
    mode = "in train" if train else "in eval with gradients"
    try:
        output = trial.run(
            train=train, grad=True, watch=trial.family, see=lambda *call: lesson.calls.append(note(*call))
        )
    except Exception as error:
        if isinstance(error, ValueError) and _TOO_FEW_VALUES in str(error) and train:
            finding = raised(trial, error, mode)
            raise _TrainModeNeedsMore(finding.error.name if finding.error else "") from None
        yield in_place(trial, trainable, lesson, error) if _is_in_place(error) else raised(trial, error, mode)
        return
    if not trainable:
        return
    try:
        grads = backward(output, list(trainable.values()), keep=True)
    except Exception as error:
        yield _no_backward(trial, trainable, lesson, error)
        return
    lesson.grads.update(zip(trainable, grads, strict=True))
    yield from _judged(trial, output, trainable, lesson)


def backward(output: Any, sources: Sequence[Tensor], keep: bool = False) -> tuple[Tensor | None, ...]:
    """The gradient of the output's mean at each of `sources`, None where none arrives; no `.grad` is touched."""
    with torch.enable_grad():
        ends = [flat(tensor) for tensor in tensors_in(output) if tensor.requires_grad]
    if not ends or not sources:
        return (None,) * len(sources)
    # Small, so that what is in float16 doesn't overflow; whether a gradient arrives doesn't depend on it.
    seeds = [torch.full_like(end, 1 / max(1, end.numel())) for end in ends]
    return torch.autograd.grad(ends, sources, grad_outputs=seeds, allow_unused=True, retain_graph=keep)


def _judged(trial: Trial, output: Any, trainable: dict[str, nn.Parameter], lesson: Lesson) -> Iterator[Finding]:
    """What the gradients say."""
    missing = [name for name, grad in lesson.grads.items() if grad is None]
    wild = [name for name, grad in lesson.grads.items() if not _is_finite(grad)]
    if wild:
        yield fails("gradients are finite", _not_finite(trial, output, wild, lesson))
    broken = _stopped_within(trial, output, missing, lesson) if missing else []
    if broken:
        yield fails("gradients reach", _stopped(trial, broken))
        return
    reached = f"{len(trainable) - len(missing)} of {len(trainable)}"
    if len(missing) < len(trainable):
        every = "every trainable parameter" if not missing else "trainable parameters"
        yield holds("gradients reach", f"{every} ({reached})")
    else:
        yield remark("gradients not checked", "the output does not depend on a parameter in a differentiable way")
    if missing:
        yield remark("no gradient for", listing(missing))


def _is_finite(grad: Tensor | None) -> bool:
    if grad is None or grad.is_meta:
        return True
    values = grad.coalesce().values() if grad.layout is torch.sparse_coo else grad
    return bool(torch.isfinite(values).all())


def _owner(trial: Trial, name: str) -> nn.Module:
    """The module that holds the parameter of this name."""
    return trial.at.get(name.rpartition(".")[0], trial.model)


def _stopped_within(trial: Trial, output: Any, missing: list[str], lesson: Lesson) -> list[str]:
    """The parameters that get no gradient because of the new layer they are in, not of the place where that stands.

    A layer that isn't called this time (an expert without tokens, a dropped block), or whose output nobody uses or
    detaches, would have got none whatever it is.
    """
    outputs = lesson.outputs()
    owners = {name: _owner(trial, name) for name in missing}
    live = {t: None for owner in set(owners.values()) for t in outputs.get(owner, ()) if t.requires_grad}
    arrived = {t for t, grad in zip(live, backward(output, list(live), keep=True), strict=True) if grad is not None}

    def stops(owner: nn.Module) -> bool:
        # Trainable, gradients on, and yet its output has no graph; or it has one that reaches only others.
        mine = outputs.get(owner, [])
        return bool(mine) and (not any(t.requires_grad for t in mine) or any(t in arrived for t in mine))

    return [name for name, owner in owners.items() if stops(owner)]


def _stopped(trial: Trial, broken: list[str]) -> VerificationError:
    owner = _owner(trial, broken[0])
    others = [f"nor for {listing(broken[1:])}"] if broken[1:] else []
    return VerificationError(
        f"{trial.label(owner)} gets no gradient for {broken[0]}.",
        "expected: a gradient for every trainable parameter of a new layer that is called; got: none",
        "its forward detaches, computes without gradients, or does not use it",
        *others,
        name=trial.names[owner],
        expected="a gradient",
        way_out=f"if it is not to be trained:  model.get_parameter({broken[0]!r}).requires_grad_(False)",
    )


def _not_finite(trial: Trial, output: Any, wild: list[str], lesson: Lesson) -> VerificationError:
    """Blame the new layer whose output still gets finite gradients, or else the last parameter on the way."""
    ends = [[t for t in call.outputs if t.requires_grad] for call in lesson.calls]
    starts = [[t for t in (*call.inputs, *call.module.parameters()) if t.requires_grad] for call in lesson.calls]
    every = list(dict.fromkeys(chain(*ends, *starts)))
    finite = {t: _is_finite(grad) for t, grad in zip(every, backward(output, every, keep=True), strict=True)}
    turns = (
        call.module
        for call, after, before in zip(lesson.calls, ends, starts, strict=True)
        if all(finite[t] for t in after) and not all(finite[t] for t in before)
    )
    module = next(turns, _owner(trial, wild[-1]))
    return VerificationError(
        f"{trial.label(module)} gives gradients that are not finite.",
        f"expected: finite gradients; got: inf or nan for {listing(wild)}",
        name=trial.names[module],
        way_out="see where with  torch.autograd.set_detect_anomaly(True)",
    )


def _is_in_place(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _IN_PLACE)


def _no_backward(trial: Trial, trainable: dict[str, nn.Parameter], lesson: Lesson, error: Exception) -> Finding:
    text = next(iter(str(error).splitlines()), "")
    if _REENTRANT in str(error):
        return remark("gradients not checked", "reentrant checkpointing; checkpoint with use_reentrant=False")
    if _is_in_place(error):
        return in_place(trial, trainable, lesson, error)
    problem = VerificationError(
        f"the backward of {trial.label(trial.model)} raises {type(error).__name__}.",
        text[:140],
        f"new layers: {listing([trial.label(layer) for layer in trial.layers]) or 'none known'}",
        name=trial.names[trial.model],
        way_out="see where with  torch.autograd.set_detect_anomaly(True)",
    )
    return fails("backward runs", problem, error)


def in_place(trial: Trial, trainable: dict[str, nn.Parameter], lesson: Lesson, error: Exception) -> Finding:
    """Find the layers whose `inplace` must be off for a backward that dies of an in-place operation."""
    flagged = [module for module in trial.names if module.__dict__.get("inplace") is True]
    sources = list(trainable.values())

    def works(off: Sequence[nn.Module]) -> bool:
        # The failed run is undone first: this one is nested in it.
        trial.snapshot.restore()
        with trial.kept():
            for module in off:
                module.__dict__["inplace"] = False
            try:
                backward(trial.run(train=True, grad=True), sources)
            except RuntimeError:
                return False
            return True

    guilty = _needed(flagged, [], works) if flagged and works(flagged) else []
    if guilty:
        return fails("backward runs", _neighbour(trial, guilty, error), error)
    module = _overwritten(lesson) or trial.model
    problem = VerificationError(
        f"{trial.label(module)} has its output overwritten in place, before its backward has used it.",
        next(iter(str(error).splitlines()), "")[:140],
        "no layer with inplace=True does it: look for += or a function that ends in _ behind it",
        name=trial.names[module],
        way_out="see where with  torch.autograd.set_detect_anomaly(True)",
    )
    return fails("backward runs", problem, error)


def _needed(some: list[nn.Module], off: list[nn.Module], works: Any) -> list[nn.Module]:
    """A smallest part of `some` that, off together with `off`, works; in few runs, since one or two are guilty at most.

    Source: Junker, QuickXplain, AAAI 2004.
    """
    if off and works(off):
        return []
    if len(some) == 1:
        return some
    left, right = some[: len(some) // 2], some[len(some) // 2 :]
    of_right = _needed(right, off + left, works)
    of_left = _needed(left, off + of_right, works)
    return of_left + of_right


def _overwritten(lesson: Lesson) -> nn.Module | None:
    """The first new layer whose output was written to after it had been returned."""
    for call in lesson.calls:
        for tensor, version in zip(call.outputs, call.versions, strict=True):
            if not tensor.is_inference() and tensor._version > version:
                return call.module
    return None


def _before(trial: Trial, module: nn.Module) -> nn.Module | None:
    """The layer whose output this one is given."""
    calls: list[Call] = []
    trial.snapshot.restore()
    with trial.kept(), suppress(RuntimeError):
        trial.run(train=True, grad=True, watch=trial.names, see=lambda *call: calls.append(note(*call)))
    given = next((call.inputs[0] for call in calls if call.module is module and call.inputs), None)
    return next((call.module for call in calls if any(tensor is given for tensor in call.outputs)), None)


def _neighbour(trial: Trial, guilty: list[nn.Module], error: Exception) -> VerificationError:
    module = guilty[0]
    before = _before(trial, module)
    whose = trial.label(before) if before and before is not module else "what comes before it"
    kind, name = type(module), trial.names[module]
    spelled = f"nn.{kind.__name__}" if kind.__module__.startswith("torch.nn.") else kind.__name__
    others = [f"so do {listing([trial.names[other] for other in guilty[1:]])}"] if guilty[1:] else []
    return VerificationError(
        f"{trial.label(module)} works in place, and overwrites what the backward of {whose} needs.",
        next(iter(str(error).splitlines()), "")[:140],
        *others,
        name=name,
        expected=False,
        got=True,
        way_out=f"ts.replace(model, {name!r}, {spelled}, inplace=False)",
    )
