"""Prune half of every group of every model: does it run, learn, come back, and compute what it should?

    python benchmarks/zoo_prune.py torchvision/resnet timm/levit transformers      (begins of names; all without one)

Writes results/zoo_prune.csv, one row a model: the share of parameters kept; CPU time of the trace and of one forward;
the largest relative error against the model with zeros in place of what went, in float64, for the groups over which
nothing normalises; and what is not known or can't follow.
"""

from __future__ import annotations

import copy
import csv
import inspect
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from zoo_models import Subject, subjects

import torchsurgery as ts
from torchsurgery.choosing import Wish, choose
from torchsurgery.edits import Prune

RESULTS = Path(__file__).parent / "results" / "zoo_prune.csv"
COLUMNS = [
    *("model", "params", "kept", "groups", "trace", "forward", "shapes"),
    *("learns", "undone", "error", "not_known", "left", "failure"),
]


def row_of(subject: Subject) -> dict[str, Any]:
    """What comes of one model."""
    torch.manual_seed(0)
    model = subject.build().eval()
    args, kwargs = subject.inputs(model)
    row: dict[str, Any] = {"model": f"{subject.library}/{subject.name}"}
    row["params"] = sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        before, row["forward"] = timed(lambda: model(*args, **kwargs))
    inputs = called_with(model, args, kwargs)
    coupling, row["trace"] = timed(lambda: ts.trace(model, inputs, outputs=logits))
    row["groups"], row["not_known"] = len(coupling.groups), " ".join(coupling.unknown)
    plan = ts.plan(model, inputs).prune(amount=0.5, outputs=logits)
    row["left"] = "; ".join(dict.fromkeys(plan.planned[0].left.values()))[:200]
    done = plan.apply()
    row["kept"] = round(done.after.params / max(done.before.params, 1), 3)
    row |= trained(model, args, kwargs, before)
    done.undo()
    with torch.no_grad():
        again = model(*args, **kwargs)
    row["undone"] = all(map(torch.equal, tensors(before), tensors(again)))
    try:
        row["error"] = exactness(model, args, kwargs)
    except ts.TraceError as error:  # some kernels know no float64
        row["error"] = str(error).splitlines()[0][:100]
    return row


def called_with(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments as `ts.trace` takes them: all positional, or all by keyword."""
    if not kwargs:
        return args
    return {**dict(zip(inspect.signature(model.forward).parameters, args, strict=False)), **kwargs}


def trained(model: nn.Module, args: Any, kwargs: Any, before: Any) -> dict[str, bool]:
    """Whether the pruned model answers the same shapes, and every parameter that it uses can learn."""
    answer = tensors(model(*args, **kwargs))
    loss = sum(t.double().sum() for t in answer if t.requires_grad)
    if isinstance(loss, Tensor):
        loss.backward()
        model.zero_grad()
    same = [t.shape for t in answer] == [t.shape for t in tensors(before)]
    return {"shapes": same, "learns": isinstance(loss, Tensor)}


def exactness(model: nn.Module, args: Any, kwargs: Any) -> float | str:
    """The largest relative difference from zeros in place of what goes, where nothing normalises over it."""
    model = model.double()
    args, kwargs = tree_map(
        lambda t: t.double() if isinstance(t, Tensor) and t.is_floating_point() else t, (args, kwargs)
    )
    inputs = called_with(model, args, kwargs)
    coupling = ts.trace(model, inputs, outputs=logits)
    every = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    cut, _ = choose(coupling, Wish(None, 0.5, None, ts.importance.l2, exact=True), every)
    if not cut.kept:
        return "nothing goes exactly"
    zeroed = copy.deepcopy(model)
    zero(zeroed, cut.kept)
    edit = Prune("", (), cut.kept, tuple(cut.attributes.items()), tuple(dict.fromkeys(coupling.record.caches)))
    ts.plan(model, inputs)._then(edit).apply()
    with torch.no_grad():
        pairs = zip(tensors(model(*args, **kwargs)), tensors(zeroed(*args, **kwargs)), strict=True)
        return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs if a.is_floating_point())


def zero(model: nn.Module, kept: Mapping[str, Mapping[int, tuple[int, ...]]]) -> None:
    """Zero what pruning takes out; a variance of zero would be another thing than none."""
    found = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if "running_var" not in n}
    for name, axes in kept.items():
        for axis, indices in axes.items() if name in found else ():
            gone = sorted(set(range(found[name].shape[axis])) - set(indices))
            found[name].data.index_fill_(axis, torch.tensor(gone), 0.0)


def logits(answer: Any) -> Any:
    """What a user relies on: the logits, where a model answers its inner states, too."""
    named = answer if isinstance(answer, Mapping) else {}
    return next((named[key] for key in ("logits", "logits_per_image") if key in named), answer)


def tensors(answer: Any) -> list[Tensor]:
    return [t for t in torch.utils._pytree.tree_leaves(logits(answer)) if isinstance(t, Tensor)]


def timed(call: Any) -> tuple[Any, float]:
    start = time.process_time()
    result = call()
    return result, round(time.process_time() - start, 3)


def rows(wanted: list[str]) -> Iterator[dict[str, Any]]:
    for subject in subjects():
        name = f"{subject.library}/{subject.name}"
        if wanted and not name.startswith(tuple(wanted)):
            continue
        try:
            row = row_of(subject)
        except Exception as error:
            row = {"model": name, "failure": f"{type(error).__name__}: {error}".replace("\n", " ")[:300]}
        print(row, flush=True)
        yield row


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows(wanted))


if __name__ == "__main__":
    main(sys.argv[1:])
