"""The layer that a conversion stands for: built, and every tensor put where its origin says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..origins import Computed, Grown, Initialised, Origin, Same, evaluate, layout_of
from .building import adopted, is_inexact, put, real, skeleton, tensors_of
from .conversion import Conversion
from .following import renew_lists


def build(conversion: Conversion, old: nn.Module, reference: Tensor | None = None) -> nn.Module:
    """The new layer that `conversion` stands for; may draw random numbers where a tensor is initialised.

    Args:
        conversion: What `convert` decided for `old`.
        old: The layer to come from; not changed. Where an origin is `Same`, the new layer holds its tensor objects.
        reference: Gives dtype and device of what is initialised when `old` has no floating tensor.
    """
    if conversion.adopts:
        return adopted(conversion.new, old)
    tensors = sources_of(old, conversion.beside)
    reference = next((t for t in tensors.values() if is_inexact(t)), reference)
    layer = _constructed(conversion, reference)
    slots = tensors_of(layer)
    for name, origin in conversion.origins.items():
        if isinstance(origin, Grown):
            origin.drawn[:] = [slots[name].detach()]
        put(layer, name, _tensor(origin, slots[name], tensors, reference))
    renew_lists(layer)
    return layer if layer.training is old.training and not layer._modules else layer.train(old.training)


def sources_of(old: nn.Module, beside: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors that origins may name: the old layer's own, and with their prefix those of layers beside it."""
    found = tensors_of(old)
    for prefix, layer in beside.items():
        found.update({prefix + name: tensor for name, tensor in tensors_of(layer).items()})
    return found


def _constructed(conversion: Conversion, reference: Tensor | None) -> nn.Module:
    initialised = any(isinstance(origin, Initialised | Grown) for origin in conversion.origins.values())
    if conversion.spare and (conversion.ready or not initialised):
        return conversion.spare.pop()
    if not initialised:
        return skeleton(conversion.new, conversion.config)
    return real(conversion.new, conversion.config, None if reference is None else reference.device)


def _tensor(origin: Origin, slot: Tensor, tensors: Mapping[str, Tensor], reference: Tensor | None) -> Tensor:
    """The tensor to put where the fresh layer has `slot`."""
    if isinstance(origin, Same):
        return tensors[origin.source]
    sources = [tensors[name] for name in origin.sources] if isinstance(origin, Computed) else []
    value = slot.detach() if isinstance(origin, Initialised) else evaluate(origin, tensors)
    if not sources:
        dtype = torch.get_default_dtype() if reference is None else reference.dtype
        device = value.device if reference is None else reference.device
        value = value.to(device, dtype if is_inexact(value) else value.dtype)
    value = _laid_out(value, sources)
    if not isinstance(slot, nn.Parameter):
        return value
    # What is computed stays as frozen as it was; what is new in it has to be trained.
    trained = [source.requires_grad for source in sources if isinstance(source, nn.Parameter)]
    follows = trained and not isinstance(origin, Grown)
    return nn.Parameter(value, requires_grad=trained[0] if follows else slot.requires_grad)


def _laid_out(value: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """The value in the memory format of the first source of its rank."""
    layouts = [layout_of(source) for source in sources if source.dim() == value.dim()]
    if not layouts or layouts[0] is torch.contiguous_format:
        return value
    return value.contiguous(memory_format=layouts[0])
