"""`torchsurgery verify`: whether a model holds."""

from __future__ import annotations

from argparse import Namespace

from ...checks import Checks, check
from ...errors import VerificationError
from ..documents import checks_document
from ..edits import source_and_plan
from ..planfile import is_plan_file
from ..sources import Source, source_of
from ..terminal import Terminal


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Check the model, with the edits made where some are given; exit code 0 when it holds, 1 when it doesn't."""
    if arguments.recipe or arguments.edit or is_plan_file(arguments):
        source, plan = source_and_plan(arguments, terminal)
        plan.apply()
    else:
        source = source_of(arguments, terminal)
    checks = checked(source, terminal)
    if source.saved is None and not (arguments.recipe or arguments.edit or is_plan_file(arguments)):
        # Nothing has been altered, so no layer is new.
        checks = Checks(tuple(line for line in checks.lines if line.name != "no new layer is known"))
    terminal.data({"model": source.name, **checks_document(checks)})
    terminal.show(f"verify {source.name}\n\n{checks}")
    return 0 if checks.ok else 1


def checked(source: Source, terminal: Terminal) -> Checks:
    """All that was looked at, whether it holds or not.

    Raises:
        VerificationError: if it couldn't begin.
        TraceError: if no inputs are known.
    """
    inputs = source.to_run
    try:
        with terminal.busy("checking"):
            return check(source.model, inputs)
    except VerificationError as error:
        if isinstance(error.checks, Checks):
            return error.checks
        raise
