"""What runs of a model tell of its layers, before and after: time and answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..checks.observing import observed, tensors_in
from ..checks.trials import Trial
from ..inputs import Arguments
from ..progress import work

# Enters a model in one of its two states.
State: TypeAlias = Callable[[], AbstractContextManager[nn.Module]]

# How often a model is run in each state, unless that takes longer than so many seconds.
_ROUNDS, _SECONDS = 5, 5.0
# Entries that are held against each other: of one answer, and of all answers together.
_ENTRIES, _ALL_ENTRIES = 2**16, 2**26


class Answer(NamedTuple):
    """What one module answered at its first call.

    Attributes:
        sizes: The shapes of its tensors.
        entries: Some entries of them, at the same places for the same shapes.
    """

    sizes: tuple[tuple[int, ...], ...]
    entries: Tensor


@dataclass(frozen=True, eq=False)
class Run:
    """A model run in one of its states, in eval and without gradients.

    Attributes:
        answers: By module name.
        seconds: What each module took in one run of the model, the fastest of `rounds`.
        rounds: How often it was run for that.
        device: Where it ran.
    """

    answers: Mapping[str, Answer]
    seconds: Mapping[str, float]
    rounds: int
    device: str


def difference(earlier: Answer | None, later: Answer | None) -> float | None:
    """How far an answer is from what it was, relative to its length; None where there are not two of the same shape."""
    if earlier is None or later is None or earlier.sizes != later.sizes or not earlier.entries.numel():
        return None
    length = float(torch.linalg.vector_norm(earlier.entries))
    apart = float(torch.linalg.vector_norm(earlier.entries - later.entries))
    return apart / length if length else float(apart > 0)


def run_both(before: State, after: State, inputs: Arguments) -> tuple[Run, Run]:
    """Run a model in both states, in turn, so that what else the machine does hits both alike.

    Args:
        before: Enters the model as it was.
        after: Enters the model as it is.
        inputs: Positional and keyword arguments.
    """
    gathering = _Gathering(inputs), _Gathering(inputs)
    begun = time.perf_counter()
    with work("timing", 2 * _ROUNDS) as advance:
        while gathering[1].rounds < _ROUNDS and (time.perf_counter() - begun < _SECONDS or not gathering[1].rounds):
            for state, own in zip((before, after), gathering, strict=True):
                with state() as model:
                    own.once_more(model)
                advance(1)
    first, second = (Run(own.answers, own.seconds, own.rounds, own.device) for own in gathering)
    return first, second


@dataclass(eq=False)
class _Gathering:
    inputs: Arguments
    answers: dict[str, Answer] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    device: str = ""

    def once_more(self, model: nn.Module) -> None:
        args, kwargs = self.inputs
        trial = Trial.of(model, args, kwargs, ())
        if not self.answers:
            self.device = next((str(tensor.device) for tensor in trial.tensors), "cpu")
            self._look(trial)
        self._time(trial)
        self.rounds += 1

    def _look(self, trial: Trial) -> None:
        most = max(1024, min(_ENTRIES, _ALL_ENTRIES // len(trial.names)))

        def see(module: nn.Module, given: object, output: object, grad_enabled: bool) -> None:
            tensors = list(tensors_in(output))
            sizes = tuple(tuple(tensor.shape) for tensor in tensors)
            if trial.names[module] not in self.answers:
                self.answers[trial.names[module]] = Answer(sizes, _some(tensors, most))

        with trial.kept():
            trial.run(train=False, grad=False, watch=trial.names, see=see)

    def _time(self, trial: Trial) -> None:
        taken, begun = dict.fromkeys(trial.names, 0.0), list[float]()
        wait = _waiting(self.device)

        def enter() -> None:
            wait()
            begun.append(time.perf_counter())

        def see(module: nn.Module, *_: object) -> None:
            wait()
            taken[module] += time.perf_counter() - begun.pop()

        with trial.kept(), observed(trial.names, see, enter):
            trial.run(train=False, grad=False)
        for module, seconds in taken.items():
            name = trial.names[module]
            if name in self.answers:
                self.seconds[name] = min(seconds, self.seconds.get(name, seconds))


def _waiting(device: str) -> Callable[[], object]:
    """Waits for what an accelerator has been given to do."""
    kind = device.partition(":")[0]
    return (lambda: None) if kind == "cpu" else torch.get_device_module(kind).synchronize


def _some(tensors: list[Tensor], most: int) -> Tensor:
    """At most so many entries, drawn at the same places from tensors of the same shapes."""
    readable = [t.detach() for t in tensors if t.layout is torch.strided and not t.is_nested]
    drawn = torch.Generator().manual_seed(0)
    parts = [torch.empty(0, dtype=torch.float64)]
    for tensor in readable:
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
        if flat.numel() > (share := max(1, most // len(readable))):
            flat = flat[torch.randint(flat.numel(), (share,), generator=drawn).to(flat.device)]
        parts.append(flat.to("cpu", torch.float64))
    return torch.cat(parts)
