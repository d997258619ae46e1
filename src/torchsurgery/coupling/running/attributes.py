"""Integer attributes of modules and of their configs, exchanged for integers that remember where they come from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ...layers.following import WIDTHS, axes_told
from ..constraints.atoms import Where, words
from ..constraints.integers import Attribute, Integers, Site, names_in

# Sizes of windows and their like, which have nothing to do with channels.
_OTHER = words(
    """stride padding dilation kernel_size output_padding _version _reversed_padding_repeated_twice training
    padding_idx num_layers layer_idx call_super_init output_size"""
)
# What the forwards of torch.nn's own layers read.
_READ_BY_TORCH = sorted(
    words(
        """groups normalized_shape num_groups num_heads embed_dim head_dim hidden_size proj_size unflattened_size
        upscale_factor downscale_factor num_features"""
    )
)
# A longer list is a table, such as the numbers of each window's neighbours, and no list of widths.
_LONGEST = 512


@contextmanager
def laid_into(names: Mapping[nn.Module, str], integers: Integers) -> Iterator[None]:
    """A block in which the integer attributes of the modules, and of their configs, are traced."""
    undo: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module, name in names.items():
            only = _READ_BY_TORCH if type(module).__module__.startswith("torch.nn.") else None
            _lay_into(module.__dict__, name, "", integers, undo, only)
            if only is not None and "weight" in module._parameters:
                # And what the code of the layers above may read off them.
                _lay_into(module.__dict__, name, "", integers, undo, tuple(axes_told(module)))
        yield
    finally:
        for state, key, value in reversed(undo):
            state[key] = value


def pin(names: Mapping[nn.Module, str], integers: Integers) -> None:
    """Hold the widths that the code has read off layers to the axes of their weights, which are stand-ins by then."""
    used = {n for site in integers.sites for n in names_in(site.expression)} | integers.factors
    used |= {n for pair in integers.equations for expression in pair for n in names_in(expression)}
    told = [name for name in used if isinstance(name, Attribute) and name.key in WIDTHS]
    modules = {name: module for module, name in names.items()} if told else {}
    for name in told:
        dim = axes_told(modules[name.module]).get(name.key)
        notes = getattr(modules[name.module]._parameters.get("weight"), "_coupling", None)
        if dim is not None and notes is not None and len(notes.axes[dim]) > 1:
            integers.sites.append(Site(name, notes.axes[dim], Where("the width", name.module)))


_NO_INTEGERS = frozenset({bool, float, str, dict, set, OrderedDict, type(None), Tensor, nn.Parameter})


def _lay_into(
    state: dict[str, Any],
    module: str,
    prefix: str,
    integers: Integers,
    undo: list[tuple[dict[str, Any], str, Any]],
    only: Sequence[str] | None,
) -> None:
    for key, value in list(state.items()) if only is None else [(key, state[key]) for key in only if key in state]:
        if key in _OTHER or type(value) in _NO_INTEGERS:
            continue
        traced = _traced(value, module, prefix + key, integers)
        if traced is not None:
            undo.append((state, key, value))
            state[key] = traced


def _traced(value: Any, module: str, key: str, integers: Integers) -> Any:
    """What stands in for an attribute while the model is traced; None where it stays."""
    if type(value) is int:
        return integers.attribute(module, key, value) if value > 0 else None
    if type(value) in (tuple, list) and 0 < len(value) <= _LONGEST and all(type(item) is int for item in value):
        return type(value)(integers.attribute(module, f"{key}[{i}]", item) for i, item in enumerate(value))
    return config_copy(value, module, key, integers) if is_config(value) else None


def config_copy(value: Any, module: str, key: str, integers: Integers) -> Any:
    """A config of this module's own, so that one layer's integers can be told from another's."""
    twin = shallow(value)
    _lay_into(vars(twin), module, f"{key}.", integers, [], None)
    return twin


def shallow(value: Any) -> Any:
    """A copy of an object that shares its attributes, past whatever its class does on copying."""
    twin = object.__new__(type(value))
    vars(twin).update(vars(value))
    return twin


def is_config(value: Any) -> bool:
    """Whether this is an object of settings, such as Hugging Face's, which layers share."""
    return type(value).__name__.lower().endswith(("config", "cfg")) and isinstance(
        getattr(value, "__dict__", None), dict
    )
