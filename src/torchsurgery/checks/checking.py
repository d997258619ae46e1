"""The whole check, from the inputs to the answer."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from .. import history
from ..errors import VerificationError
from ..progress import work
from .gradients import Lesson, backward, gradients
from .inference import called, deterministic, fast_paths, finite, has_forward, raised
from .observing import blame, shapes, tensors_in
from .results import Checks, Finding, holds, remark
from .trials import Trial
from .zeroed import zeroed

_RUNS = 4  # forwards of a check, where nothing is amiss


def check(model: nn.Module, inputs: Any, *, layers: Iterable[nn.Module] | None = None) -> Checks:
    """Does the model hold after a change: run it in eval and in train, forward and backward, and leave it as it was.

    Looked at: the forward runs and gives finite numbers, the same in two runs; every new layer's forward is called;
    eval gives the same with gradients and without, where fast paths are taken; gradients reach the new layers; no
    neighbour works in place on what a backward needs. After `prune`, where nothing mixes the channels that went, the
    model before, with zeros in their places, answers the same in float64, to a relative 1e-9. Parameters, buffers,
    counters, modes, hooks, random states, `.grad` and version counters are afterwards what they were, also when it
    fails or is interrupted.

    Args:
        model: The model, on any device; on meta, what needs numbers is left out and the answer says so.
        inputs: A tensor (the one argument), a tuple or list (positional) or a mapping (keywords). They are copied, not
            moved. For BatchNorm in train mode give two or more.
        layers: The new layers. By default those that this library has put into the model.

    Returns:
        One line for each thing; prints as such. Memory: about a copy of the parameters, as a training step takes.

    Raises:
        VerificationError: for the first thing that fails; `name` is the layer at fault, `checks` has all the lines.

    Example:
        >>> print(ts.check(model, x, layers=[model.fc]))
          ✓ forward runs            (2, 3, 64, 64) → (2, 1000)
          ✓ new layers called       1 of 1
          ✓ fast paths agree        eval with and without gradients, ...
          ✓ eval is deterministic   two runs agree bit for bit
          ✓ gradients reach         every trainable parameter (62 of 62)
    """
    args, kwargs = _arguments(inputs)
    _refuse(model)
    with torch.inference_mode(False):
        findings = _findings(Trial.of(model, args, kwargs, _new_layers(model) if layers is None else layers))
    checks = Checks(tuple(finding.check for finding in findings))
    for finding in findings:
        if finding.error:
            finding.error.checks = checks
            raise finding.error from finding.cause
    return checks


def _findings(trial: Trial) -> list[Finding]:
    _refuse_device(trial)
    # What the model warns of in modes and with inputs that it isn't made for is not the caller's to read, five times.
    with trial.kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with work("running", _RUNS) as advance:
            return list(_examine(replace(trial, advance=advance)))


def _new_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that surgeries have brought and that later ones have left in the tree."""
    present = set(model.modules())
    return [layer for layer in history.altered(model) if layer in present]


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Positional and keyword arguments."""
    if isinstance(inputs, (Tensor, PackedSequence)):
        return (inputs,), {}
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    if isinstance(inputs, Mapping) and all(isinstance(key, str) for key in inputs):
        return (), inputs
    raise VerificationError(
        f"the model can't be run on inputs of type {type(inputs).__name__}.",
        "expected: a tensor (the one argument), a tuple or list (positional) or a dict with names (keywords)",
        f"got: {type(inputs).__name__}",
        got=inputs,
        way_out="ts.check(model, (x, mask))  or  ts.check(model, {'input_ids': ids})",
    )


def _refuse(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise VerificationError(
            f"there is no model to check: got a {type(model).__name__}.",
            "expected: an nn.Module",
            got=model,
            way_out="ts.check(model, inputs)",
        )
    for name, module in model.named_modules():
        tensors = (*module._parameters.values(), *module._buffers.values())
        if any(tensor is not None and is_lazy(tensor) for tensor in tensors):
            raise VerificationError(
                f"{name or 'the model itself'} ({type(module).__name__}) is lazy: no weights before a first run.",
                "expected: a model that a check can leave as it was; got: one that any run changes for good",
                name=name,
                way_out="run it once:  model(inputs)",
            )


def _refuse_device(trial: Trial) -> None:
    devices = sorted({str(tensor.device) for tensor in tensors_in((trial.args, trial.kwargs))} - {"meta"})
    if trial.on_meta and devices:
        raise VerificationError(
            f"{trial.label(trial.model)} is on meta, its inputs are on {', '.join(devices)}.",
            "expected: inputs on meta, since they are moved nowhere",
            name="",
            expected="meta",
            got=devices,
            way_out="ts.check(model, inputs.to('meta'))",
        )


def _examine(trial: Trial) -> Iterator[Finding]:
    """All findings in order; ends at the first after which the rest can't be asked."""
    # Without a new layer to suspect, any layer may be one that was put there by hand.
    suspects = [layer for layer in trial.layers or trial.names if has_forward(layer)]
    calls: set[nn.Module] = set()
    try:
        # The first run is undisturbed, and the second one follows on it: what a layer keeps between calls shows.
        with trial.kept():
            plain = trial.results(grad=False)
            again = trial.results(grad=False, watch=suspects, see=lambda module, *_: calls.add(module))
    except Exception as error:
        yield raised(trial, error, "in eval without gradients", only_here=_is_of_a_fast_path(trial, error))
        return
    try:
        with trial.kept():
            graded = trial.results(grad=True)
    except Exception as error:
        yield raised(trial, error, "in eval with gradients")
        return
    yield holds("forward runs", f"{shapes((trial.args, dict(trial.kwargs)))} → {shapes(plain)}")
    wild = list(finite(trial, plain))
    yield from wild
    if wild:
        return
    yield from _compared(trial, plain, again, graded, suspects, calls)
    yield from _limits(trial)


