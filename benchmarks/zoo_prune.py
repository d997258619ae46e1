"""Half of every group of every model pruned: does it run, learn, come back, and compute what it should?

    python benchmarks/zoo_prune.py                 all models that have no row of these versions and code
    python benchmarks/zoo_prune.py resnet timm/    those with one of these in their names, whatever is there already

One row a model in results/zoo_prune.csv. Times are CPU times of one thread; `error` is the
largest relative difference from the model with zeros in place of what went, in float64, pruned wherever nothing
normalises over what goes. Every row has passed the certificate: without it the cut would have been refused.
"""

from __future__ import annotations

import collections
import gc
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from zoo_models import Repeated, Subject, as_used
from zoo_running import Study, carry_out, code_of, recorded

import torchsurgery as ts
from torchsurgery.choosing import Wish, choose
from torchsurgery.coupling.answers.groups import Coupling
from torchsurgery.coupling.constraints.integers import Length, names_in
from torchsurgery.coupling.cuts.cut import Cut
from torchsurgery.coupling.solving.joining import union
from torchsurgery.edits import Prune
from torchsurgery.origins import blocks_of
from torchsurgery.plans.applying import at_once
from torchsurgery.tree import Draft


@dataclass(frozen=True)
class Row:
    """What comes of one model.

    Attributes:
        kept: The share of parameters that is left.
        due: The share that would be left if every axis lost half that neither the input, the output, a table read by
            numbers nor a kernel pins.
        groups: Groups of channels that can change.
        forward, trace, choose, cut: Milliseconds of one forward, of the trace, of scoring and choosing, and of cutting:
            planned and applied, without the certificate's trace.
        forward_wide, trace_wide, choose_wide, cut_wide: The same of the model at its published width, where this one is
            tiny.
        wide: Why there are no such times.
        runs: "yes" if the pruned model answers tensors of the same shapes.
        learns: "yes" if each parameter gets a gradient that got one before.
        undone: "yes" if after undo the outputs are the same, bit by bit.
        error: Relative; or why there is none.
        frozen: What keeps other axes, and how many.
        left: What was to go and stayed.
        unknown: Operations without a rule.
        problem: Why there is no row.
    """

    library: str
    model: str
    params: int = 0
    kept: float = 1.0
    due: float = 1.0
    groups: int = 0
    forward: float = 0.0
    trace: float = 0.0
    choose: float = 0.0
    cut: float = 0.0
    forward_wide: float = 0.0
    trace_wide: float = 0.0
    choose_wide: float = 0.0
    cut_wide: float = 0.0
    wide: str = ""
    runs: str = ""
    learns: str = ""
    undone: str = ""
    error: str = ""
    seconds: float = 0.0
    code: str = ""
    problem: str = ""
    unknown: str = ""
    left: str = ""
    frozen: str = ""


# Parameters of what fits into memory beside another one.
LARGEST = 10**9
PARTS = ("coupling/**/*.py", "choosing/*.py", "importance/*.py", "pruning.py", "planning/cutting.py", "surgery.py")
CODE = code_of(*PARTS, "plans/applying.py", "origins.py", "slicing.py")


def measure(subject: Subject) -> Row:
    return recorded(Row(subject.library, subject.name, code=CODE), lambda row: _measured(row, subject))


def _measured(row: Row, subject: Subject) -> Row:
    torch.manual_seed(0)
    with Repeated():  # type: ignore[no-untyped-call]
        model = subject.build().eval()
    args, kwargs = subject.inputs(model)
    before, inputs = answer_of(model, args, kwargs), called_with(model, args, kwargs)
    coupling, (forward, trace, chosen, cut) = times_of(model, args, kwargs)
    row = replace(row, params=sum(p.numel() for p in model.parameters()), groups=len(coupling.groups))
    row = replace(row, forward=forward, trace=trace, choose=chosen, cut=cut, unknown=" ".join(coupling.unknown))
    row = at_published_width(row, subject)
    row = replace(row, due=round(share_due(coupling, model), 3), frozen=reasons(coupling))
    lesson = subject.training(model) if subject.training else (args, kwargs)
    learning = gradients(model, *lesson, training=subject.training is not None)
    plan = ts.plan(model, inputs).prune(amount=0.5, outputs=logits)
    row = replace(row, left="; ".join(dict.fromkeys(plan.planned[0].left.values()))[:200])
    done = plan.apply()
    row = replace(row, kept=round(done.after.params / max(done.before.params, 1), 3))
    after = answer_of(model, args, kwargs)
    # How many boxes a detector finds is a matter of values.
    first = 0 if subject.training is None else 1
    row = replace(row, runs=yes([t.shape[first:] for t in after] == [t.shape[first:] for t in before]))
    row = replace(row, learns=yes(gradients(model, *lesson, training=subject.training is not None) >= learning))
    done.undo()
    row = replace(row, undone=yes(all(map(same, before, answer_of(model, args, kwargs)))))
    return replace(row, error=exactness(model, args, kwargs))


