"""What can be written on the command line. Read before PyTorch is imported, so that help comes at once."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import re
import shutil
import textwrap
from collections.abc import Callable
from typing import Any, NoReturn

from .values import input_of, pair_of

_SUMMARY = "Change the structure of a trained PyTorch model, and look at it before and after."
_CODES = "exit codes: 0 done and holds · 1 refused, or does not hold · 2 the command, model, weights or recipe is wrong"

_MODEL = (
    "a model: torchvision:resnet18, timm:convnext_tiny, hf:org/name[@revision], "
    "a folder (of a saved surgery, or with a config.json), path/file.py:build or pkg.mod:build"
)


class Misspelt(Exception):
    """A command that can't be understood; `usage` says what could have been written."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print, with the option or command that was probably meant."""

    def error(self, message: str) -> NoReturn:
        raise Misspelt(f"{message}{self._meant(message)}", self.format_usage())

    def _meant(self, message: str) -> str:
        word = re.search(r"unrecognized arguments: (--[\w-]+)|invalid choice: '(\w+)'", message)
        known = [option for action in self._actions for option in action.option_strings]
        known += [str(choice) for action in self._actions for choice in action.choices or ()]
        close = difflib.get_close_matches(word[1] or word[2], known, n=1) if word else []
        return f"\n  did you mean  {close[0]}" if close else ""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As it does everywhere; what a command doesn't know is for the command to tell."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            getattr(found, "parser", self).error(f"unrecognized arguments: {' '.join(unknown)}")
        return found


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Breaks lines between words only: what can be typed stays in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(
        prog="torchsurgery",
        description=textwrap.fill(_SUMMARY, _width()),
        epilog=_examples(
            "torchsurgery inspect torchvision:resnet18",
            "torchsurgery plan timm:resnet50 slim.yaml -o plan.json",
            "torchsurgery apply plan.json -o slim/",
            "torchsurgery verify slim/",
        )
        + f"\n\n{textwrap.fill(_CODES, _width())}",
        formatter_class=_formatter,
    )
    top.add_argument("--version", action=_Version, help="show the version, and leave")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_inspect, _plan, _apply, _verify, _report, _export, _completion):
        add(commands)
    return top


def _formatter(prog: str) -> argparse.HelpFormatter:
    return _Formatter(prog, max_help_position=24, width=_width())


