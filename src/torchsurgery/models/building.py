"""From a reference to a model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..errors import SourceError, SurgeryError
from . import code, folders, libraries
from .references import Reference, parse, split_arguments

Builder = Callable[..., Any]


def build(reference: str, /, **arguments: Any) -> nn.Module:
    """Make the model that a reference names.

    Weights are random unless pretrained ones are asked for: `build("timm:resnet50", pretrained=True)`,
    `build("torchvision:resnet50", weights="DEFAULT")`; a folder's own weights are loaded.

    Args:
        reference: One of
            `torchvision:resnet18`, any name of `torchvision.models.list_models()`;
            `timm:convnext_tiny`, any name of `timm.list_models()`, with a tag or without;
            `hf:org/name`, `hf:org/name@revision`, or a folder with a `config.json`;
            `path/file.py:build`, a function, class or model of a file, which is run;
            `pkg.mod:build`, the same of an importable module.
            Arguments may stand behind it: `torchvision:resnet18(num_classes=10)`.
        **arguments: For whoever builds it, such as `num_classes=10`.

    Returns:
        The model, in the mode that its builder leaves it in.

    Raises:
        SourceError: if the reference is ambiguous or misspelt, a library is not installed, or the builder fails.

    Example:
        >>> type(ts.build("torchvision:resnet18", num_classes=10)).__name__
        'ResNet'
    """
    name, own = split_arguments(reference)
    given, arguments = parse_or_candidates(name), {**own, **arguments}
    builder = _builder(given)
    _refuse_unknown_arguments(given, builder, arguments)
    try:
        # What a builder warns of is for whoever wrote it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = builder(**arguments)
    except SurgeryError:
        raise
    except Exception as error:
        raise _failed(given, error) from error
    if isinstance(model, nn.Module):
        return model
    raise SourceError(
        f"{reference} gives no model but {type(model).__name__}.",
        "expected: an nn.Module",
        got=model,
        way_out="return the model from the builder",
    )


def usual_inputs(reference: str, model: nn.Module) -> Tensor | None:
    """Inputs of the size that a torchvision model was trained on; None where that isn't known.

    Args:
        reference: What the model was built from.
        model: The model.
    """
    given = parse(split_arguments(reference)[0])
    return libraries.usual_inputs(given.where, model) if given.source == "torchvision" else None


def runs_code(reference: str) -> bool:
    """Whether a reference names a file or a module, whose code is run to build the model.

    Args:
        reference: Any reference.

    Raises:
        SourceError: if it is none.
    """
    return parse(split_arguments(reference)[0]).source in ("file", "module")


def parse_or_candidates(reference: str) -> Reference:
    """The reference, or an error that says where there are models of this name."""
    try:
        return parse(reference)
    except SourceError as error:
        if not reference.isidentifier():
            raise
        candidates = libraries.candidates(reference)
        close = candidates or libraries.alike(reference)
        if not close:
            raise
        told = f"there {'is' if len(close) == 1 else 'are'}" if candidates else "closest names:"
        raise SourceError(
            f"{reference} is no reference to a model: it doesn't say from where.",
            f"{told} {', '.join(close)}",
            got=reference,
            way_out=f"name the source:  {close[0]}",
        ) from error


def _builder(given: Reference) -> Builder:
    match given.source:
        case "torchvision":
            return libraries.of_torchvision(given.where)
        case "timm":
            return libraries.of_timm(given.where)
        case "hf":
            return folders.of_hub(given.where, given.what)
        case "folder":
            return folders.of_folder(given.where)
        case "file":
            return code.of_file(given.where, given.what)
        case "module":
            return code.of_module(given.where, given.what)


def _refuse_unknown_arguments(given: Reference, builder: Builder, arguments: dict[str, Any]) -> None:
    """Raise before anything is built, where the builder says what it takes."""
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        takes = [str(p) for p in signature.parameters.values()]
        raise SourceError(
            f"{given.text} can't be built: {error}.",
            f"it takes ({', '.join(takes)})",
            got=arguments,
            way_out="give what it takes, as  ts.build(reference, name=value)  or  -a name=value",
        ) from error


def _failed(given: Reference, error: Exception) -> SourceError:
    if isinstance(error, ModuleNotFoundError):
        return libraries.missing(given.text, error.name or str(error))
    first = str(error).strip().partition("\n")[0][:300]
    offline = libraries.unreachable(error)
    way_out = "give its builder what it needs, as  ts.build(reference, name=value)  or  -a name=value"
    if offline:
        way_out = "without a network give a folder that has it, or your own weights:  --weights FILE"
    return SourceError(
        f"{given.text} can't be built: {type(error).__name__}: {first}", *offline, got=error, way_out=way_out
    )
