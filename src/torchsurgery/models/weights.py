"""Weights from a file into a model: all of them, or an error that says which don't fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import SourceError
from .references import close_names

_WRAPPINGS = ("state_dict", "model", "module")  # what training scripts put a state dict into
_PREFIXES = ("module.", "_orig_mod.", "model.")
_MOST = 6


def load_weights(model: nn.Module, path: str) -> None:
    """Load a state dict from a file; every tensor of the model gets one of its shape.

    A prefix that all names share, as DistributedDataParallel or torch.compile leave it, is taken off. Of a pickled file
    nothing but tensors is read.

    Args:
        model: The model.
        path: A .safetensors file, or one that `torch.save` has written.

    Raises:
        SourceError: if the file can't be read, or doesn't fit; the model is then as it was.

    Example:
        >>> import tempfile, os
        >>> file = os.path.join(tempfile.mkdtemp(), "weights.pt")
        >>> torch.save(model.state_dict(), file)
        >>> load_weights(model, file)
    """
    state = _without_prefix(_read(path), model.state_dict())
    if rows := list(_misfits(state, model.state_dict())):
        raise SourceError(
            f"{path} does not fit {type(model).__name__}: {_counts(rows)}.",
            *(f"{name} {what}" for name, what, _ in rows[:_MOST]),
            *([f"… {len(rows) - _MOST} more"] if len(rows) > _MOST else []),
            got=path,
            way_out=_way_out(rows),
        )
    model.load_state_dict(state)


def _read(path: str) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        near = close_names(file.name, (other.name for other in file.parent.glob("*"))) if file.parent.is_dir() else []
        raise SourceError(f"there is no file {path}.", *([f"there is {', '.join(near)}"] if near else []), got=path)
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError, RuntimeError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # torch.load lets the unpickler's errors through
        raise _unreadable(path, "it is no file of tensors, or has something else in it, which is not read") from error
    for key in _WRAPPINGS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise SourceError(
            f"{path} holds no state dict but a {type(loaded).__name__}.",
            got=loaded,
            way_out="write one:  torch.save(model.state_dict(), path)",
        )
    return dict(loaded)


def _unreadable(path: str, error: Exception | str) -> SourceError:
    return SourceError(
        f"{path} can't be read: {str(error).strip().partition(chr(10))[0][:200]}",
        got=error,
        way_out="write it anew:  safetensors.torch.save_file(model.state_dict(), path)",
    )


def _without_prefix(state: dict[str, Any], own: Mapping[str, Tensor]) -> dict[str, Any]:
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state) and not all(n.startswith(prefix) for n in own):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _misfits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[tuple[str, str, str]]:
    """What doesn't fit: the tensor's name, what is wrong, and in one word."""
    shapes = [
        (name, f"is {tuple(state[name].shape)} in the file, {tuple(tensor.shape)} in the model", "of another shape")
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    missing = [(name, "is not in the file", "missing") for name in own if name not in state]
    spare = [(name, "is not in the model", "unknown") for name in state if name not in own]
    return [*shapes, *missing, *spare]


def _counts(rows: Sequence[tuple[str, str, str]]) -> str:
    kinds = [kind for *_, kind in rows]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _way_out(rows: Sequence[tuple[str, str, str]]) -> str:
    if all(kind == "of another shape" for *_, kind in rows):
        return "build the model as it was when these were saved (-a num_classes=…), or load an altered one by ts.load"
    return "build the model that these are of; an altered one is saved whole by ts.save and comes back by ts.load"
