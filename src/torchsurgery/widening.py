"""Widening: from what a user asks for to an edit that says which entries come how often, and its proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .checks.observing import difference
from .checks.trials import Trial
from .choosing import unit_of
from .coupling.answers.bundles import Bundle, Bundles
from .coupling.answers.groups import Coupling
from .coupling.constraints.integers import Unsolved
from .coupling.cuts.copies import Copies, Grown
from .coupling.cuts.ties import ties
from .coupling.tracing import trace
from .edits import Widen, target_in_words
from .errors import CouplingError, VerificationError
from .inputs import arguments_of
from .pruning import Proof, not_run, refuse_no_choice, selected, with_channels
from .randomness import random_state_kept
from .selection import Target

_LARGEST_SEED = 2**31


class Asked(NamedTuple):
    """What the user asks for; see `Plan.widen`."""

    target: Target
    width: int | float
    heads: bool | None
    noise: float
    approximate: bool
    outputs: Callable[[Any], Any] | None

    def in_words(self) -> str:
        """In one line, for the plan."""
        to = f"× {self.width:g}" if isinstance(self.width, float) else f"→ {self.width:,}"
        return f"{target_in_words(self.target)}  {to}"


_EXAMPLE = "for example  ts.widen(model, 'layer1.0.conv1', 128, example_inputs=x)"


def refuse_neither(width: Any, tokens: Any, rows: Any, inputs: Any) -> None:
    """Raise unless one of `width` and `tokens` is given, with inputs.

    Raises:
        CouplingError: naming what is missing.
    """
    if (width is None) is (tokens is None):
        raise CouplingError("widen needs one of width and tokens=.", way_out=_EXAMPLE)
    if rows is not None and tokens is None:
        raise CouplingError(
            "rows= are what new tokens begin as.", way_out="say how many there are to be:  tokens=32_016"
        )
    if tokens is not None and (type(tokens) is not int or tokens < 1):
        raise CouplingError(
            f"tokens must be a positive whole number, got {tokens!r}.", got=tokens, way_out="tokens=32_016"
        )
    if inputs is None:
        raise CouplingError("widening needs example_inputs, to find out what is coupled.", way_out=_EXAMPLE)


def refuse_senseless(asked: Asked) -> None:
    """Raise on what can't be meant, before anything is traced.

    Raises:
        CouplingError: naming what was given.
    """
    width = asked.width
    refuse_no_choice(asked.heads)
    whole = isinstance(width, int) and not isinstance(width, bool) and width > 0
    if not whole and not (isinstance(width, float) and 1 < width < float("inf")):
        raise CouplingError(
            f"width must be a number of channels, or a factor above 1, got {width!r}.",
            got=width,
            way_out="128 for a hundred and twenty-eight channels, 2.0 for twice as many",
        )
    noise: Any = asked.noise
    if not isinstance(noise, int | float) or not 0 <= noise < float("inf"):
        raise CouplingError(f"noise must be zero or more, got {asked.noise!r}.", got=asked.noise, way_out="noise=0.01")


def misplaced(asked: Asked, failure: VerificationError) -> CouplingError:
    """The error for copies that the code would not find where their originals are: a wider model that isn't proven."""
    return CouplingError(
        f"cannot widen {target_in_words(asked.target)}: its copies would come to lie in other groups or parts.",
        *(line.strip() for line in str(failure).splitlines()[:2]),
        name=failure.name,
        got=failure,
        way_out="widen another layer of the model; what hangs together is in  ts.trace(model, x).groups",
    )


