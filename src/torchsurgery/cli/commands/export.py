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
from ...exporting import export_hf, to_source
from ...inputs import arguments_of
from ...models.libraries import missing
from ...plans import Plan
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
    plan: Plan | None = None
    if arguments.recipe or arguments.edit or is_plan_file(arguments):
        source, plan = source_and_plan(arguments, terminal)
    else:
        source = source_of(arguments, terminal)
    with terminal.busy(f"writing {arguments.output}"):
        _written(arguments, source, plan)
    path = Path(arguments.output)
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    terminal.data({"model": source.name, "file": arguments.output, "bytes": size})
    terminal.show(f"export {source.name}\n\nWrote {arguments.output}  {in_bytes(size)}")
    return 0


def _written(arguments: Namespace, source: Source, plan: Plan | None) -> None:
    """Write the altered model, or for `source` what alters it."""
    code = _source(source, plan) if arguments.to == "source" else None
    if plan is not None and code is None:
        plan.apply()
    if arguments.to == "hf":
        export_hf(source.model, arguments.output)
        return
    if Path(arguments.output).is_dir():
        raise SourceError(f"{arguments.output} is a folder.", way_out="give the file that is to be written")
    with replaced(arguments.output) as unfinished:
        if code is not None:
            unfinished.write_text(code, encoding="utf-8")
        else:
            _write(_WAYS[arguments.to], source, unfinished)


def _source(source: Source, plan: Plan | None) -> str:
    if plan is None:
        raise SourceError(
            f"{source.name}: there are no edits to write as code.",
            way_out="give a recipe, a saved plan, or  -e 'replace: {target: ReLU, with: GELU}'",
        )
    return to_source(plan)


def _write(export: Export, source: Source, path: Path) -> None:
    inputs = None if export is _safetensors else source.to_run
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
