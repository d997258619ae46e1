"""The model that a command is about, and what it is called with."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SourceError, TraceError
from ..measuring import found_inputs
from ..models import build, load_weights, runs_code, usual_inputs, with_arguments
from ..storage import load
from ..storage.contents import Contents, read_contents
from ..storage.opening import COMMIT, opened
from .building import parameters_told
from .terminal import Terminal
from .values import Input
from .words import classes_of


@dataclass(frozen=True)
class Source:
    """A model as the command line names it.

    Attributes:
        reference: What it is built from, its builder's arguments included.
        weights: The file that these were loaded from, or None.
        inputs: What it is called with, as given.
        model: The model, in eval.
        example_inputs: The inputs as tensors; where none were named what models of its kind are usually given, or what
            it seems to take; None where that isn't found.
        saved: The folder of the saved surgery that it was loaded from, or None.
    """

    reference: str
    weights: str | None
    inputs: tuple[Input, ...]
    model: nn.Module
    example_inputs: Any
    saved: str | None = None

    @property
    def to_run(self) -> Any:
        """The inputs, for a command that has to run the model.

        Raises:
            TraceError: if there are none.
        """
        if self.example_inputs is None:
            raise TraceError(
                f"no inputs are known that {self.name} takes.",
                way_out="give them:  --input 1,3,224,224, once an argument",
            )
        return self.example_inputs

    @property
    def name(self) -> str:
        """What it is called in answers."""
        return self.saved or self.reference


def source_of(arguments: Namespace, terminal: Terminal) -> Source:
    """The model that a command names, with its weights and inputs.

    Raises:
        SourceError: if there is no such model, or the weights or inputs don't fit.
        RecipeError: if it is a saved surgery that can't be loaded.
    """
    classes_of(arguments)
    if is_saved(arguments):
        return _loaded(arguments, terminal)
    reference = with_arguments(arguments.model, dict(arguments.arg))
    return built(reference, arguments.weights, arguments.input, terminal)


def built(reference: str, weights: str | None, inputs: Sequence[Input], terminal: Terminal) -> Source:
    """Build a model; the same reference gives the same random weights each time."""
    with torch.random.fork_rng(devices=[]):
        with parameters_told(reference):
            torch.manual_seed(0)
            model = build(reference)
        if weights is not None:
            with terminal.busy(f"reading {weights}"):
                load_weights(model, weights)
    model.eval()
    return Source(reference, weights, tuple(inputs), model, _inputs(inputs, reference, model))


def is_saved(arguments: Namespace) -> bool:
    """Whether a command names the folder of something that was saved."""
    return (Path(arguments.model) / COMMIT).is_file()


def saved(arguments: Namespace) -> tuple[Contents, str]:
    """What a folder holds, and the base that it names, or that the user names where that is code.

    Raises:
        RecipeError: if it is damaged.
        SourceError: if the user has to name the base.
    """
    with opened(Path(arguments.model)) as save:
        contents = read_contents(save)
    return contents, confirmed(contents.about.reference, arguments.base, dict(arguments.arg), arguments.model)


def _loaded(arguments: Namespace, terminal: Terminal) -> Source:
    _, base = saved(arguments)
    with terminal.busy(f"loading {arguments.model}"):
        model = load(arguments.model, base)
    model.eval()
    inputs = _inputs(arguments.input, base, model)
    return Source(base, None, tuple(arguments.input), model, inputs, saved=arguments.model)


def confirmed(known: str | None, given: str | None, arguments: Mapping[str, Any], where: str) -> str:
    """What a saved surgery or plan is built from: a file doesn't say which code is run, the user does.

    Args:
        known: The reference that the file has.
        given: The one that the user gives, or None.
        arguments: For the builder, of the user.
        where: The file.

    Raises:
        SourceError: if the user has to say it.
    """
    if given is not None:
        return with_arguments(given, arguments)
    if known is None or runs_code(known):
        raise SourceError(
            f"{where} does not say what it is built from."
            if known is None
            else f"{where} is built from {known}, whose code would be run.",
            expected=known,
            got=given,
            way_out=f"say so, if you trust it:  --base '{known or 'pkg.mod:build'}'",
        )
    return with_arguments(known, arguments)


def _inputs(inputs: Sequence[Input], reference: str, model: nn.Module) -> Any:
    if inputs:
        return tensors_of(inputs, model)
    usual = usual_inputs(reference, model)
    try:
        return found_inputs(model) if usual is None else usual
    except TraceError:
        return None


def tensors_of(inputs: Sequence[Input], model: nn.Module) -> Any:
    """Tensors of these shapes: one alone, a tuple of positional or a dict of named arguments.

    Args:
        inputs: At least one.
        model: Its dtype and device are taken where none is named.

    Raises:
        SourceError: if some are named and others not, or one name comes twice.
    """
    names = [given.name for given in inputs]
    named = [name for name in names if name]
    if named and (len(named) < len(names) or len(set(named)) < len(named)):
        raise SourceError(
            "inputs are all positional, or all named, each name once.",
            f"got {', '.join(name or 'one without a name' for name in names)}",
            way_out="for example  --input input_ids=1,16:int64 --input attention_mask=1,16:int64",
        )
    generator = torch.Generator().manual_seed(0)
    reference = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    tensors = [_tensor(given, reference, generator) for given in inputs]
    if named:
        return dict(zip(named, tensors, strict=True))
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _tensor(given: Input, reference: Tensor, generator: torch.Generator) -> Tensor:
    dtype = getattr(torch, given.dtype) if given.dtype else reference.dtype
    if dtype.is_floating_point:
        return torch.randn(given.shape, generator=generator).to(reference.device, dtype)
    # One is inside of every table of embeddings, and true in every mask.
    return torch.ones(given.shape, dtype=dtype, device=reference.device)