@dataclass(frozen=True, eq=False)
class Sameness:
    """What the model answered before it was widened, against which the wider one is held."""

    asked: Asked
    layers: tuple[str, ...]
    inputs: Any
    answers: tuple[Tensor, ...] | None

    @classmethod
    def of(cls, model: nn.Module, asked: Asked, layers: tuple[str, ...], inputs: Any) -> Sameness:
        """Run the model once; what is on meta, or can't be computed with these inputs, is held against nothing."""
        return cls(asked, layers, inputs, None if asked.approximate else _answers(model, inputs))

    def check(self, model: nn.Module) -> None:
        """Raise unless the model still answers that.

        Raises:
            CouplingError: naming by how much it is off.
        """
        if self.answers is None:
            return
        # Some layers compute in float32 whatever the model's dtype: it is larger faults that this is after.
        tolerance = max(_trial(model, self.inputs).tolerance, torch.finfo(torch.float32).eps ** 0.5)
        far = difference(self.answers, _answers(model, self.inputs) or ())
        if far > tolerance:
            raise CouplingError(
                f"cannot widen {', '.join(self.layers)} exactly: the model would answer otherwise.",
                f"expected answers that agree to {tolerance:.0e}, got a difference of {far:.0e}",
                "something in its code does more to these channels than to handle each for itself",
                name=self.layers[0],
                expected=tolerance,
                got=far,
                way_out="widen it nevertheless, with  approximate=True",
            )


def _trial(model: nn.Module, inputs: Any) -> Trial:
    return Trial.of(model, *arguments_of(inputs), ())


def _answers(model: nn.Module, inputs: Any) -> tuple[Tensor, ...] | None:
    trial = _trial(model, inputs)
    if trial.on_meta:
        return None
    try:
        with trial.kept():
            return trial.results(grad=False)
    except Exception:
        # Such as inputs on another device, which a trace doesn't mind.
        return None


def prepare(model: nn.Module, asked: Asked, inputs: Any) -> tuple[Proof, Sameness, Widen]:
    """Trace a model and work out what comes how often.

    Raises:
        SelectionError: if nothing is selected.
        CouplingError: if it can't come, or not exactly.
        TraceError: if the model fails on these inputs.
    """
    names = selected(model, asked.target)
    coupling = trace(model, inputs, outputs=asked.outputs).tied
    layers = with_channels(coupling, names, model)
    copies = _Choice(coupling, asked).run(layers)
    _refuse_inexact(copies, asked, layers)
    cut = copies.cut()
    caches = tuple(dict.fromkeys(coupling.record.caches))
    with random_state_kept():
        seed = int(torch.randint(_LARGEST_SEED, ()).item())
    edit = Widen(
        asked.in_words(),
        layers,
        cut.kept,
        tuple(cut.attributes.items()),
        caches,
        not_run(coupling),
        mixing=cut.mixing,
        ties=tuple(ties(coupling, 1 - copies.times)),
        shares=cut.shares,
        noise=asked.noise,
        seed=seed,
    )
    proof = Proof(coupling, cut, np.zeros(coupling.classes.count, bool), inputs, asked.outputs)
    return proof, Sameness.of(model, asked, layers, inputs), edit


def _refuse_inexact(copies: Copies, asked: Asked, layers: tuple[str, ...]) -> None:
    reasons = list(dict.fromkeys(copies.inexact()))
    if not reasons or asked.approximate:
        return
    raise CouplingError(
        f"cannot widen {', '.join(layers)} exactly: {reasons[0]}.",
        *(f"and {reason}" for reason in reasons[1:4]),
        name=layers[0],
        got=tuple(map(str, reasons)),
        way_out="widen it nevertheless, with  approximate=True, and train it on",
    )