def yes(held: bool) -> str:
    return "yes" if held else "no"


def times_of(model: nn.Module, args: Any, kwargs: Any) -> tuple[Coupling, tuple[float, float, float, float]]:
    """The trace, and the times of one forward, of tracing, of scoring and choosing, and of cutting."""
    inputs = called_with(model, args, kwargs)
    _, forward = timed(lambda: answer_of(model, args, kwargs))
    coupling, trace = timed(lambda: ts.trace(model, inputs, outputs=logits))
    wish = Wish(None, 0.5, None, ts.importance.l2)
    found, chosen = timed(lambda: choose(renewed(coupling), wish, Draft(model).tensors()))
    edit = edit_of(coupling, found.cut)
    # As ts.prune does once it knows what goes.
    _, cut = timed(lambda: at_once(ts.plan(model, inputs).then(edit)), ts.Surgery.undo) if edit.kept else (None, 0.0)
    return coupling, (forward, trace, chosen, cut)


def edit_of(coupling: Coupling, cut: Cut) -> Prune:
    """A cut as an edit that needs no further trace."""
    return Prune("", (), cut.kept, tuple(cut.attributes.items()), tuple(dict.fromkeys(coupling.record.caches)))


def at_published_width(row: Row, subject: Subject) -> Row:
    """The row with the times of the model as wide as it was published; or with why there are none."""
    if subject.wide is None:
        return row
    try:
        with torch.device("meta"):
            params = sum(p.numel() for p in subject.wide().parameters())
        if params > LARGEST:
            return replace(row, wide=f"{params / 1e9:.1f} billion parameters in two layers")
        with Repeated():  # type: ignore[no-untyped-call]
            model = subject.wide().eval()
        _, (forward, trace, chosen, cut) = times_of(model, *longer(model, subject.inputs(model)))
    except Exception as error:
        return replace(row, wide=" ".join(f"{type(error).__name__}: {error}".split())[:200])
    return replace(row, forward_wide=forward, trace_wide=trace, choose_wide=chosen, cut_wide=cut)


def longer(model: nn.Module, inputs: Any) -> Any:
    """One text of 128 words for two of 16, which are read faster than a wide model's weights; where it takes that."""
    repeated = tree_map(_repeated, inputs)
    try:
        answer_of(model, *repeated)
    except Exception:
        return inputs
    return repeated


def _repeated(value: Any) -> Any:
    is_text = isinstance(value, Tensor) and not value.is_floating_point() and value.dim() == 2 and len(value) == 2
    return value[:1].repeat(1, 8) if is_text else value


def timed(call: Callable[[], Any], back: Callable[[Any], Any] = lambda _: None) -> tuple[Any, float]:
    """What a call answers, and its CPU time in milliseconds: a mean, after one to warm up.

    Of five calls or more, unless these take ten seconds. What earlier calls left for the garbage collector is
    looked for before; what these leave, while they run. What takes a call back isn't counted, nor is
    letting go of what the one before has answered.
    """
    back(result := call())
    gc.collect()
    times, passed = 0, 0.0
    while passed < 0.3 or (times < 5 and passed < 10):
        result = None
        start = time.process_time()
        result = call()
        passed += time.process_time() - start
        times += 1
        back(result)
    return result, round(1000 * passed / times, 2)


# --- running


