"""The command line. Nothing large is imported before a command needs it, so that help comes at once.

parsing    what can be written · values  its pieces
sources    a model and its inputs
recipes    edits as they are written in a file · words  what their values stand for · verbs  what they do
documents  answers for machines
hints      what to do, in the words of the command line
terminal   colours, encodings · progress  bars, rates and times left
commands   one file each
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext

from ..errors import RecipeError, SourceError, SurgeryError
from ..progress import told_to
from .hints import in_words
from .parsing import Misspelt, parser
from .terminal import Terminal

FINE, REFUSED, MISTAKEN, INTERRUPTED, NO_READER = 0, 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its words; by default those that the program was started with.

    Returns:
        The exit code: 0 when it is done and holds, 1 when it can't be done or doesn't hold, 2 when the command, the
        model, the weights or the recipe is not right.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = parser().parse_args(words)
    except Misspelt as error:
        return _misspelt(error, "--json" in words)
    terminal = Terminal(arguments.json, arguments.progress)
    _quieten(terminal, arguments.debug)
    try:
        command = importlib.import_module(f".commands.{arguments.command}", __name__)
        with told_to(terminal.busy) if terminal.shows_progress else nullcontext():
            code: int = command.run(arguments, terminal)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read the output has gone; what Python would still write at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        terminal.error("interrupted", terminal.written or "nothing was written")
        return INTERRUPTED
    except Exception as error:
        if arguments.debug:
            raise
        return _told(error, arguments, terminal)


def _quieten(terminal: Terminal, debug: bool) -> None:
    """Keep what libraries tell of themselves off the terminal; said before they are imported."""
    if not debug:
        logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    if not terminal.shows_progress:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _misspelt(error: Misspelt, json: bool) -> int:
    if not json:
        sys.stderr.write(error.usage)
    Terminal(json).error("UsageError", str(error))
    return MISTAKEN


def _told(error: Exception, arguments: Namespace, terminal: Terminal) -> int:
    """Say what is wrong, and answer the exit code for it."""
    if isinstance(error, SurgeryError):
        terminal.error(type(error).__name__, in_words(error, arguments.model), getattr(error, "place", ""))
        return MISTAKEN if isinstance(error, SourceError | RecipeError) else REFUSED
    if isinstance(error, OSError):
        terminal.error("OSError", f"{error.filename or arguments.command}: {error.strerror or error}")
        return MISTAKEN
    first = str(error).strip().partition("\n")[0]
    terminal.error(type(error).__name__, f"{first}\n  this was not foreseen; see where it comes from with  --debug")
    return REFUSED
