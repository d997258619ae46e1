"""Every model of the zoo edited by all verbs that can be done to it, saved, and loaded by another process.

    python benchmarks/zoo_keep.py                 all models that have no row of these versions and code
    python benchmarks/zoo_keep.py --missing       those that have no row at all, or had a problem
    python benchmarks/zoo_keep.py resnet timm/    those with one of these in their names, whatever is there already

One row a model in results/zoo_keep.csv. A second interpreter, which has seen none of the edits, loads what was saved
on the same builder: `tensors` is "same" if every parameter and buffer has the same bits, dtype, strides and ties, the
state dict the same keys, every module the same class and mode; `answers` is "same" if the model answers the same bits
to the same inputs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import torch
from torch import nn
from zoo_chains import edited, told, trained
from zoo_models import Repeated, Subject, of_timm, of_torchvision
from zoo_prune import answer_of, called_with, logits, same
from zoo_running import Study, carry_out, code_of, recorded

import torchsurgery as ts

SLOW = 20.0  # CPU seconds of a forward above which answers aren't compared
ADDRESS = "ZOO_KEEP_LOADER"
SEED = 3


@dataclass(frozen=True)
class Row:
    """What comes of one model.

    Attributes:
        verbs: What was done to it, in order.
        operations: How many operations the recipe has.
        saving, loading: Seconds.
        tensors, answers: "same", or what differs.
        problem: Why there is no row.
        refused: Why the other verbs were not done.
    """

    library: str
    model: str
    params: int = 0
    verbs: str = ""
    operations: int = 0
    saving: float = 0.0
    loading: float = 0.0
    tensors: str = ""
    answers: str = ""
    seconds: float = 0.0
    code: str = ""
    problem: str = ""
    refused: str = ""


CODE = code_of("storage/*.py", "recipes/*.py", "plans/replaying.py", "history/*.py")


def everything() -> Iterator[Subject]:
    """Transformers with their heads, the others with small images."""
    from zoo_transformers import composed, with_heads

    yield from with_heads()
    yield from composed()
    yield from of_timm(number=1)
    yield from of_torchvision()


# --- one process saves


def measure(subject: Subject) -> Row:
    row = Row(subject.library, subject.name, code=CODE)
    with tempfile.TemporaryDirectory() as folder:
        return recorded(row, lambda row: _measured(row, subject, Path(folder)), most=600)


def _measured(row: Row, subject: Subject, folder: Path) -> Row:
    torch.manual_seed(0)
    with Repeated():  # type: ignore[no-untyped-call]
        model = subject.build().eval()
    args, kwargs = _inputs(subject, model)
    done, refused = edited(model, called_with(model, args, kwargs), logits)
    why = "; ".join(f"{verb}: {reason[:100]}" for verb, reason in refused.items())
    row = replace(row, verbs=" ".join(done), refused=why, params=sum(p.numel() for p in model.parameters()))
    trained(model)
    began = time.perf_counter()
    ts.save(model, folder / "save")
    row = replace(row, saving=round(time.perf_counter() - began, 2), operations=len(ts.recipe_of(model)))
    kept = told(model)  # before it runs, which may change what it has put by
    began = time.process_time()
    answers = answer_of(model, args, kwargs)
    slow = time.process_time() - began > SLOW
    torch.save({"told": kept, "answers": None if slow else answers}, folder / "expected")
    del model, answers
    with Client(os.environ[ADDRESS]) as loader:
        loader.send((subject.library, subject.name, str(folder)))
        found = loader.recv()
    if "problem" in found:
        raise RuntimeError(found["problem"])
    return replace(row, **found)


def _inputs(subject: Subject, model: nn.Module) -> Any:
    torch.manual_seed(SEED)
    return subject.inputs(model)


# --- another one loads


def serve(address: str) -> None:
    """Load what is asked for, each model in a fork of this process, which takes its memory with it."""
    import timm  # noqa: F401  # once, before the processes part
    import torchvision  # noqa: F401
    import transformers.modeling_utils  # noqa: F401

    known = {(subject.library, subject.name): subject for subject in everything()}
    with Listener(address) as listener:
        while True:
            with listener.accept() as caller:
                library, name, folder = caller.recv()
                if not (child := os.fork()):
                    _answer(caller, known[library, name], Path(folder))
                os.waitpid(child, 0)


def _answer(caller: Connection, subject: Subject, folder: Path) -> None:
    try:
        caller.send(_compared(subject, folder))
    except BaseException as error:
        caller.send({"problem": f"on loading, {type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _compared(subject: Subject, folder: Path) -> dict[str, Any]:
    began = time.perf_counter()
    model = ts.load(folder / "save", base=subject.build)
    loading = round(time.perf_counter() - began, 2)
    expected = torch.load(folder / "expected", weights_only=False)
    found = {"loading": loading, "tensors": _difference(told(model), expected["told"]), "answers": "takes too long"}
    if (answers := expected["answers"]) is not None:
        ours = answer_of(model, *_inputs(subject, model))
        alike = len(ours) == len(answers) and all(map(same, ours, answers))
        found["answers"] = "same" if alike else "differ"
    return found


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    for name in (*theirs, *ours):
        if ours.get(name) != theirs.get(name):
            return f"{name}: {str(theirs.get(name))[:120]} became {str(ours.get(name))[:120]}"
    return "same"


def line(row: Row) -> str:
    held = "same" if (row.tensors, row.answers) == ("same", "same") else f"{row.tensors} / {row.answers}"
    return f"{row.library:<13}{row.model:<46}{row.seconds:>6} s  {row.verbs}: {held} {row.problem}".rstrip()


STUDY = Study(
    doc=__doc__,
    file="zoo_keep.csv",
    row=Row,
    measure=measure,
    subjects=everything,
    code=CODE,
    versions=("torch", "torchvision", "timm", "transformers"),
    line=line,
    seconds=400,
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        address = os.environ[ADDRESS] = f"{folder}/loader"
        loader = subprocess.Popen([sys.executable, __file__, "--loader", address])
        try:
            while not Path(address).exists():
                time.sleep(0.1)
            carry_out(STUDY)
        finally:
            loader.kill()
            loader.wait()


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--loader"]:
        serve(sys.argv[2])
    else:
        main()
