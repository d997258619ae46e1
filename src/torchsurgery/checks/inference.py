"""What is looked at in eval: it runs, is finite, gives the same twice and with gradients, and calls all new layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Set

from torch import Tensor, nn

from ..errors import VerificationError
from .observing import Prints, blame, difference, is_finite, shapes
from .results import Finding, fails, holds, listing, remark
from .trials import Trial

# What torch's fused kernels compute from the tensors that they read, so that a layer with this forward loses nothing.
_FUSED = frozenset(
    kind.forward for kind in (nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity, nn.ReLU, nn.GELU, nn.MultiheadAttention)
)
_FASTPATH_OFF = "torch.backends.mha.set_fastpath_enabled(False)"


def raised(trial: Trial, error: Exception, mode: str, only_here: bool = False) -> Finding:
    """A forward that raises, with the innermost module in which it did.

    Args:
        trial: The model and its inputs.
        error: What was raised.
        mode: In which mode, for the message: "in eval without gradients".
        only_here: Whether it runs in another mode, so that a fast path is the cause.
    """
    text = next(iter(str(error).splitlines()), "")
    if trial.on_meta and "meta" in str(error):
        return remark("forward stops on meta", f"{type(error).__name__}: {text[:100]}")
    found = blame(error, trial.names.keys())
    module = found.missing or found.module or trial.model
    details = [f"{type(error).__name__}: {text[:140]}"]
    if found.given is not None and module is found.module:
        details.insert(0, f"got: {shapes(found.given)}")
    if only_here:
        details.append("it runs in another mode: here a fast path reads the tensors of a layer instead of calling it")
    way_out = _FASTPATH_OFF if only_here else _way_out(trial, module)
    message = f"{trial.label(module)} {'lacks what is read of it' if found.missing else 'raises'} {mode}."
    problem = VerificationError(
        message, *details, name=trial.names.get(module), got=shapes(found.given), way_out=way_out
    )
    return fails("forward runs", problem, error)


def _way_out(trial: Trial, module: nn.Module) -> str:
    if module is trial.model:
        names = list(inspect.signature(module.forward).parameters)
        return (
            f"give what its forward takes ({listing(names)}):  ts.check(model, (x,))  or  ts.check(model, {{'x': x}})"
        )
    return f"compare with  ts.config_of(model.get_submodule({trial.names[module]!r}))"


def finite(trial: Trial, output: tuple[Tensor, ...]) -> Iterator[Finding]:
    """A failure when the output is not finite although the inputs are, naming the first layer that made it so."""
    if is_finite(output) or not is_finite((trial.args, trial.kwargs)):
        return
    made: list[nn.Module] = []

    def see(module: nn.Module, given: object, result: object, grad_enabled: bool) -> None:
        if not made and not is_finite(result) and is_finite(given):
            made.append(module)

    with trial.kept():
        trial.run(train=False, grad=False, watch=trial.names, see=see)
    module = next(iter(made), trial.model)
    name = trial.names[module]
    yield fails(
        "output is finite",
        VerificationError(
            f"{trial.label(module)} gives numbers that are not finite.",
            "expected: finite numbers, as its inputs are",
            "got: inf or nan, and so in the model's output",
            name=name,
            way_out=f"look at it with  ts.config_of(model.get_submodule({name!r}))",
        ),
    )


def deterministic(trial: Trial, first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Finding:
    """Two runs in eval, one after the other, are equal. A failure only when a new layer is why they aren't."""
    far = difference(first, second)
    if far <= trial.tolerance:
        return holds("eval is deterministic", "two runs agree " + (f"to {far:.0e}" if far else "bit for bit"))
    module = _first_difference(trial, grads=(False, False))
    label = trial.label(module) if module else "a part that was not found"
    if module not in trial.family:
        return remark("eval is random", f"two runs differ by {far:.0e} of the largest output: {label}")
    error = VerificationError(
        f"{label} is not deterministic in eval.",
        f"expected: two runs that agree to {trial.tolerance:.0e} of the largest output",
        f"got: a difference of {far:.0e}; it draws random numbers, or keeps something from one call to the next",
        name=trial.names[module],
        expected=trial.tolerance,
        got=far,
        way_out="heed the mode in its forward:  if self.training: …",
    )
    return fails("eval is deterministic", error)


def _first_difference(trial: Trial, grads: tuple[bool, bool]) -> nn.Module | None:
    """The innermost module that answers the same input otherwise in a second run."""
    runs = Prints(), Prints()
    with trial.kept():
        for grad, prints in zip(grads, runs, strict=True):
            trial.run(train=False, grad=grad, watch=trial.names, see=prints.see)
    return runs[0].first_difference(runs[1], trial.tolerance)


def has_forward(module: nn.Module) -> bool:
    """Whether it is called at all: a ModuleList is not."""
    return getattr(type(module), "forward", None) is not nn.Module.forward


