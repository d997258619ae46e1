"""`torchsurgery plan`: what edits would do."""

from __future__ import annotations

import shlex
from argparse import Namespace

from ... import text
from ...models import runs_code
from ..documents import plan_document
from ..edits import source_and_plan
from ..files import refuse_unwritable
from ..planfile import write_plan
from ..sources import Source
from ..terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Show the plan, and save it where that is asked for; exit code 0."""
    if arguments.output:
        refuse_unwritable(arguments.output)
    source, plan = source_and_plan(arguments, terminal)
    with terminal.busy("measuring"):
        document = plan_document(plan)
    terminal.data({"model": source.name, **document})
    terminal.show(plan.text(text.PlanView(source.name, arguments.all, "--all")))
    if arguments.output:
        write_plan(plan, source, arguments.output)
        terminal.show(f"Saved to {arguments.output}. To make exactly these edits:  {_next(arguments, source)}")
    return 0


def _next(arguments: Namespace, source: Source) -> str:
    """The command that applies the plan; what names code is said again."""
    words = ["torchsurgery", "apply", arguments.output]
    if runs_code(source.reference):
        words += ["--base", source.reference]
    for name in arguments.classes:
        words += ["--class", name]
    return f"{shlex.join(words)} -o …"
