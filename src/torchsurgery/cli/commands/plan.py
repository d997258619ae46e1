"""`torchsurgery plan`: what edits would do."""

from __future__ import annotations

from argparse import Namespace

from ... import text
from ..documents import plan_document
from ..edits import source_and_plan
from ..files import refuse_unwritable
from ..planfile import write_plan
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
        terminal.show(
            f"Saved to {arguments.output}. To make exactly these edits:  torchsurgery apply {arguments.output} -o …"
        )
    return 0
