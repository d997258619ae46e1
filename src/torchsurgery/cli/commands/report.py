"""`torchsurgery report`: a page that shows a model before and after."""

from __future__ import annotations

from argparse import Namespace

from ...stats import in_bytes
from ..edits import source_and_plan
from ..files import refuse_unwritable
from ..terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Write the page; exit code 0."""
    refuse_unwritable(arguments.output)
    source, plan = source_and_plan(arguments, terminal)
    with terminal.busy(f"writing {arguments.output}"):
        file = plan.report(arguments.output, source=source.name)
    size = file.stat().st_size
    terminal.data({"model": source.name, "file": str(file), "bytes": size})
    terminal.show(f"report {source.name}\n\nWrote {file}  {in_bytes(size)}")
    return 0
