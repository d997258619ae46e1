"""`torchsurgery completion`: a script that completes commands and options in a shell."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator

import shtab

from ..parsing import parser
from ..terminal import Terminal

_FILES = ("recipe", "weights", "output")


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Print the script; exit code 0."""
    top = parser()
    for action in _actions(top):
        if action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(top, arguments.shell)
    terminal.data({"shell": arguments.shell, "script": script})
    terminal.show(script)
    return 0


def _actions(top: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in top._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from _actions(command)