def called_with(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments as `ts.trace` takes them: all positional, or all by keyword."""
    if not kwargs:
        return args
    return {**dict(zip(inspect.signature(model.forward).parameters, args, strict=False)), **kwargs}


def logits(answer: Any) -> Any:
    """What a user relies on: the logits, where a model answers its inner states, too."""
    named = answer if isinstance(answer, Mapping) else {}
    wanted = [named[key] for key in ("logits", "pred_boxes", "logits_per_image", "predicted_depth") if key in named]
    wanted += [named[key] for key in named if key.endswith("_queries_logits")]
    return wanted or answer


def answer_of(model: nn.Module, args: Any, kwargs: Any) -> list[Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        return tensors_in(model(*args, **kwargs))


def tensors_in(answer: Any) -> list[Tensor]:
    return [t for t in tree_leaves(logits(answer)) if isinstance(t, Tensor)]


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) or bool(torch.allclose(one, other, 0, 0, equal_nan=True))


def gradients(model: nn.Module, args: Any, kwargs: Any, training: bool = False) -> set[str]:
    """The parameters that get a gradient, in eval; in train where a model wants that, or refuses to learn in eval."""
    statistics = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        return _gradients(model.train(training), args, kwargs)
    except Exception:
        try:
            return _gradients(model.train(), args, kwargs)
        except Exception:  # it can't at all, as a quantized one, or one that writes over what it needs
            return set()
    finally:
        model.eval()
        model.zero_grad()
        for buffer, value in statistics:
            buffer.copy_(value)


def _gradients(model: nn.Module, args: Any, kwargs: Any) -> set[str]:
    torch.manual_seed(0)
    model.zero_grad()
    loss = sum(t.double().sum() for t in tensors_in(model(*args, **kwargs)) if t.requires_grad)
    if isinstance(loss, Tensor):
        loss.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None}


# --- exactness


def exactness(model: nn.Module, args: Any, kwargs: Any) -> str:
    """The largest relative difference from zeros in place of what goes, where nothing normalises over it."""
    try:
        model.double()
        args, kwargs = tree_map(in_double, (args, kwargs))
        answer_of(model, args, kwargs)
    except Exception as error:
        return f"does not run in float64: {' '.join(str(error).split())[:60]}"
    inputs = called_with(model, args, kwargs)
    coupling = ts.trace(model, inputs, outputs=logits)
    cut = choose(coupling, Wish(None, 0.5, None, ts.importance.l2, exact=True), Draft(model).tensors()).cut
    if not cut.kept:
        return "nothing goes exactly"
    done = ts.plan(model, inputs).then(edit_of(coupling, cut)).apply()
    pruned = answer_of(model, args, kwargs)
    done.undo()
    zero(model, cut.kept)
    pairs = [(a, b) for a, b in zip(pruned, answer_of(model, args, kwargs), strict=True) if a.is_floating_point()]
    return f"{max((difference(a, b) for a, b in pairs), default=0.0):.1e}"


def in_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def difference(one: Tensor, other: Tensor) -> float:
    finite = one.isfinite() & other.isfinite()
    if not torch.equal(one.isfinite(), other.isfinite()) or not finite.any():
        return float("inf") if one.numel() else 0.0
    one, other = one.detach()[finite], other.detach()[finite]
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-300))


def zero(model: nn.Module, kept: Mapping[str, Mapping[int, Any]]) -> None:
    """Zero what pruning takes out; a variance of zero would be another thing than none."""
    found = {name: tensor for name, tensor in Draft(model).tensors().items() if "running_var" not in name}
    for name, axes in kept.items():
        for axis, entries in axes.items() if name in found else ():
            zero_beside(found[name].data, axis, entries, axes)


def zero_beside(tensor: Tensor, axis: int, entries: Any, axes: Mapping[int, Any]) -> None:
    """Zero what isn't kept along an axis; of a convolution in groups, group by group."""
    blocks = blocks_of(entries)
    rows = torch.tensor(axes.get(0, range(len(tensor)))).tensor_split(len(blocks)) if len(blocks) > 1 else [slice(None)]
    for row, block in zip(rows, blocks, strict=True):
        gone = sorted(set(range(tensor.shape[axis])) - set(block))
        tensor[row] = tensor[row].index_fill(axis, torch.tensor(gone, dtype=torch.long), 0.0)


# --- what could have gone

# What pins an axis whatever is done: the user, whole numbers, what is no channel, and what goes by each entry's number:
# waves of all frequencies (arange), tables that are read by products with it, Fourier transforms.
_GIVEN = (
    *("made by arange", "made by flip", "fft_"),
    *("the model's", "a tensor that is neither", "the table of an embedding", "index takes", "topk chooses"),
    *("it has one entry", "the kernel of", "positions of", "the gates of", "the number of experts", "stacked from"),
)


def share_due(coupling: Coupling, model: nn.Module) -> float:
    """The share of parameters left if all axes were halved but for what is pinned for good reasons."""
    pinned = _reached_from(coupling, [r.what.startswith(_GIVEN) for r in coupling.record.ledger.reasons])
    sized = _as_wide_as(coupling, pinned)
    parameters = dict(model.named_parameters())
    left = total = 0.0
    for name in coupling.record.leaves.keys() & parameters.keys():
        shares = [_halved(axis, pinned, sized) for axis in coupling.record.leaves[name]]
        total += parameters[name].numel()
        left += parameters[name].numel() * float(np.prod(shares))
    return left / max(total, 1)


def _halved(axis: Any, pinned: Any, sized: Any) -> float:
    atoms = axis[axis > 0]
    fixed = float((pinned[atoms] | sized[atoms]).sum() + pinned[axis[axis <= 0]].sum())
    return (fixed + (len(axis) - fixed) / 2) / len(axis) if len(axis) > 1 else 1.0


def _as_wide_as(coupling: Coupling, pinned: Any) -> Any:
    """For each atom whether the code makes its axis as wide as a pinned one: heads · width is the stream."""
    integers, classes = coupling.record.integers, coupling.classes
    stays = {Length(number) for number, axis in enumerate(integers.lengths) if _is_all(pinned, axis)}
    primes = np.zeros(classes.count, bool)
    for site in integers.sites:
        names = set(names_in(site.expression))
        if names and names <= stays and len(classes.of(site.axis)) > 1:
            primes[classes.primes_of(classes.of(site.axis))] = True
    primes[classes.whole] = (primes[classes.primes] | (classes.primes == 0)).all(1)
    primes[0] = False
    return primes[classes.labels]


def _is_all(pinned: Any, axis: Any) -> bool:
    return len(axis) > 1 and bool(pinned[axis].all())


def _reached_from(coupling: Coupling, good: list[bool]) -> Any:
    """For each id whether it is pinned for a good reason, directly or through others; ids below zero from the end."""
    one, other, _ = coupling.classes.links.arrays()
    count = coupling.record.ledger.size + len(good)
    labels = union(np.arange(count), one % count, other % count)
    marked = np.zeros(count, bool)
    marked[labels[[-i % count for i, is_good in enumerate(good) if is_good]]] = True
    return marked[labels]


def reasons(coupling: Coupling) -> str:
    """Why layers keep their output channels, the most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for name in coupling._leaves_of:
        if coupling.has_channels(name):
            counts.update({why.what.partition(" (")[0] for why in coupling.why(name)})
    return " | ".join(f"{number}× {what}" for what, number in counts.most_common(6))


def renewed(coupling: Coupling) -> Coupling:
    """The same coupling with nothing worked out yet."""
    return replace(coupling)


def line(row: Row) -> str:
    told = f"kept {row.kept:<6} due {row.due:<6} error {row.error[:12]:<13} trace/forward "
    told += f"{row.trace / max(row.forward, 0.01):5.2f}  choose/forward {row.choose / max(row.forward, 0.01):5.2f}"
    told += f"  cut/forward {row.cut / max(row.forward, 0.01):5.2f}"
    held = (
        ""
        if {row.runs, row.learns, row.undone} == {"yes"}
        else f" runs {row.runs} learns {row.learns} undone {row.undone}"
    )
    return f"{row.library:<13}{row.model:<46}{told}{row.seconds:>6} s {held} {row.problem}".rstrip()


STUDY = Study(
    doc=__doc__,
    file="zoo_prune.csv",
    row=Row,
    measure=measure,
    subjects=as_used,
    code=CODE,
    versions=("torch", "torchvision", "timm", "transformers"),
    line=line,
    seconds=600,
)

if __name__ == "__main__":
    carry_out(STUDY)
