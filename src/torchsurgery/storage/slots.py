"""Where a model's tensors are: each under its first name, shared ones once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import RecipeError
from ..tree import Draft
from .layouts import Layout, laid
from .tensors import NAMES

_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


class Slot(NamedTuple):
    """One tensor of a model.

    Attributes:
        name: The first of its names.
        tensor: What is there.
        saved: Whether the state dict has it, under one of its names at least.
    """

    name: str
    tensor: Tensor
    saved: bool


def slots_of(model: nn.Module) -> dict[str, Slot]:
    """The tensors of a model by their first names."""
    found: dict[int, Slot] = {}
    for _, _, _, name, tensor, saved in _places(model):
        there = found.get(id(tensor))
        found[id(tensor)] = Slot(name, tensor, saved) if there is None else there._replace(saved=there.saved or saved)
    return {slot.name: slot for slot in found.values()}


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, dict[str, Any], str, str, Tensor, bool]]:
    """Each entry that holds a tensor: the module, its dictionary and key, the full name."""
    for module, spots in Draft(model).spots().items():
        prefix = f"{spots.names[0]}." if spots.names[0] else ""
        for entries in (module._parameters, module._buffers):
            for key, tensor in entries.items():
                if tensor is not None:
                    saved = key not in module._non_persistent_buffers_set
                    yield module, entries, key, prefix + key, tensor, saved


def refuse_unsavable(model: nn.Module, slots: Mapping[str, Slot]) -> None:
    """Raise if a tensor can't be written without pickle, or would not come back as what it is."""
    for name, slot in slots.items():
        if why := _why_not(slot.tensor):
            raise RecipeError(f"cannot save {name}: {why[0]}.", name=name, got=type(slot.tensor), way_out=why[1])
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise RecipeError(
                f"cannot save {name or 'the model'} ({type(module).__name__}): it has a state that is no tensor.",
                name=name,
                got=module,
                way_out="keep it in a buffer, or save  module.get_extra_state()  beside",
            )
    _refuse_overlaps(slots)


def _why_not(tensor: Tensor) -> tuple[str, str] | None:
    if is_lazy(tensor):
        return "it has no shape before the first call", "call the model once, then save it"
    if hasattr(tensor, "to_local"):
        return "it is spread over several processes", "gather it first, or save it with torch.distributed.checkpoint"
    if tensor.is_meta:
        return "on the meta device it has no values", "give the model values, or save a plan:  ts.save(plan, …)"
    if type(tensor) not in _PLAIN or tensor.layout is not torch.strided or tensor.is_quantized:
        kind = type(tensor).__name__ if type(tensor) not in _PLAIN else str(tensor.layout)
        return f"a {kind} tensor can't be written without pickle", "save before the model is quantized or made sparse"
    if tensor.dtype not in NAMES:
        return f"{tensor.dtype} isn't known to safetensors", "bring it to another dtype:  model.to(torch.float32)"
    return None


def _refuse_overlaps(slots: Mapping[str, Slot]) -> None:
    """Raise if two tensors share memory without being one: loaded, they would be two."""
    by_storage: defaultdict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for name, slot in slots.items():
        tensor = slot.tensor
        if tensor.numel():
            begin = int(tensor.storage_offset()) * tensor.element_size()
            reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
            by_storage[tensor.untyped_storage().data_ptr()].append((begin, begin + reach * tensor.element_size(), name))
    for spans in by_storage.values():
        spans.sort()
        for (_, end, first), (begin, _, second) in pairwise(spans):
            if begin < end:
                raise RecipeError(
                    f"cannot save {second}: it shares memory with {first}, and is another tensor.",
                    "loaded, the two would no longer be tied.",
                    name=second,
                    got=first,
                    way_out=f"let them be one Parameter:  {_assignment(second, first)}",
                )


def _assignment(second: str, first: str) -> str:
    return f"model.{second} = model.{first}"


# --- out and in


class Emptied:
    """A model whose tensors are on the meta device for a while, and what was there."""

    def __init__(self, model: nn.Module) -> None:
        twins: dict[int, Tensor] = {}
        self._places: list[tuple[dict[str, Any], str, Tensor]] = []
        for _, entries, key, _, tensor, _ in list(_places(model)):
            self._places.append((entries, key, tensor))
            entries[key] = twins.setdefault(id(tensor), _twin(tensor))

    def restore(self) -> None:
        """Put back what was there."""
        for entries, key, tensor in self._places:
            entries[key] = tensor


def _twin(tensor: Tensor) -> Tensor:
    if is_lazy(tensor):
        return tensor
    empty = torch.empty_like(tensor, device="meta")
    twin: Tensor = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    vars(twin).update(vars(tensor))
    return twin


def fill(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    frozen: frozenset[str],
    device: Any,
    layouts: Mapping[str, Layout] | None = None,
) -> None:
    """Put tensors into a model, each under all of its names; what was tied is one tensor again."""
    made: dict[int, Tensor] = {}
    for module, entries, key, name, there, _ in list(_places(model)):
        if id(there) not in made:
            value = tensors[name].to(device)
            if layouts and name in layouts:
                value = laid(value, layouts[name], name)
            if isinstance(there, nn.Parameter):
                trained = name not in frozen and (value.is_floating_point() or value.is_complex())
                value = nn.Parameter(value, trained)
                vars(value).update(vars(there))
            made[id(there)] = value
        # By assignment, since some layers keep lists of their Parameters.
        setattr(module, key, made[id(there)]) if entries is module._parameters else entries.update(
            {key: made[id(there)]}
        )


def strays(model: nn.Module) -> Iterator[str]:
    """Names of attributes that hold tensors without values outside of parameters and buffers."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in ("_parameters", "_buffers", "_modules") and _holds_meta(value, 3):
                yield f"{name}.{key}".lstrip(".")


def _holds_meta(value: Any, depth: int) -> bool:
    if isinstance(value, Tensor):
        return value.is_meta
    if depth == 0 or isinstance(value, nn.Module | str | int | float | bool | None):
        return False
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_meta(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return any(_holds_meta(item, depth - 1) for item in value.values())
    inside = getattr(value, "__dict__", None)
    return isinstance(inside, dict) and any(_holds_meta(item, depth - 1) for item in inside.values())
