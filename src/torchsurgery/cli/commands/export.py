"""`torchsurgery export`: a model in a form that needs no torchsurgery."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ...errors import SourceError, TraceError
from ...inputs import arguments_of, followed
from ...models.libraries import missing
from ...stats import in_bytes
from ..edits import source_and_plan
from ..files import refuse_unwritable, replaced
from ..planfile import is_plan_file
from ..sources import Source, source_of
from ..terminal import Terminal

Export = Callable[[nn.Module, Any, Path], None]


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Write the model; exit code 0."""
    refuse_unwritable(arguments.output)
    if arguments.recipe or arguments.edit or is_plan_file(arguments):
        source, plan = source_and_plan(arguments, terminal)
        plan.apply()
    else:
        source = source_of(arguments, terminal)
    if Path(arguments.output).is_dir():
        raise SourceError(f"{arguments.output} is a folder.", way_out="give the file that is to be written")
    with terminal.busy(f"writing {arguments.output}"), replaced(arguments.output) as unfinished:
        _write(_WAYS[arguments.to], source, unfinished)
    size = Path(arguments.output).stat().st_size
    terminal.data({"model": source.name, "file": arguments.output, "bytes": size})
    terminal.show(f"export {source.name}\n\nWrote {arguments.output}  {in_bytes(size)}")
    return 0


def _write(export: Export, source: Source, path: Path) -> None:
    inputs = source.example_inputs
    if inputs is None and export is not _safetensors:
        flow = followed(source.model)
        inputs = dict(flow.kwargs) if flow.kwargs else flow.args
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            export(source.model, inputs, path)
        except ModuleNotFoundError as error:
            raise missing("the ONNX exporter", error.name or str(error)) from error
        except (torch._dynamo.exc.TorchDynamoException, RuntimeError, ValueError, TypeError) as error:
            first = str(error).strip().partition("\n")[0][:300]
            raise TraceError(
                f"{source.name} can't be exported: {type(error).__name__}: {first}",
                got=error,
                way_out="see where PyTorch loses it:  torch.export.export(model, inputs)",
            ) from error


def _onnx(model: nn.Module, inputs: Any, path: Path) -> None:
    args, kwargs = arguments_of(inputs)
    program = torch.onnx.export(model, args, kwargs=kwargs, dynamo=True, verbose=False)
    assert program is not None  # with dynamo=True it always is one
    program.save(str(path))


def _pt2(model: nn.Module, inputs: Any, path: Path) -> None:
    args, kwargs = arguments_of(inputs)
    torch.export.save(torch.export.export(model, args, kwargs), path)


def _safetensors(model: nn.Module, inputs: Any, path: Path) -> None:
    safetensors.torch.save_model(model, str(path))


_WAYS: Mapping[str, Export] = {"onnx": _onnx, "pt2": _pt2, "safetensors": _safetensors}