def _width() -> int:
    return max(40, min(100, shutil.get_terminal_size().columns - 2))


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __init__(self, option_strings: list[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        print(f"torchsurgery {importlib.metadata.version('torchsurgery')}")
        parser.exit()


def _examples(*commands: str) -> str:
    return "examples:\n" + "\n".join(f"  {command}" for command in commands)


# --- the commands

_TAKES = {
    "inspect": "MODEL",
    "completion": "SHELL",
    "apply": "PLAN | MODEL RECIPE",
    "report": "PLAN | FOLDER | MODEL RECIPE",
}
_Commands = Any  # what add_subparsers answers has no public name


def _command(commands: _Commands, name: str, summary: str, *examples: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(f"{summary[0].upper()}{summary[1:]}.", _width()),
        epilog=_examples(*examples),
        usage=f"torchsurgery {name} [options] {_TAKES.get(name, 'MODEL [RECIPE]')}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    added.set_defaults(parser=added)
    added.add_argument("--json", action="store_true", help="answer as JSON, errors too")
    added.add_argument("--progress", action="store_true", help="tell progress in a pipe, too")
    added.add_argument("--debug", action="store_true", help="show where an error comes from")
    return added


def _inspect(commands: _Commands) -> None:
    command = _command(
        commands,
        "inspect",
        "show a model as a tree: shapes, parameters, multiply-adds",
        "torchsurgery inspect torchvision:resnet18 --depth 2",
        "torchsurgery inspect timm:vit_tiny_patch16_224 --select 'blocks.0.**'",
        "torchsurgery inspect nets/mine.py:build -a width=32 --input 1,3,64,64",
        "torchsurgery inspect hf:./bert --input input_ids=1,16:int64 --json",
    )
    _model(command)
    command.add_argument("--depth", type=_whole, metavar="N", default=1, help="how deep to look (default: 1)")
    command.add_argument("--select", action="append", metavar="PATTERN", help="show these modules only, with their sum")
    command.add_argument("--all", action="store_true", help="show the whole tree, with no list folded")


def _plan(commands: _Commands) -> None:
    command = _command(
        commands,
        "plan",
        "show what edits would do, without doing them",
        "torchsurgery plan torchvision:resnet18 slim.yaml -o plan.json",
        "torchsurgery plan timm:resnet50 -e 'replace: {target: BatchNorm2d, with: GroupNorm, num_groups: 32}'",
        "torchsurgery plan torchvision:resnet18 -e 'prune: {amount: 0.25}' -e 'set_outputs: 10'",
    )
    _model(command)
    _edits(command)
    command.add_argument("-o", "--output", metavar="FILE", help="save the plan, for  torchsurgery apply FILE")
    command.add_argument("--all", action="store_true", help="show all rows, with no list folded")


def _apply(commands: _Commands) -> None:
    command = _command(
        commands,
        "apply",
        "make the edits, check the model, and save it with its weights",
        "torchsurgery apply plan.json -o slim/",
        "torchsurgery apply torchvision:resnet18 slim.yaml --weights resnet18.safetensors -o slim/",
    )
    _model(command, "a saved plan, which holds model and edits; or " + _MODEL)
    _edits(command)
    command.add_argument("-o", "--output", metavar="FOLDER", required=True, help="where the altered model goes")
    command.add_argument("--no-check", action="store_true", help="don't run the altered model before it is saved")
    command.add_argument("--no-report", action="store_true", help="don't write report.html beside it")


def _verify(commands: _Commands) -> None:
    command = _command(
        commands,
        "verify",
        "run a model and check that it holds: outputs, gradients, every new layer",
        "torchsurgery verify slim/",
        "torchsurgery verify torchvision:resnet18 slim.yaml --input 2,3,224,224",
    )
    _model(command)
    _edits(command)


def _report(commands: _Commands) -> None:
    command = _command(
        commands,
        "report",
        "write a page that shows a model before and after",
        "torchsurgery report torchvision:resnet18 slim.yaml -o report.html",
        "torchsurgery report plan.json -o report.html",
        "torchsurgery report slim/ -o report.html",
    )
    _model(command, "a saved plan or surgery, which holds model and edits; or " + _MODEL)
    _edits(command)
    command.add_argument("-o", "--output", metavar="FILE", required=True, help="where the page goes")


def _export(commands: _Commands) -> None:
    command = _command(
        commands,
        "export",
        "write a model in a form that needs no torchsurgery",
        "torchsurgery export slim/ --to onnx -o slim.onnx",
        "torchsurgery export slim/ --to safetensors -o weights.safetensors",
        "torchsurgery export torchvision:resnet18 slim.yaml --to source -o alter.py",
    )
    _model(command)
    _edits(command)
    command.add_argument(
        "--to",
        choices=("onnx", "pt2", "safetensors", "hf", "source"),
        required=True,
        help="an ONNX file, a torch.export program, the weights alone, a Hugging Face folder, the edits as code",
    )
    command.add_argument("-o", "--output", metavar="PATH", required=True, help="where it goes")


def _completion(commands: _Commands) -> None:
    command = _command(
        commands,
        "completion",
        "print a script that completes commands and options in a shell",
        "source <(torchsurgery completion bash)",
        "torchsurgery completion zsh > ~/.zfunc/_torchsurgery",
    )
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


# --- what several of them take


def _model(command: argparse.ArgumentParser, help_text: str = _MODEL) -> None:
    command.add_argument("model", metavar="MODEL", help=help_text)
    group = command.add_argument_group("the model")
    group.add_argument(
        "-a", "--arg", action="append", type=_read(pair_of), default=[], metavar="KEY=VALUE", help="for its builder"
    )
    group.add_argument(
        "--base", metavar="MODEL", help="the model before, where a save or a plan was made on your own code"
    )
    group.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="[NAME=]pkg.mod:Class",
        help="a class of your own for the edits, or in what was saved; its code is run",
    )
    group.add_argument("--weights", metavar="FILE", help="a state dict to load into it (.safetensors, .pt, .pth)")
    group.add_argument(
        "-i",
        "--input",
        action="append",
        type=_read(input_of),
        default=[],
        metavar="SHAPE",
        help="what it is called with, as [name=]sizes[:dtype]: 1,3,224,224 or input_ids=1,16:int64; once an argument",
    )


def _edits(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", metavar="RECIPE", nargs="?", help="a file of edits in YAML or JSON")
    group = command.add_argument_group("the edits")
    group.add_argument(
        "-e", "--edit", action="append", default=[], metavar="EDIT", help="one more edit, as in a recipe"
    )


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _read(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader whose errors argparse shows as they are."""

    def read(text: str) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


_whole.__name__ = "whole number"  # argparse says: invalid whole number value
