"""Measures one thing after the other in processes of their own, and keeps the results: what every zoo benchmark does.

A model that dies, takes too long or fails is a row with a `problem`. The results are written after each row, so that
whatever ends a run, the next one goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import gc
import hashlib
import importlib
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch
from zoo_models import IMPORTED, Subject

import torchsurgery as ts

RESULTS = Path(__file__).parent / "results"

# Several threads wait for a process each, and not all that is imported (filelock) bears two forks at once.
_FORKING = threading.Lock()


class AnyRow(Protocol):
    """What a row of every benchmark has; all else is its own."""

    library: str
    model: str
    seconds: float
    code: str
    problem: str


@dataclass(frozen=True)
class Study:
    """What is measured of each model, and where it goes.

    Attributes:
        doc: What `--help` says.
        file: The name of the results.
        row: The dataclass of a row.
        measure: Model → row.
        subjects: All models, in order.
        code: The state of the code that rows are made by: older ones are made again.
        versions: Packages whose versions must be those of the results.
        line: Row → what is printed of it.
        seconds: CPU time that one model may take.
    """

    doc: str
    file: str
    row: type[Any]
    measure: Callable[[Subject], Any]
    subjects: Callable[[], Iterable[Subject]]
    code: str
    versions: tuple[str, ...]
    line: Callable[[Any], str]
    seconds: int = 180


def code_of(*parts: str) -> str:
    """A short name for the state of some files of the library, given as patterns."""
    files = sorted({path for part in parts for path in Path(ts.__path__[0]).glob(part)})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def recorded(row: Any, measured: Callable[[Any], Any], most: int = 300) -> Any:
    """What is measured, and how long it took. Nothing that goes wrong is left out: it becomes the row's `problem`."""
    began = time.perf_counter()
    try:
        row = measured(row)
    except Exception as error:
        row = replace(row, problem=" ".join(f"{type(error).__name__}: {error}".split())[:most])
    return replace(row, seconds=round(time.perf_counter() - began, 1))


def carry_out(study: Study, arguments: list[str] | None = None) -> list[Any]:
    """Run what is asked for on the command line; answers the rows of all models chosen."""
    options = parsed(study, arguments)
    done = {} if options.fresh else kept(study)
    chosen = [s for s in study.subjects() if _is_chosen(s, options.names)]
    todo = [s for s in chosen if options.names or to_be_run(done.get(_key(s)), study.code, options.missing)]
    print(f"{len(chosen)} models, {len(todo)} to be run on {options.processes} processes", flush=True)
    for row in rows(study, todo, options.processes):
        done[row.library, row.model] = row
        print(study.line(row), flush=True)
        write(study, done)
    return [done[_key(s)] for s in chosen if _key(s) in done]


def _key(subject: Subject) -> tuple[str, str]:
    return subject.library, subject.name


def _is_chosen(subject: Subject, names: list[str]) -> bool:
    return not names or any(name in f"{subject.library}/{subject.name}" for name in names)


def to_be_run(row: AnyRow | None, code: str, missing: bool) -> bool:
    return row is None or bool(row.problem) or (row.code != code and not missing)


def parsed(study: Study, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=study.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of the names of models, such as resnet or timm/")
    parser.add_argument("--fresh", action="store_true", help="forget the results that are there")
    parser.add_argument("--missing", action="store_true", help="leave results of older code as they are")
    parser.add_argument("--processes", type=int, default=1, help="several are done sooner, but slow each other down")
    return parser.parse_args(arguments)


# --- processes


def rows(study: Study, todo: list[Subject], processes: int) -> Iterator[Any]:
    """The rows as they come in, each from a process that takes its memory with it."""
    for library in {subject.library for subject in todo}:
        importlib.import_module(IMPORTED[library])  # once, before the processes part
    # A search for garbage would write to all that was imported, and have each process copy it in the midst of a timing.
    gc.collect()
    gc.freeze()
    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(lambda subject: in_process(study, subject), todo)


def in_process(study: Study, subject: Subject) -> Any:
    """One row, from a fork of this process; one that dies answers why."""
    context = multiprocessing.get_context("fork")
    answer, question = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(study, subject, question))
    began = time.perf_counter()
    with _FORKING:
        process.start()
    question.close()
    with contextlib.suppress(EOFError):
        row = answer.recv() if answer.poll(study.seconds * 20) else None
        if row is not None:
            process.join()
            return row
    process.kill()
    process.join()
    seconds = round(time.perf_counter() - began, 1)
    problem = f"its process ended with {process.exitcode} after {seconds} s"
    return study.row(subject.library, subject.name, seconds=seconds, code=study.code, problem=problem)


def _run(study: Study, subject: Subject, answer: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what models log is not of interest here
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    signal.signal(signal.SIGXCPU, functools.partial(_too_long, study.seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (study.seconds, study.seconds + 10))
    answer.send(study.measure(subject))


def _too_long(seconds: int, number: int, frame: object) -> None:
    raise TimeoutError(f"takes more than {seconds} seconds of CPU time")


# --- what is written


def versions(study: Study) -> str:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in study.versions)
    return f"# {found}, Python {platform.python_version()}"


def kept(study: Study) -> dict[tuple[str, str], Any]:
    """The rows of the results, if they are of the versions that are installed."""
    path = RESULTS / study.file
    if not path.is_file():
        return {}
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    return {(row.library, row.model): row for row in read(lines, study.row)} if first == versions(study) else {}


def read(lines: Iterable[str], row: type[Any]) -> list[Any]:
    """The rows of a file of results, numbers as numbers."""
    kinds = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in fields(row)}
    entries = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [row(**{name: kinds[name](value) for name, value in entry.items() if name in kinds}) for entry in entries]


def write(study: Study, done: dict[tuple[str, str], Any]) -> None:
    order = {_key(subject): place for place, subject in enumerate(study.subjects())}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / study.file).open("w", encoding="utf-8", newline="") as file:
        file.write(f"{versions(study)}\n")
        table = csv.DictWriter(file, [field.name for field in fields(study.row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(done[key]) for key in sorted(done.keys() & order.keys(), key=order.__getitem__))
