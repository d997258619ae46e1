"""A plain Hugging Face folder, from which `from_pretrained` loads the altered model without this library."""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..composites import Removed
from ..errors import RecipeError
from ..storage.given import folder_of
from ..storage.slots import refuse_unsavable, slots_of
from ..tree import refuse_no_model, unwrapped
from .configurations import built, lines_of, settled


def export_hf(model: nn.Module, folder: str | Path) -> None:
    """Write a model of transformers as a folder that `from_pretrained` loads without this library.

    That is possible where the configuration can say what was changed: widths that are the same in all layers, other
    numbers of heads, classes or tokens, blocks that were taken out. Their numbers close up then.

    Args:
        model: An altered model of transformers; it stays what it is.
        folder: A new folder, or an empty one.

    Raises:
        RecipeError: if the configuration can't say it, naming the first layer that it can't. Nothing is written then.

    Example:
        >>> import tempfile, transformers
        >>> sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_attention_heads=2)
        >>> sizes |= dict(num_hidden_layers=3)
        >>> llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
        >>> done = ts.remove(llama, "model.layers.1")
        >>> folder = tempfile.mkdtemp()
        >>> ts.export_hf(llama, folder)
        >>> transformers.LlamaForCausalLM.from_pretrained(folder).config.num_hidden_layers
        2
    """
    refuse_no_model(model)
    model, folder = unwrapped(model), folder_of(folder, 'ts.export_hf(model, "plain")')
    config = getattr(model, "config", None)
    if not callable(getattr(model, "save_pretrained", None)) or not hasattr(config, "to_dict"):
        raise RecipeError(
            f"a {type(model).__name__} is no model of transformers, and has no configuration.",
            got=type(model),
            way_out='keep it as a recipe and weights:  ts.save(model, "slim")',
        )
    _refuse_folder(folder)
    slots = slots_of(model)
    refuse_unsavable(model, slots)
    names = _closed_up(model)
    plain = _plain(model, names)
    _fill(plain, {new: slot.tensor for name, slot in slots.items() if (new := _renamed(name, names)) is not None})
    _write(plain, folder)


def _refuse_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(
            f"{folder} is there and holds something, which is not overwritten.",
            name=str(folder),
            way_out="choose a new folder, or an empty one",
        )


def _closed_up(model: nn.Module) -> dict[str, str | None]:
    """The blocks behind those that were taken out → their names once these are gone; None for the latter."""
    found: dict[str, str | None] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            gone = [name for name, part in module._modules.items() if type(part) in (Removed, nn.Identity)]
            left = [name for name in module._modules if name not in gone]
            prefix = f"{path}." if path else ""
            if gone and left:
                found |= {prefix + name: None for name in gone}
                found |= {prefix + name: f"{prefix}{i}" for i, name in enumerate(left) if str(i) != name}
    return found


def _renamed(name: str, names: Mapping[str, str | None]) -> str | None:
    """What something is called once the numbers have closed up; None for what is gone."""
    for match in re.finditer(r"\.|$", name):
        above = name[: match.start()]
        if above in names:
            new = names[above]
            return None if new is None else new + name[match.start() :]
    return name


def _plain(model: nn.Module, names: Mapping[str, str | None]) -> nn.Module:
    """A model of the same class, on the meta device, whose configuration says what was changed.

    Raises:
        RecipeError: if none does.
    """
    wanted = {new: what for name, what in lines_of(model).items() if (new := _renamed(name, names)) is not None}
    config = settled(model, wanted, _shorter(model, names))
    fresh = built(model, config)
    there = {} if fresh is None else lines_of(fresh)
    for name in (*wanted, *there):
        if wanted.get(name) != there.get(name):
            raise _can_not_say(model, name, wanted.get(name, "nothing"), there.get(name, "nothing"))
    assert fresh is not None  # it has lines
    return fresh


def _shorter(model: Any, names: Mapping[str, str | None]) -> Any:
    """The configuration, with fewer layers where some were taken out."""
    config = copy.deepcopy(model.config)
    for path in {name.rpartition(".")[0] for name, new in names.items() if new is None}:
        length = len(model.get_submodule(path))
        taken = [name for name, new in names.items() if new is None and name.rpartition(".")[0] == path]
        gone = {int(name.rpartition(".")[2]) for name in taken}
        for key, value in list(vars(config).items()):
            if type(value) is int and value == length and "layer" in key:
                setattr(config, key, value - len(gone))
            elif isinstance(value, list) and len(value) == length:
                setattr(config, key, [item for i, item in enumerate(value) if i not in gone])
    return config


def _can_not_say(model: nn.Module, name: str, what: str, there: str) -> RecipeError:
    return RecipeError(
        f"a configuration of {type(model).__name__} can't say what was changed at {name or 'the model'}.",
        f"the model has {what}",
        f"the nearest configuration gives {there}",
        name=name,
        expected=there,
        got=what,
        way_out='keep it as a recipe and weights:  ts.save(model, "slim")',
    )


def _fill(plain: nn.Module, tensors: Mapping[str, Any]) -> None:
    for name, slot in slots_of(plain).items():
        above, _, key = name.rpartition(".")
        module = plain.get_submodule(above)
        value = tensors[name].detach()
        if isinstance(slot.tensor, nn.Parameter):
            value = nn.Parameter(value, requires_grad=False)
        for owner, entry in _everywhere(plain, slot.tensor):
            setattr(owner, entry, value)
        assert getattr(module, key) is value


def _everywhere(model: nn.Module, tensor: Any) -> list[tuple[nn.Module, str]]:
    return [
        (module, key)
        for module in model.modules()
        for entries in (module._parameters, module._buffers)
        for key, there in entries.items()
        if there is tensor
    ]


def _write(plain: Any, folder: Path) -> None:
    """Write beside, then put in place, so that there is a whole folder or none."""
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        plain.save_pretrained(partial)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise RecipeError(
            f"{folder} could not be written: {error.strerror or error}.", name=str(folder), got=error
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
