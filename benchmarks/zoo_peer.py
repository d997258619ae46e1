"""The same models pruned by Torch-Pruning: same inputs, same ratio, same layers ignored; bare, as a newcomer would.

    python benchmarks/zoo_peer.py                 all models that have no row of these versions
    python benchmarks/zoo_peer.py resnet timm/    those with one of these in their names, whatever is there already

One row a model in results/zoo_peer.csv. Ignored are the layers whose output channels our trace finds pinned by the
model's output, which is more than a newcomer would know. Whether what it leaves computes the right thing isn't asked:
only whether it runs, learns, and keeps ties, modes and frozen parameters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from zoo_models import Repeated, Subject, as_used
from zoo_prune import answer_of, called_with, gradients, logits, timed, yes
from zoo_running import Study, carry_out

import torchsurgery as ts
from torchsurgery.coupling.answers.groups import Coupling


@dataclass(frozen=True)
class Row:
    """What comes of one model.

    Attributes:
        kept: The share of parameters that is left.
        forward, graph, step: Milliseconds of one forward, of its constructor and of pruning.
        runs: "yes" if the pruned model answers tensors of the same shapes.
        learns: "yes" if each parameter gets a gradient that got one before.
        lost: What it doesn't keep: ties between weights, modes, that a parameter is frozen.
        problem: Where it fails.
    """

    library: str
    model: str
    params: int = 0
    kept: float = 1.0
    forward: float = 0.0
    graph: float = 0.0
    step: float = 0.0
    runs: str = ""
    learns: str = ""
    lost: str = ""
    seconds: float = 0.0
    code: str = ""
    problem: str = ""


def measure(subject: Subject) -> Row:
    row, began = Row(subject.library, subject.name), time.perf_counter()
    try:
        torch.manual_seed(0)
        with Repeated():  # type: ignore[no-untyped-call]
            model = subject.build().eval()
        row = replace(row, params=sum(p.numel() for p in model.parameters()))
        row = _pruned(row, model, *subject.inputs(model), first=0 if subject.training is None else 1)
    except Exception as error:
        row = replace(row, problem=" ".join(f"{type(error).__name__}: {error}".split())[:200])
    return replace(row, seconds=round(time.perf_counter() - began, 1))


def _pruned(row: Row, model: nn.Module, args: Any, kwargs: Any, first: int) -> Row:
    import torch_pruning as tp

    inputs = called_with(model, args, kwargs)
    before, forward = timed(lambda: answer_of(model, args, kwargs))
    row = replace(row, forward=forward)
    ignored = pinned_by_output(ts.trace(model, inputs, outputs=logits), model)
    learning, state = gradients(model, args, kwargs), _state(model)
    start = time.process_time()
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    given = {"example_inputs": inputs, "importance": importance, "pruning_ratio": 0.5, "ignored_layers": ignored}
    pruner = tp.pruner.BasePruner(model, **given, output_transform=logits)
    row = replace(row, graph=_passed(start))
    start = time.process_time()
    pruner.step()
    row = replace(row, step=_passed(start), kept=round(sum(p.numel() for p in model.parameters()) / row.params, 3))
    row = replace(row, lost=", ".join(what for what, was in state.items() if was != _state(model)[what]))
    after = answer_of(model, args, kwargs)
    row = replace(row, runs=yes([t.shape[first:] for t in after] == [t.shape[first:] for t in before]))
    return replace(row, learns=yes(gradients(model, args, kwargs) >= learning))


def _passed(start: float) -> float:
    return round(1000 * (time.process_time() - start), 2)


def pinned_by_output(coupling: Coupling, model: nn.Module) -> list[nn.Module]:
    """Layers whose output channels are the model's output, directly or through residuals."""
    found = []
    for name in coupling._leaves_of:
        if coupling.has_channels(name) and any("the model's output" in why.what for why in coupling.why(name)):
            found.append(model.get_submodule(name))
    return found


def _state(model: nn.Module) -> dict[str, Any]:
    named = list(model.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    return {
        "ties": {name: first.setdefault(id(p), name) for name, p in named},
        "frozen parameters": {name: p.requires_grad for name, p in named},
        "modes": [module.training for module in model.modules()],
    }


def line(row: Row) -> str:
    graph, step = (took / max(row.forward, 0.01) for took in (row.graph, row.step))
    cost = f"graph/forward {graph:6.2f}  step/forward {step:6.2f}"
    held = f"runs {row.runs or 'no':<4}learns {row.learns or 'no':<4}lost {row.lost or '–'}"
    return (
        f"{row.library:<13}{row.model:<46}kept {row.kept:<6} {held}  {cost}{row.seconds:>6} s  {row.problem}".rstrip()
    )


STUDY = Study(
    doc=__doc__,
    file="zoo_peer.csv",
    row=Row,
    measure=measure,
    subjects=as_used,
    code="",
    versions=("torch", "torchvision", "timm", "transformers", "torch-pruning"),
    line=line,
    seconds=30,
)

if __name__ == "__main__":
    carry_out(STUDY)