def _is_of_a_fast_path(trial: Trial, error: Exception) -> bool:
    """Whether a run without gradients fails because a layer is read instead of called."""
    if blame(error, trial.names.keys()).missing:
        return _runs(trial, train=True, grad=True)
    return _runs(trial, train=False, grad=True) and not _runs(trial, train=False, grad=False)


def _runs(trial: Trial, train: bool, grad: bool) -> bool:
    with trial.kept(), suppress(Exception):
        trial.run(train=train, grad=grad)
        return True
    return False


def _compared(
    trial: Trial,
    plain: tuple[Tensor, ...],
    again: tuple[Tensor, ...],
    graded: tuple[Tensor, ...],
    suspects: list[nn.Module],
    calls: set[nn.Module],
) -> Iterator[Finding]:
    lesson = Lesson()
    # What stops the gradients may be that a layer isn't called; so these are asked first and told last.
    learnt = list(gradients(trial, lesson))
    absent = [module for module in suspects if module not in calls]
    passed = trial.callers(train=False, grad=True, watch=absent) if absent else frozenset()
    everywhere = frozenset(calls) | passed | lesson.called()
    if not everywhere.issuperset(trial.layers):
        with suppress(Exception):
            everywhere |= trial.callers(train=True, grad=False, watch=suspects)
    read = _read(trial, [layer for layer in suspects if layer not in everywhere])
    yield called(trial, everywhere, read, history.only_cut(trial.model))
    if not trial.on_meta:
        yield fast_paths(trial, plain, graded, [module for module in absent if module in passed])
        yield deterministic(trial, plain, again)
    yield from zeroed(trial)
    yield from learnt


def _read(trial: Trial, layers: list[nn.Module]) -> frozenset[nn.Module]:
    """Which of these uncalled layers have parameters that the output depends on; frozen ones are thawed to see it."""
    parameters = [(layer, p) for layer in layers for p in layer.parameters() if p.is_floating_point()]
    if not parameters:
        return frozenset()
    with trial.kept():
        for _, parameter in parameters:
            parameter.requires_grad_(True)
        grads = backward(trial.run(train=False, grad=True), [parameter for _, parameter in parameters])
    return frozenset(layer for (layer, _), grad in zip(parameters, grads, strict=True) if grad is not None)


def _limits(trial: Trial) -> Iterator[Finding]:
    """What this check could not see."""
    if trial.on_meta:
        yield remark("model is on meta", "shapes only: finite, deterministic and fast paths were not checked")
    if not trial.snapshot.copied:
        yield remark("parameters not copied", "too large; a forward that writes into its own weights is not undone")
    if any(type(module).__name__ == "OptimizedModule" or module._compiled_call_impl for module in trial.names):
        yield remark("compiled parts", "were run as written, without the compiler")