class _Choice:
    """Which channels come how often."""

    def __init__(self, coupling: Coupling, asked: Asked) -> None:
        self.coupling, self.asked, self.bundles = coupling, asked, Bundles(coupling)
        self.times: dict[int, int] = {}

    def run(self, layers: Sequence[str]) -> Copies:
        for name in layers:
            self._widen(name)
        copies = self._copies({number: size for number, size in self.times.items()})
        for name in layers:
            axis = self.coupling.axis(name)
            self._refuse_width(name, len(axis), copies.count(axis))
        return copies

    def _widen(self, name: str) -> None:
        """Note what the bundles of a layer grow to."""
        axis, classes = self.coupling.axis(name), self.coupling.classes
        width = self._width(name, len(axis))
        found = self.bundles.of(classes.primes_of(classes.of(axis)))
        if not found:
            raise self._pinned(name, len(axis), width)
        able = self.bundles.levels(found, self.asked.heads)
        costs = {b.number: self._cost(b, len(axis), width, int((classes.of(axis) == 0).sum())) for b in able}
        chosen = self.bundles.one_of_each_product(able, lambda b: costs[b.number])
        if not chosen:
            raise self._no_bundle(name, able, len(axis), width)
        for bundle in chosen:
            self.times[bundle.number] = self._size(bundle, len(axis), width, int((classes.of(axis) == 0).sum()))

    def _width(self, name: str, now: int) -> int:
        """What a layer is to be as wide as."""
        width = self.asked.width if isinstance(self.asked.width, int) else round(self.asked.width * now)
        if width <= now:
            raise CouplingError(
                f"cannot widen {name} {now} → {width}: that is not wider.",
                f"expected more than {now}, got {width}",
                name=name,
                expected=now,
                got=width,
                way_out=f"take channels away with  ts.prune(model, {name!r}, {max(now - width, 1)}, example_inputs=x)",
            )
        return width

    def _size(self, bundle: Bundle, now: int, width: int, fixed: int) -> int:
        """How many channels of a bundle make the width; 0 if no whole number does."""
        size, rest = divmod(bundle.size * (width - fixed), now - fixed)
        return 0 if rest else size

    def _cost(self, bundle: Bundle, now: int, width: int, fixed: int) -> float | None:
        """0 if a bundle comes to the width exactly, 1 if approximately, None if it doesn't."""
        size = self._size(bundle, now, width, fixed)
        if not size:
            return None
        copies = self._copies({bundle.number: size})
        try:
            copies.attributes()
        except Unsolved as error:
            self.unsolved = str(error)
            return None
        return float(any(True for _ in copies.inexact()))

    def _copies(self, sizes: dict[int, int]) -> Copies:
        grown = []
        for number, size in sizes.items():
            bundle = self.bundles.all[number]
            # In turn, so that all come equally often where that is possible.
            times = size // bundle.size + (np.arange(bundle.size) < size % bundle.size)
            grown += [Grown(members, times) for members in bundle.families]
        return Copies(self.coupling, grown)

    # --- what can't be

    unsolved = ""

    def _pinned(self, name: str, now: int, width: int) -> CouplingError:
        is_output = any("the model's output" in reason.what for reason in self.coupling.why(name))
        return self.coupling.frozen(
            name,
            what=f"cannot widen {name} {now} → {width}.",
            way_out=f"change the number of classes with  ts.set_outputs(model, {width})" if is_output else "",
        )

    def _no_bundle(self, name: str, able: Sequence[Bundle], now: int, width: int) -> CouplingError:
        unit = min((unit_of(self.coupling, bundle, self.coupling.axis(name)) for bundle in able), default=1)
        near = now + max(unit, (width - now) // unit * unit)
        why, way_out = f"its channels come in sets of {unit}", f"ts.widen(model, {name!r}, {near}, example_inputs=x)"
        if self.unsolved:
            why = f"the code computes a size that can't follow: {self.unsolved}"
            way_out = f"see what hangs together with  print(ts.trace(model, x).group({name!r}))"
            if self.asked.heads is not None:
                way_out = f"without heads={self.asked.heads}, or {way_out}"
        return CouplingError(
            f"cannot widen {name} {now} → {width}: {why}.", name=name, expected=near, got=width, way_out=way_out
        )

    def _refuse_width(self, name: str, now: int, after: int) -> None:
        width = self._width(name, now)
        if after != width:
            raise CouplingError(
                f"cannot widen {name} {now} → {width}: with the other layers asked for it comes to {after}.",
                f"expected {width}, got {after}",
                name=name,
                expected=width,
                got=after,
                way_out="widen one layer of a group alone",
            )