def _is_of_torch(module: nn.Module) -> bool:
    """Whether its forward is one of torch.nn, untouched: what reads its tensors instead then computes the same."""
    if "forward" in module.__dict__:
        return False
    return getattr(getattr(type(module), "forward", None), "__module__", "").startswith("torch.nn.modules.")


def called(
    trial: Trial, calls: frozenset[nn.Module], read: frozenset[nn.Module], cut: Set[nn.Module] = frozenset()
) -> Finding:
    """Every new layer's forward is called in some mode.

    Args:
        trial: The model and its inputs.
        calls: The modules that were called in train or eval, with or without gradients.
        read: The modules whose parameters get a gradient without a call.
        cut: Those that were there before, and are only narrower or wider: inputs may well go past some of them, as past
            the experts that they don't ask for.
    """
    layers = [layer for layer in trial.layers if has_forward(layer)]
    if not layers:
        return remark("no new layer is known", "name them with layers=[…] to see whether they are called")
    never = [layer for layer in layers if layer not in calls]
    lost = [layer for layer in never if not (_is_of_torch(layer) and layer in read)]
    detail = f"{len(layers) - len(never)} of {len(layers)}"
    if lost and cut >= set(lost):
        names = listing([trial.label(layer) for layer in lost])
        return remark("new layers called", f"{detail}; these inputs go past {names}, whose width alone has changed")
    if lost:
        return fails("new layers called", _never_called(trial, lost))
    names = listing([trial.label(layer) for layer in never])
    return (
        remark("new layers called", f"{detail}; only its weight is read: {names}")
        if never
        else holds("new layers called", detail)
    )


def _never_called(trial: Trial, lost: list[nn.Module]) -> VerificationError:
    layer, parent = lost[0], trial.parent(lost[0])
    name = trial.names[layer]
    why = f"{trial.label(parent)} holds it and reads its weight at most" if parent else "nothing reaches it"
    others = [f"nor are {listing([trial.names[other] for other in lost[1:]])}"] if lost[1:] else []
    above = trial.names[parent] if parent else ""
    return VerificationError(
        f"{trial.label(layer)} is never called.",
        "expected: its forward runs in train or in eval, with or without gradients; got: no call",
        why,
        *others,
        name=name,
        expected="a call",
        got="no call",
        way_out=f"replace what should call it:  ts.replace(model, {above!r}, …)"
        if above
        else "give inputs that reach it:  ts.check(model, inputs)",
    )


def fast_paths(trial: Trial, plain: tuple[Tensor, ...], graded: tuple[Tensor, ...], passed: list[nn.Module]) -> Finding:
    """Eval without gradients gives what it gives with them, and goes past no new forward.

    Args:
        trial: The model and its inputs.
        plain: The output without gradients.
        graded: The output with gradients, in which no fast path of torch is taken.
        passed: The new layers (all modules, if none is known) that are called with gradients and not without.
    """
    far = _difference_of_floats(plain, graded)
    disagrees = far > trial.tolerance
    lost = [m for m in passed if not _is_of_torch(m)] if not disagrees else [m for m in passed if _loses(m)]
    if not disagrees and lost and trial.layers:
        return fails("fast paths agree", _passed_over(trial, lost, far, disagrees))
    if not disagrees:
        return holds(
            "fast paths agree", "eval with and without gradients, " + (f"to {far:.0e}" if far else "bit for bit")
        )
    module = lost[0] if lost else _first_difference(trial, grads=(False, True))
    if lost or module in trial.family:
        lost = lost or [module] if module else lost
        return fails("fast paths agree", _passed_over(trial, lost, far, disagrees))
    label = trial.label(module) if module else "a part that was not found"
    return remark("fast paths differ", f"by {far:.0e} of the largest output, in a layer that is not new: {label}")


def _loses(module: nn.Module) -> bool:
    return "forward" in module.__dict__ or getattr(type(module), "forward", None) not in _FUSED


def _difference_of_floats(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> float:
    """As `difference`; a class or an index flips at the smallest rounding, and is left out beside floats."""
    floats = [[t for t in output if t.is_floating_point() or t.is_complex()] for output in (some, others)]
    return difference(*floats) if all(floats) else difference(some, others)


def _passed_over(trial: Trial, lost: list[nn.Module], far: float, disagrees: bool) -> VerificationError:
    layer, parent = lost[0], trial.parent(lost[0])
    got = f"got: a difference of {far:.0e}" if disagrees else "got: they agree, for the weights that it has now"
    others = [f"so are {listing([trial.names[other] for other in lost[1:]])}"] if lost[1:] else []
    holder = f": {trial.label(parent)} reads its tensors" if parent else ""
    return VerificationError(
        f"{trial.label(layer)} is passed over by a fast path: in eval without gradients its forward is not called.",
        f"expected: eval with and without gradients agree to {trial.tolerance:.0e} of the largest output{holder}",
        got,
        *others,
        name=trial.names[layer],
        expected=trial.tolerance,
        got=far,
        way_out=_FASTPATH_OFF,
    )
