"""How far a model is built, by the parameters that it has so far."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from ..models import build, runs_code
from ..models.references import split_arguments
from ..progress import is_told, work
from ..randomness import random_state_kept

_FETCHING = ("weights", "weights_backbone", "pretrained")


@contextmanager
def parameters_told(reference: str) -> Iterator[None]:
    """A block in which the model of this reference is built."""
    if not is_told():
        yield
        return
    with work(f"building {reference}", _number(reference), "params") as advance:

        def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
            if parameter is not None and not is_lazy(parameter):
                advance(parameter.numel())

        handle = register_module_parameter_registration_hook(count)
        try:
            yield
        finally:
            handle.remove()


def _number(reference: str) -> int | None:
    """How many parameters it will have: on the meta device they cost a hundredth of the time.

    Code of the user's own is not run twice, and nothing is fetched for this.
    """
    with suppress(Exception), random_state_kept(), warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        if runs_code(reference) or any(split_arguments(reference)[1].get(name) for name in _FETCHING):
            return None
        return sum(parameter.numel() for parameter in build(reference).parameters())
    return None
