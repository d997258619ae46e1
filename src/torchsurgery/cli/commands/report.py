"""`torchsurgery report`: a page that shows a model before and after."""

from __future__ import annotations

from argparse import Namespace
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ...changes import Planned
from ...checks import Check, Checks
from ...html import save
from ...reports import Report, gather
from ...stats import in_bytes
from ...storage import load, load_plan
from ...storage.bases import prepared, replayed
from ..edits import source_and_plan
from ..files import refuse_unwritable
from ..sources import Source, built, is_saved, saved
from ..terminal import Terminal
from ..words import classes_of


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Write the page; exit code 0."""
    refuse_unwritable(arguments.output)
    if is_saved(arguments) and not arguments.recipe and not arguments.edit:
        name, file = _of_saved(arguments, terminal)
    else:
        source, plan = source_and_plan(arguments, terminal)
        name = source.name
        with terminal.busy(f"writing {arguments.output}"):
            file = plan.report(arguments.output, source.example_inputs, source=name)
    size = file.stat().st_size
    terminal.data({"model": name, "file": str(file), "bytes": size})
    terminal.show(f"report {name}\n\nWrote {file}  {in_bytes(size)}")
    return 0


def _of_saved(arguments: Namespace, terminal: Terminal) -> tuple[str, Path]:
    """The page of a saved surgery or plan, beside its base."""
    classes_of(arguments)
    contents, base = saved(arguments)
    before = built(base, arguments.weights, arguments.input, terminal)
    name = f"{arguments.model} of {base}"
    if contents.state is None:
        plan = load_plan(arguments.model, before.model)
        return name, plan.report(arguments.output, before.example_inputs, source=name)
    with terminal.busy(f"loading {arguments.model}"):
        after = load(arguments.model, base).eval()
        planned = replayed(prepared(base, structure_only=True).model, contents.recipe).planned
    with terminal.busy(f"writing {arguments.output}"):
        return name, save(_compared(before, after, planned, name), arguments.output)


def _compared(before: Source, after: nn.Module, planned: tuple[Planned, ...], name: str) -> Report:
    """Both models; what they answer is only compared where the base has the weights that were altered."""
    states = (lambda: nullcontext(before.model)), (lambda: nullcontext(after))
    report = gather(planned, *states, before.example_inputs, name)
    differ, common = _differing(before.model, after, {n for item in planned for c in item.changes for n in c.names})
    if not differ or report.runs is None or report.checks is None:
        return report
    detail = f"{differ} of {common} tensors that no edit touches are others there, so answers are not compared"
    lines = (*report.checks.lines, Check("the base has other weights", True, detail, remark=True))
    one, other = report.runs
    return replace(report, runs=(replace(one, answers={}), replace(other, answers={})), checks=Checks(lines))


def _differing(before: nn.Module, after: nn.Module, edited: set[str]) -> tuple[int, int]:
    """Of the tensors that no edit has touched, how many are others than in the base, and how many there are."""
    earlier, later = before.state_dict(), after.state_dict()
    common = [name for name in earlier if name in later and name.rpartition(".")[0] not in edited]
    return sum(not torch.equal(earlier[name], later[name]) for name in common), len(common)
